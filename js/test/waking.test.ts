// @vitest-environment happy-dom

import { signal } from '@preact/signals';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { FromBrowser, SnapshotMessage } from '../src/protocol';
import { Hub } from '../src/session/hub';
import { TIME_LIMIT_MS } from '../src/session/session';
import type { Channel, Transport } from '../src/session/transport';
import { watchWaking } from '../src/session/waking';
import { fixture } from './fixtures';

class Line implements Transport {
  readonly channel = signal<Channel>({ kind: 'open', n: 1 });
  readonly sent: FromBrowser[] = [];
  nWoken = 0;
  connect(): void {}
  send(message: FromBrowser): void {
    this.sent.push(message);
  }
  wake(): void {
    this.nWoken += 1;
  }
  dispose(): void {}
  get nHellos(): number {
    return this.sent.filter(({ type }) => type === 'hello').length;
  }
}

const see = (visibility: 'visible' | 'hidden') => {
  vi.spyOn(document, 'visibilityState', 'get').mockReturnValue(visibility);
  document.dispatchEvent(new Event('visibilitychange'));
};

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe('a page that slept', () => {
  it('notices that time was lost', () => {
    const woke = vi.fn();
    const stop = watchWaking(woke);
    vi.advanceTimersByTime(60_000);
    expect(woke).not.toHaveBeenCalled();
    vi.setSystemTime(Date.now() + 600_000);
    vi.advanceTimersByTime(5_000);
    expect(woke).toHaveBeenCalledTimes(1);
    stop();
  });

  it.each(['resume', 'pageshow', 'online'])('is told by %s', (event) => {
    const woke = vi.fn();
    const stop = watchWaking(woke);
    (event === 'resume' ? document : window).dispatchEvent(new Event(event));
    expect(woke).toHaveBeenCalledTimes(1);
    stop();
    (event === 'resume' ? document : window).dispatchEvent(new Event(event));
    expect(woke).toHaveBeenCalledTimes(1);
  });

  it('needs nothing while it is hidden', () => {
    const woke = vi.fn();
    const stop = watchWaking(woke);
    see('hidden');
    window.dispatchEvent(new Event('online'));
    expect(woke).not.toHaveBeenCalled();
    see('visible');
    expect(woke).toHaveBeenCalledTimes(1);
    stop();
  });
});

describe('the runs of a page that slept', () => {
  let line: Line;
  let hub: Hub;
  const { snapshot } = fixture<SnapshotMessage>('snapshot_message');
  const wake = () => document.dispatchEvent(new Event('resume'));
  beforeEach(() => {
    line = new Line();
    hub = new Hub(line);
  });
  afterEach(() => hub.dispose());

  it('are asked for at once, also where a question from before was not answered', () => {
    hub.session(snapshot.run).attach();
    expect(line.nHellos).toBe(1);
    wake();
    expect([line.nWoken, line.nHellos]).toEqual([1, 2]);
    vi.advanceTimersByTime(TIME_LIMIT_MS - 1);
    expect(hub.session(snapshot.run).link.value.kind).toBe('connecting');
  });

  it('are left alone when they are over, and when nobody looks', () => {
    const session = hub.session(snapshot.run);
    wake();
    session.offer({ ...snapshot, header: { ...snapshot.header, state: 'finished' } });
    session.attach();
    wake();
    expect([line.nWoken, line.nHellos]).toEqual([0, 0]);
  });
});
