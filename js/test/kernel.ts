// A kernel that is there, whose answers a test gives; and a page in which everything is in view.

import { signal } from '@preact/signals';
import type { FromBrowser } from '../src/protocol';
import type { RunSession } from '../src/session/session';
import type { Channel, Transport } from '../src/session/transport';

export class Answers implements Transport {
  readonly channel = signal<Channel>({ kind: 'open', n: 1 });
  readonly sent: FromBrowser[] = [];
  session?: RunSession;
  connect(): void {}
  send(message: FromBrowser): void {
    this.sent.push(message);
  }
  wake(): void {}
  dispose(): void {}
  last<T extends FromBrowser['type']>(type: T): Extract<FromBrowser, { type: T }> {
    return this.sent.filter((message) => message.type === type).at(-1) as Extract<FromBrowser, { type: T }>;
  }
}

/** happy-dom lays nothing out, so nothing would ever come into view. */
export class SeesAll {
  constructor(private readonly _tell: (entries: { isIntersecting: boolean }[]) => void) {}
  observe(): void {
    this._tell([{ isIntersecting: true }]);
  }
  disconnect(): void {}
}
