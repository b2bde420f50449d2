// One run as one document follows it: hello, deltas, gaps, commands and their answers, with time limits.

import { effect, type ReadonlySignal, signal, untracked } from '@preact/signals';
import {
  type Ack,
  type CommandMessage,
  type Delta,
  type LinesMessage,
  PROTOCOL_VERSION,
  type Snapshot,
  type ToBrowser,
  type TrialMessage,
  type Welcome,
} from '../protocol';
import { replaceLines } from '../state/curves';
import { adopt, applyDelta, isFinal, judge, type RunState } from '../state/run';
import { type Transport, uuid } from './transport';

/** How long an answer may take. */
export const TIME_LIMIT_MS = 5_000;
/** How long a command that nobody answered is said again over each new connection; it would surprise later. */
export const SAY_AGAIN_MS = 60_000;
/** How often a client of a run that goes on says that it is still there. */
export const SIGN_OF_LIFE_MS = 30_000;

export type Reason = 'no-kernel' | 'not-loaded' | 'no-answer' | 'unknown' | 'version';

export type Link =
  /** The run is over and nobody has to be asked. */
  | { readonly kind: 'idle' }
  | { readonly kind: 'connecting' }
  | { readonly kind: 'live' }
  | { readonly kind: 'static'; readonly reason: Reason };

export type Notice = { readonly kind: 'sent' | 'slow' } | { readonly kind: 'failed'; readonly text: string };

interface Pending {
  timer: ReturnType<typeof setTimeout>;
}

/** A command that was not answered yet. */
interface Commanded extends Pending {
  readonly message: CommandMessage;
  readonly at: number;
}

interface Asked extends Pending {
  readonly keys: readonly string[];
}

export class RunSession {
  private readonly _state = signal<RunState | null>(null);
  private readonly _link = signal<Link>({ kind: 'idle' });
  private readonly _notice = signal<Notice | null>(null);
  private readonly _isWriter = signal(false);
  private _heardAt = 0;
  private _views = 0;
  /** Whether hello was said since the channel was opened. */
  private _isGreeted = false;
  private _hello: (Pending & { cid: string }) | null = null;
  /** Whether a kernel ever spoke of the run: only then its going is news of a run that is over. */
  private _hasHeard = false;
  private _signOfLife: ReturnType<typeof setInterval> | null = null;
  private _stopWatching: (() => void) | null = null;
  private readonly _commands = new Map<string, Commanded>();
  private readonly _asked = new Map<string, Asked>();
  /** What was kept of trials, as far as it was asked for. */
  private readonly _kept = signal<ReadonlyMap<number, TrialMessage>>(new Map());
  /** The trial that was asked for last; it is asked for again of another kernel. */
  private _trial: number | null = null;
  /** Curves and trials that were asked for: `name` and trial, or the trial alone. */
  private readonly _wanted = new Set<string>();

  constructor(
    readonly run: string,
    private readonly _client: string,
    private readonly _transport: Transport,
  ) {}

  get state(): ReadonlySignal<RunState | null> {
    return this._state;
  }

  get link(): ReadonlySignal<Link> {
    return this._link;
  }

  /** What became of the last command. */
  get notice(): ReadonlySignal<Notice | null> {
    return this._notice;
  }

  /** What was kept of trials: see `requestTrial`. */
  get kept(): ReadonlySignal<ReadonlyMap<number, TrialMessage>> {
    return this._kept;
  }

  /** Whether the kernel chose this document to write the run's snapshots into the notebook. */
  get isWriter(): ReadonlySignal<boolean> {
    return this._isWriter;
  }

  /** Milliseconds since the header that is shown came in. */
  get age(): number {
    return performance.now() - this._heardAt;
  }

  /** Take a snapshot (out of a notebook, say) if it is newer than what is known. */
  offer(snapshot: Snapshot): void {
    const known = this._state.peek();
    if (known && known.seq >= snapshot.seq) return;
    const state = adopt(known, snapshot);
    this._take(state);
    // The end is also drawn into the output, and may come that way first: its delta is old then.
    if (isFinal(state) && this._link.peek().kind === 'live') this._link.value = { kind: 'idle' };
  }

  /** A view begins to show the run. */
  attach(): void {
    this._views += 1;
    if (this._views > 1) return;
    let opened = 0;
    this._stopWatching = effect(() => {
      const channel = this._transport.channel.value;
      untracked(() => {
        if (channel.kind === 'open') {
          if (channel.n === opened) return;
          opened = channel.n;
          this._isGreeted = false;
          this._wanted.clear();
          if (this._isFollowing()) this._sayHello();
          else this._link.value = { kind: 'idle' };
          this._sayCommandsAgain();
          // A kernel that started anew knows other names.
          this._kept.value = new Map();
          if (this._trial !== null) this.requestTrial(this._trial);
        } else if (this._isFollowing() || this._hasHeard) {
          this._forgetHello();
          this._isWriter.value = false;
          const reason = channel.kind === 'none' && channel.isKernel ? 'not-loaded' : 'no-kernel';
          this._link.value = channel.kind === 'opening' ? { kind: 'connecting' } : { kind: 'static', reason };
        }
      });
    });
    this._signOfLife = setInterval(() => {
      const state = this._state.peek();
      if (!state || !isFinal(state)) this._sayHello();
    }, SIGN_OF_LIFE_MS);
    if (this._isFollowing()) this._transport.connect();
  }

  /** A view of the run went away. */
  detach(): void {
    this._views -= 1;
    if (this._views > 0) return;
    this._transport.send({ type: 'bye', client: this._client, run: this.run });
    this.dispose();
  }

  dispose(): void {
    this._stopWatching?.();
    this._stopWatching = null;
    if (this._signOfLife !== null) clearInterval(this._signOfLife);
    this._forgetHello();
    for (const { timer } of [...this._commands.values(), ...this._asked.values()]) clearTimeout(timer);
    this._commands.clear();
    this._asked.clear();
    this._wanted.clear();
    this._isWriter.value = false;
  }

  /** Whether a view shows a run that may still change. */
  get isFollowed(): boolean {
    return this._views > 0 && this._isFollowing();
  }

  /** The page slept: ask what was missed now, and not with the next sign of life. */
  wake(): void {
    if (!this.isFollowed) return;
    this._forgetHello();
    this._sayHello();
  }

  /** Whether the run may still change, so that it is worth following. */
  private _isFollowing(): boolean {
    const state = this._state.peek();
    return state === null || !isFinal(state) || state.header.state === 'interrupted';
  }

  private _take(state: RunState): void {
    this._heardAt = performance.now();
    this._state.value = state;
  }

  private _sayHello(): void {
    if (this._hello || this._transport.channel.peek().kind !== 'open') return;
    const cid = uuid();
    const timer = setTimeout(() => {
      this._hello = null;
      this._link.value = this._isFollowing() ? { kind: 'static', reason: 'no-answer' } : { kind: 'idle' };
    }, TIME_LIMIT_MS);
    this._hello = { cid, timer };
    this._isGreeted = true;
    if (this._link.peek().kind !== 'live' && this._isFollowing()) this._link.value = { kind: 'connecting' };
    const have = this._state.peek()?.seq ?? null;
    this._transport.send({
      type: 'hello',
      v: PROTOCOL_VERSION,
      client: this._client,
      cid,
      run: this.run,
      have,
    });
  }

  private _forgetHello(): void {
    if (this._hello) clearTimeout(this._hello.timer);
    this._hello = null;
  }

  /** The kernel spoke of this run: it is there. */
  private _heard(): void {
    this._forgetHello();
    this._hasHeard = true;
    const state = this._state.peek();
    this._link.value = state && isFinal(state) ? { kind: 'idle' } : { kind: 'live' };
  }

  /** A message of the kernel that is meant for this client or for everybody. */
  receive(message: Exclude<ToBrowser, { type: 'tick' }>): void {
    if (message.v !== PROTOCOL_VERSION) {
      this._forgetHello();
      this._link.value = { kind: 'static', reason: 'version' };
      return;
    }
    switch (message.type) {
      case 'snapshot':
        this._receiveSnapshot(message.snapshot);
        break;
      case 'welcome':
        this._receiveWelcome(message);
        break;
      case 'unknown':
        this._forgetHello();
        this._link.value = { kind: 'static', reason: 'unknown' };
        break;
      case 'ack':
        this._receiveAck(message);
        break;
      case 'lines':
        this._receiveLines(message);
        break;
      case 'trial':
        this._receiveTrial(message);
        break;
    }
  }

  receiveDelta(delta: Delta): void {
    const state = this._state.peek();
    if (!state) return;
    const verdict = judge(state.seq, delta);
    if (verdict === 'next') {
      this._take(applyDelta(state, delta));
      this._heard();
    } else if (verdict === 'gap' && this._views > 0) {
      // A run that was over goes on again, or something was lost on the way.
      this._transport.connect();
      this._sayHello();
    }
  }

  private _receiveSnapshot(snapshot: Snapshot): void {
    const known = this._state.peek();
    if (!known || snapshot.seq >= known.seq) this._take(adopt(known, snapshot));
    this._heard();
  }

  private _receiveWelcome(message: Welcome): void {
    this._isWriter.value = message.writer;
    const have = this._state.peek()?.seq ?? -1;
    // Where the kernel is ahead a snapshot follows: the wait for it goes on.
    if (message.seq <= have) this._heard();
  }

  /** Ask something of the run; what became of it shows in `notice`. */
  command(command: Record<string, unknown>): void {
    const cid = uuid();
    const timer = setTimeout(() => {
      this._notice.value = { kind: 'slow' };
    }, TIME_LIMIT_MS);
    const message: CommandMessage = { type: 'command', client: this._client, cid, run: this.run, command };
    this._commands.set(cid, { timer, message, at: performance.now() });
    this._notice.value = { kind: 'sent' };
    // News may come in while the way back is not open yet: then it is said once that is.
    if (this._transport.channel.peek().kind === 'open') this._transport.send(message);
    else this._transport.connect();
  }

  /** Over a new connection: the old one may have taken commands along. The kernel obeys each once. */
  private _sayCommandsAgain(): void {
    for (const { message, at } of this._commands.values())
      if (performance.now() - at < SAY_AGAIN_MS) this._transport.send(message);
  }

  private _receiveAck({ cid, ok, text }: Ack): void {
    if (cid === this._hello?.cid && !ok) {
      // A hello is refused for one reason only: the kernel speaks another version.
      this._forgetHello();
      this._link.value = { kind: 'static', reason: 'version' };
      return;
    }
    const asked = this._asked.get(cid);
    if (asked && !ok) this._forgetAsked(cid, asked);
    const pending = this._commands.get(cid);
    if (!pending) return;
    clearTimeout(pending.timer);
    this._commands.delete(cid);
    this._notice.value = ok ? null : { kind: 'failed', text };
  }

  /** Whether curves that are not held can be asked for. */
  get canAsk(): boolean {
    return this._transport.channel.value.kind !== 'none';
  }

  /** Ask for curves that are not held; each is asked for once a connection. */
  requestCurves(name: string, trials: readonly number[]): void {
    const channel = this._transport.channel.peek();
    if (channel.kind !== 'open') {
      if (trials.length > 0) this._transport.connect();
      return;
    }
    const missing = trials.filter((trial) => !this._wanted.has(`${trial} ${name}`));
    if (missing.length === 0) return;
    const cid = this._ask(missing.map((trial) => `${trial} ${name}`));
    this._transport.send({ type: 'curves', client: this._client, cid, run: this.run, trials: missing, name });
  }

  /** Ask what was kept of a trial that ended; it is asked once a connection. */
  requestTrial(trial: number): void {
    this._trial = trial;
    if (this._transport.channel.peek().kind !== 'open') this._transport.connect();
    else if (!this._wanted.has(`${trial}`)) {
      const cid = this._ask([`${trial}`]);
      this._transport.send({ type: 'trial', client: this._client, cid, run: this.run, trial });
    }
  }

  /** Notes a question of which the answer has a time limit; returns its name. */
  private _ask(keys: readonly string[]): string {
    for (const key of keys) this._wanted.add(key);
    const cid = uuid();
    const asked: Asked = { timer: setTimeout(() => this._forgetAsked(cid, asked), TIME_LIMIT_MS), keys };
    this._asked.set(cid, asked);
    // Of a run that is over the kernel has not heard yet from this client.
    if (!this._isGreeted) this._sayHello();
    return cid;
  }

  /** What was not answered may be asked for again. */
  private _forgetAsked(cid: string, { timer, keys }: Asked): void {
    clearTimeout(timer);
    this._asked.delete(cid);
    for (const key of keys) this._wanted.delete(key);
  }

  private _receiveLines({ cid, lines }: LinesMessage): void {
    const asked = this._asked.get(cid);
    const state = this._state.peek();
    if (!asked || !state) return;
    clearTimeout(asked.timer);
    this._asked.delete(cid);
    if (lines.length > 0) this._state.value = { ...state, curves: replaceLines(state.curves, lines) };
  }

  private _receiveTrial(message: TrialMessage): void {
    const asked = this._asked.get(message.cid);
    if (!asked) return;
    clearTimeout(asked.timer);
    this._asked.delete(message.cid);
    this._kept.value = new Map(this._kept.peek()).set(message.trial, message);
  }
}
