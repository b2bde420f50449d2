// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NoTransport } from '../src/lab/comms';
import type { Snapshot } from '../src/protocol';
import { RunSession } from '../src/session/session';
import { mountPanel } from '../src/views/mount';
import { fixture } from './fixtures';

/** happy-dom lays nothing out, so nothing would ever come into view. */
class SeesAll {
  constructor(private readonly _tell: (entries: { isIntersecting: boolean }[]) => void) {}
  observe(): void {
    this._tell([{ isIntersecting: true }]);
  }
  disconnect(): void {}
}

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

  const show = async (name: string, language: 'en' | 'zh' = 'en') => {
    const snapshot = fixture<Snapshot>(name);
    const session = new RunSession(snapshot.run, 'client-1', new NoTransport());
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

  it('leaves nothing behind', async () => {
    await show('snapshot');
    unmount?.();
    unmount = null;
    expect(node.innerHTML).toBe('');
  });
});
