// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Snapshot, TrialMessage } from '../src/protocol';
import { RunSession } from '../src/session/session';
import { mountPanel } from '../src/views/mount';
import { fixture } from './fixtures';
import { Answers, SeesAll } from './kernel';

const [TEXTS] = Object.values(
  import.meta.glob<string[]>('../../tests/fixtures/hostile_texts.json', { eager: true, import: 'default' }),
) as [string[]];

/** All that a panel draws; whatever is not here came out of a text. */
const TAGS = new Set(
  (
    'DIV SPAN B CODE STRONG BUTTON INPUT LABEL SELECT OPTION SECTION HEADER TIME PRE TABLE THEAD TBODY TFOOT TR TH TD ' +
    'DETAILS SUMMARY OUTPUT CANVAS SVG PATH LINE TEXT G CIRCLE RECT TITLE DEFS CLIPPATH POLYLINE UL LI P DL DT DD H2 H3'
  ).split(' '),
);

/** The same run, which says this text wherever a record can say something. */
function poisoned(text: string): Snapshot {
  const found = fixture<Snapshot>('snapshot_front');
  const { header, trials } = found;
  const rows = trials.number.length;
  const every = <T>(value: T): T[] => Array.from({ length: rows }, () => value);
  const aims = (header.aims ?? []).map((aim) => ({ ...aim, label: text }));
  return {
    ...found,
    header: {
      ...header,
      name: text,
      message: text,
      task: text,
      data: text,
      device: text,
      plan: text,
      sampler: text,
      stopper: text,
      state: text,
      aims,
      objectives: (header.objectives ?? []).map(() => text),
      best: header.best && { ...header.best, params: { [text]: text } },
    },
    columns: [
      ...found.columns.map((column) => ({ ...column, label: text })),
      { key: text, label: text, group: 'param', kind: 'text' },
      { key: text, label: text, group: 'metric', kind: 'float' },
    ],
    trials: {
      ...trials,
      state: trials.state.map((state, i) => (i === rows - 1 ? text : state)),
      params: { ...trials.params, [text]: every(text) },
      metrics: { ...trials.metrics, [text]: every(0.5) },
      error: Object.fromEntries(trials.number.map((number) => [String(number), text])),
    },
    curves: {
      ...found.curves,
      names: [...found.curves.names, text],
      lines: [...found.curves.lines, { trial: 0, name: text, x: [1, 2], y: [0.1, 0.2] }],
    },
    log: [
      { time: 1, level: 'error', text, trial: 0 },
      { time: 2, level: text, text, trial: null },
    ],
  };
}

describe('a panel of hostile texts', () => {
  let node: HTMLElement;
  let unmount: (() => void) | null = null;
  beforeEach(() => {
    vi.stubGlobal('IntersectionObserver', SeesAll);
    node = document.createElement('div');
    document.body.append(node);
  });
  afterEach(() => {
    unmount?.();
    unmount = null;
    node.remove();
    vi.unstubAllGlobals();
  });

  const press = (text: string) =>
    [...node.querySelectorAll<HTMLButtonElement>('button')]
      .find((each) => each.textContent === text)
      ?.click();

  const check = () => {
    const elements = [...node.querySelectorAll('*')];
    const foreign = elements.map(({ tagName }) => tagName.toUpperCase()).filter((tag) => !TAGS.has(tag));
    expect(foreign).toEqual([]);
    for (const element of elements) {
      for (const name of element.getAttributeNames()) {
        expect(
          name.startsWith('on') || ['src', 'href', 'xlink:href', 'srcdoc', 'action'].includes(name),
        ).toBe(false);
      }
      // A text may name a colour or a class of ours, and nothing more.
      expect(element.getAttribute('style') ?? '').not.toMatch(/url\(|expression|fixed/);
    }
    expect((window as unknown as { __ran?: number }).__ran).toBeUndefined();
  };

  it.each(TEXTS.map((text, i) => [i, text] as const))(
    'makes no element of text %i in any part',
    async (_, text) => {
      const transport = new Answers();
      const snapshot = poisoned(text);
      const session = new RunSession(snapshot.run, 'client-1', transport);
      session.offer(snapshot);
      unmount = mountPanel(node, session, 'en');
      await expect.poll(() => node.querySelector('.nba-best .nba-chip')).not.toBeNull();
      check();
      node.querySelector<HTMLElement>('.nba-best .nba-chip')!.click(); // Detail
      await expect.poll(() => transport.sent.some(({ type }) => type === 'trial')).toBe(true);
      const asked = transport.sent.find((message) => message.type === 'trial') as {
        cid: string;
        trial: number;
      };
      const answer = fixture<TrialMessage>('trial');
      session.receive({
        ...answer,
        trial: asked.trial,
        cid: asked.cid,
        use: text,
        problem: text,
        layers: answer.layers.map((layer) => ({ ...layer, name: text, kind: text })),
      });
      await expect.poll(() => node.querySelectorAll('.nba-layers tbody tr').length).toBeGreaterThan(0);
      node.querySelector<HTMLElement>('.nba-use button')!.click();
      node.querySelector<HTMLElement>('.nba-log .nba-fold')!.click();
      await expect.poll(() => node.querySelector('.nba-lines')).not.toBeNull();
      expect(node.querySelector('.nba-front-plot')).not.toBeNull();
      check();
      const line = text.replace(/\s+/g, ' ').slice(0, 20).trim();
      expect((node.querySelector('.nba-lines')?.textContent ?? '').replace(/\s+/g, ' ')).toContain(line);
      expect((node.querySelector('.nba-use code')?.textContent ?? '').replace(/\s+/g, ' ')).toContain(line);
      press('Curves');
      await expect.poll(() => node.querySelector('.nba-front-plot')).toBeNull();
      check();
    },
  );

  it('is asked with more than thirty texts', () => {
    expect(new Set(TEXTS).size).toBeGreaterThanOrEqual(30);
  });
});
