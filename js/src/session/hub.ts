// All runs of one document over one transport: messages find their session.

import { PROTOCOL_VERSION, type ToBrowser } from '../protocol';
import { RunSession } from './session';
import { type Transport, uuid } from './transport';
import { watchWaking } from './waking';

export class Hub {
  readonly client = uuid();
  private readonly _sessions = new Map<string, RunSession>();

  private _stopWaking: (() => void) | null = null;

  constructor(readonly transport: Transport) {}

  /** The one session of a run: however often it is shown, it is followed once. */
  session(run: string): RunSession {
    let session = this._sessions.get(run);
    if (!session) {
      session = new RunSession(run, this.client, this.transport);
      this._sessions.set(run, session);
      this._stopWaking ??= watchWaking(() => this._wake());
    }
    return session;
  }

  get sessions(): ReadonlyMap<string, RunSession> {
    return this._sessions;
  }

  /** A message of the kernel; every document sees all, so those for others are left alone. */
  receive(message: ToBrowser): void {
    if (message === null || typeof message !== 'object') return;
    if (message.type !== 'tick') {
      if (message.to !== this.client) return;
      // An `Ack` names no run: the session that waits for it knows its `cid`.
      if (message.type === 'ack') for (const session of this._sessions.values()) session.receive(message);
      else
        this._sessions
          .get(message.type === 'snapshot' ? message.snapshot.run : message.run)
          ?.receive(message);
      return;
    }
    // That the versions differ is said by the welcome.
    if (message.v !== PROTOCOL_VERSION) return;
    if (message.to !== null && message.to !== this.client) return;
    for (const delta of message.runs) this._sessions.get(delta.run)?.receiveDelta(delta);
  }

  /** The page slept: what was sent meanwhile may be lost, and the connection with it. */
  private _wake(): void {
    const isWanted = [...this._sessions.values()].some((session) => session.isFollowed);
    if (!isWanted) return;
    this.transport.wake();
    for (const session of this._sessions.values()) session.wake();
  }

  dispose(): void {
    this._stopWaking?.();
    this._stopWaking = null;
    for (const session of this._sessions.values()) session.dispose();
    this.transport.dispose();
  }
}
