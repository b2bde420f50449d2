// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NoTransport } from '../src/lab/comms';
import type { Snapshot, TrialMessage } from '../src/protocol';
import { RunSession } from '../src/session/session';
import type { Transport } from '../src/session/transport';
import { mountPanel } from '../src/views/mount';
import { fixture } from './fixtures';
import { Answers, SeesAll } from './kernel';

describe('the panel', () => {
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

  const show = async (
    name: string,
    language: 'en' | 'zh' = 'en',
    transport: Transport & { session?: RunSession } = new NoTransport(),
    change: (snapshot: Snapshot) => Snapshot = (snapshot) => snapshot,
  ) => {
    const snapshot = change(fixture<Snapshot>(name));
    const session = new RunSession(snapshot.run, 'client-1', transport);
    transport.session = session;
    session.offer(snapshot);
    unmount = mountPanel(node, session, language);
    // It is drawn when it comes into view.
    await expect.poll(() => node.textContent).not.toBe('');
    return node;
  };

  it('shows state, best value and a column a parameter', async () => {
    const text = (await show('snapshot')).textContent ?? '';
    expect(text).toContain('Running');
    expect(text).toContain('0.913');
    expect(node.querySelector('[role=grid]')?.getAttribute('aria-rowcount')).toBe('6');
    const heads = [...node.querySelectorAll('[role=columnheader]')].map((head) => head.textContent);
    expect(heads).toEqual(expect.arrayContaining(['hidden', 'optimizer', 'lr']));
  });

  it('speaks Chinese', async () => {
    expect((await show('snapshot', 'zh')).textContent).toContain('运行中');
  });

  it('makes no element of what a hostile record says', async () => {
    await show('hostile_snapshot');
    expect(node.querySelectorAll('script, img, iframe, a')).toHaveLength(0);
    const attributes = [...node.querySelectorAll('*')].flatMap((element) => element.getAttributeNames());
    expect(attributes.filter((name) => name.startsWith('on'))).toEqual([]);
    expect(node.textContent).toContain('<script>alert(1)</script>');
  });

  const key = (target: Element, name: string) =>
    target.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true, cancelable: true }));
  const plot = () => node.querySelector('.nba-front-plot')!;
  const option = () => node.querySelector('[role=option]')?.textContent ?? '';

  it('draws the front of several objectives: diamonds, a line, limits, what was before', async () => {
    await show('snapshot_front');
    expect(node.querySelectorAll('.nba-drawing .nba-diamond')).toHaveLength(7);
    expect(node.querySelector('.nba-front-line')?.getAttribute('d')).toMatch(/^M[\d. ]+(H[\d.]+V[\d.]+)+$/);
    const limits = [...node.querySelectorAll('.nba-drawing .nba-limit text')].map((each) => each.textContent);
    expect(limits).toEqual(['≤ 2 ms', '≥ 0.95']);
    expect(node.querySelector('.nba-before text')?.textContent).toBe('before');
    expect(plot().getAttribute('aria-label')).toContain(
      'accuracy against latency_ms. Trials: 13, of which 7',
    );
  });

  it('walks along the front by keys, says what is there, and picks the row', async () => {
    await show('snapshot_front');
    key(plot(), 'Home');
    await expect.poll(option).toContain('Trial');
    key(plot(), 'ArrowRight');
    await expect
      .poll(option)
      .toMatch(/Trial \d+, .*accuracy 0\.\d+.*latency_ms [\d.]+ ms.*size_bytes [\d.]+ KB/);
    const trial = /Trial (\d+)/.exec(option())![1];
    key(plot(), 'Enter');
    await expect.poll(() => node.querySelector('.nba-detail strong')?.textContent).toBe(`Trial ${trial}`);
    expect(node.querySelector('.nba-ring text')?.textContent).toBe(`#${trial}`);
    expect(node.querySelector('[role=option]')?.getAttribute('aria-selected')).toBe('true');
    key(plot(), 'Escape');
    await expect.poll(() => node.querySelector('.nba-detail')).toBeNull();
  });

  it('marks in the picture what is picked elsewhere', async () => {
    await show('snapshot_front');
    node.querySelector<HTMLElement>('.nba-best .nba-chip')!.click();
    await expect.poll(() => node.querySelector('.nba-ring text')?.textContent).toBe('#0');
    expect(node.querySelector('.nba-detail')?.textContent).toContain('on the front');
  });

  it('swaps axes that are chosen twice, and puts curves in the place of the front', async () => {
    await show('snapshot_front');
    const [y, x, size] = [...node.querySelectorAll<HTMLSelectElement>('.nba-axes select')];
    x!.value = '0';
    x!.dispatchEvent(new Event('change', { bubbles: true }));
    await expect.poll(() => y!.value).toBe('1');
    expect(size!.value).toBe('2');
    const buttons = [...node.querySelectorAll<HTMLButtonElement>('.nba-switcher button')];
    buttons.find((button) => button.textContent === 'Curves')!.click();
    await expect.poll(() => node.querySelector('.nba-front-plot')).toBeNull();
    expect(node.querySelector('.nba-plot[role=img]')).not.toBeNull();
  });

  it('narrows table and picture to the front', async () => {
    await show('snapshot_front');
    const only = [...node.querySelectorAll<HTMLButtonElement>('.nba-front button')].find(
      (button) => button.textContent === 'Front only',
    )!;
    only.click();
    await expect.poll(() => node.querySelector('[role=grid]')?.getAttribute('aria-rowcount')).toBe('8');
    expect(only.getAttribute('aria-pressed')).toBe('true');
    expect(node.querySelectorAll('.nba-drawing .nba-dots[d*=M]')).toHaveLength(0);
    only.click();
    await expect.poll(() => node.querySelectorAll('.nba-drawing .nba-dots[d*=M]').length).toBeGreaterThan(0);
  });

  it('shows the layers of a picked trial before and after, and the line that gives its model', async () => {
    const transport = new Answers();
    await show('snapshot_front', 'en', transport);
    node.querySelector<HTMLElement>('.nba-best .nba-chip')!.click();
    await expect.poll(() => transport.sent.some(({ type }) => type === 'trial')).toBe(true);
    expect(node.querySelector('.nba-detail')?.textContent).toContain('come with a running kernel');
    const asked = transport.sent.find((message) => message.type === 'trial')!;
    expect(asked).toMatchObject({ type: 'trial', trial: 0 });
    const answer = { ...fixture<TrialMessage>('trial'), trial: 0 };
    transport.session!.receive({ ...answer, cid: 'of somebody else', use: 'no' });
    transport.session!.receive({ ...answer, cid: (asked as { cid: string }).cid });
    await expect.poll(() => node.querySelectorAll('.nba-layers tbody tr').length).toBe(4);
    const rows = [...node.querySelectorAll('.nba-layers tr')].map((row) => row.textContent ?? '');
    expect(rows[1]).toContain('500 before, 120 after');
    expect(rows[1]).toContain('24 %');
    expect(rows[2]).not.toContain('→');
    expect(rows[3]).toContain('gone');
    expect(rows[4]).toContain('<b>head</b> new');
    expect(rows[5]).toContain('25,950 before, 25,380 after');
    expect(node.querySelector('.nba-use code')?.textContent).toBe('model = small.model(8)');
    const copied: string[] = [];
    vi.stubGlobal('navigator', { clipboard: { writeText: async (text: string) => copied.push(text) } });
    node.querySelector<HTMLElement>('.nba-use button')!.click();
    await expect.poll(() => node.querySelector('.nba-use [role=status]')?.textContent).toContain('copied');
    expect(copied).toEqual(['model = small.model(8)']);
    vi.stubGlobal('navigator', {});
    node.querySelector<HTMLElement>('.nba-use button')!.click();
    await expect
      .poll(() => node.querySelector('.nba-use [role=status]')?.textContent)
      .toContain('paste this');
  });

  it('says all of the front in Chinese too', async () => {
    const text = (await show('snapshot_front', 'zh')).textContent ?? '';
    for (const word of ['13 个中有 7 个在前沿', '之前', '限制', '提前停止', '仅前沿'])
      expect(text).toContain(word);
    expect(plot().getAttribute('aria-label')).toContain('accuracy 对 latency_ms');
  });

  it('marks a broken model at the edge, and shows all when asked', async () => {
    await show('snapshot_front', 'en', undefined, (snapshot) => {
      const value = [...snapshot.trials.value];
      value[9] = 0.1;
      return { ...snapshot, trials: { ...snapshot.trials, value } };
    });
    expect(node.querySelectorAll('.nba-drawing .nba-beyond')).toHaveLength(1);
    expect(node.querySelector('.nba-legend')?.textContent).toContain('1 far off');
    const button = () => node.querySelector<HTMLElement>('.nba-legend button')!;
    button().click();
    await expect.poll(() => node.querySelectorAll('.nba-drawing .nba-beyond').length).toBe(0);
    expect(button().textContent).toBe('Cut outliers');
  });

  it('calls what a compression picked by its name', async () => {
    const text = (await show('snapshot_front')).querySelector('.nba-best-label')?.textContent;
    expect(text).toBe('The pick: accuracy');
  });

  it('says that no trial of a compression keeps to the limits', async () => {
    await show('snapshot_front', 'en', undefined, (snapshot) => ({
      ...snapshot,
      header: { ...snapshot.header, best: null },
    }));
    expect(node.querySelector('.nba-best')?.textContent).toContain('no trial keeps to the limits');
  });

  it('has no picture of a front for one objective', async () => {
    await show('snapshot');
    expect(node.querySelector('.nba-switcher, .nba-front')).toBeNull();
  });

  it('leaves nothing behind', async () => {
    await show('snapshot');
    unmount?.();
    unmount = null;
    expect(node.innerHTML).toBe('');
  });
});
