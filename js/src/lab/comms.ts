// The two comms of a notebook's kernel: events, which come in on a constant id, and commands, which go out on a
// comm that we open. They are two because a kernel answers on the shell that last published on a comm.

import type { ISessionContext } from '@jupyterlab/apputils';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { signal } from '@preact/signals';
import {
  COMMANDS_TARGET,
  EVENTS_COMM_ID,
  EVENTS_TARGET,
  type FromBrowser,
  type ToBrowser,
} from '../protocol';
import type { Channel, Transport } from '../session/transport';

/** How long a subshell may take to start; without one a command waits for the cell that runs. */
const SUBSHELL_LIMIT_MS = 2_000;
/** Between attempts to open the commands comm: a kernel without our extension logs each as an error. */
const PAUSE_MS = 1_000;

/** `subshellStarted` is there since JupyterLab 4.4, on the class but not on the interface. */
type Comm = Kernel.IComm & { readonly subshellStarted?: Promise<void> };
type Connection = Kernel.IKernelConnection & { readonly supportsSubshells?: boolean };

const GONE: readonly Kernel.Status[] = ['restarting', 'autorestarting', 'terminating', 'dead', 'unknown'];

export class KernelTransport implements Transport {
  readonly channel = signal<Channel>({ kind: 'none', isKernel: false });
  private _kernel: Connection | null = null;
  private _commands: Comm | null = null;
  private _isWanted = false;
  /** A cell that ran just now may have loaded our extension. */
  private _isHopeful = false;
  private _lastAttempt = Number.NEGATIVE_INFINITY;
  private _n = 0;

  constructor(
    private readonly _context: ISessionContext,
    private readonly _onMessage: (message: ToBrowser) => void,
  ) {
    _context.kernelChanged.connect(this._onKernelChanged, this);
    this._take(_context.session?.kernel ?? null);
  }

  connect(): void {
    this._isWanted = true;
    if (this.channel.peek().kind === 'none') void this._open();
  }

  send(message: FromBrowser): void {
    if (!this._commands || this._commands.isDisposed) return;
    try {
      // A message is a JSON object; its type has no index signature to say so.
      this._commands.send(message as unknown as Parameters<Comm['send']>[0]);
    } catch {
      // The kernel went away in this moment: what is not answered has a time limit.
      this._lose();
    }
  }

  wake(): void {
    const kernel = this._kernel;
    if (!kernel || kernel.isDisposed || kernel.connectionStatus === 'connected') return;
    // JupyterLab waits longer with each attempt, up to a minute, and gives up after seven.
    kernel.reconnect().catch(() => {
      // Its connection status says so too, and that is what is shown.
    });
  }

  dispose(): void {
    this._context.kernelChanged.disconnect(this._onKernelChanged, this);
    this._take(null);
  }

  private _onKernelChanged(_: unknown, change: { newValue: Kernel.IKernelConnection | null }): void {
    this._take(change.newValue);
  }

  private _take(kernel: Connection | null): void {
    const old = this._kernel;
    if (old && !old.isDisposed) {
      old.statusChanged.disconnect(this._onStatus, this);
      old.connectionStatusChanged.disconnect(this._onConnection, this);
      old.iopubMessage.disconnect(this._onIopub, this);
      if (this._commands && !this._commands.isDisposed) this._commands.close();
    }
    this._kernel = kernel;
    this._lastAttempt = Number.NEGATIVE_INFINITY;
    this._lose();
    if (!kernel) return;
    kernel.statusChanged.connect(this._onStatus, this);
    kernel.connectionStatusChanged.connect(this._onConnection, this);
    kernel.iopubMessage.connect(this._onIopub, this);
    this._listen();
    if (this._isWanted) void this._open();
  }

  private _lose(): void {
    this._commands = null;
    const isKernel = this._kernel !== null && !GONE.includes(this._kernel.status);
    const now = this.channel.peek();
    if (now.kind !== 'none' || now.isKernel !== isKernel) this.channel.value = { kind: 'none', isKernel };
  }

  /** Events come in on a comm with a constant id that nobody opens: it needs no lookup and can't leak. */
  private _listen(): void {
    const kernel = this._kernel;
    if (!kernel?.handleComms || kernel.hasComm(EVENTS_COMM_ID)) return;
    const comm = kernel.createComm(EVENTS_TARGET, EVENTS_COMM_ID);
    comm.onMsg = (message) => {
      this._onMessage(message.content.data as unknown as ToBrowser);
      // Whatever the kernel says: our extension is there.
      if (this._isWanted && this.channel.peek().kind === 'none') void this._open();
    };
  }

  private async _open(): Promise<void> {
    const kernel = this._kernel;
    if (!kernel?.handleComms || GONE.includes(kernel.status)) return;
    const now = performance.now();
    if (now - this._lastAttempt < PAUSE_MS) return;
    this._lastAttempt = now;
    this._listen();
    this.channel.value = { kind: 'opening' };
    const comm: Comm = kernel.createComm(COMMANDS_TARGET);
    this._commands = comm;
    comm.onClose = () => {
      // The kernel closes at once what it knows no target for.
      if (this._commands === comm) this._lose();
    };
    try {
      await kernel.info;
      if (kernel.supportsSubshells !== false && comm.subshellStarted) {
        const limit = new Promise<void>((resolve) => setTimeout(resolve, SUBSHELL_LIMIT_MS));
        await Promise.race([comm.subshellStarted, limit]);
      }
      if (this._commands !== comm) return;
      comm.open();
    } catch {
      if (this._commands === comm) this._lose();
      return;
    }
    this._n += 1;
    this.channel.value = { kind: 'open', n: this._n };
  }

  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (GONE.includes(status)) {
      this._lose();
      return;
    }
    // A restart drops all comms without changing the kernel.
    this._listen();
    if (this._commands?.isDisposed) this._lose();
    if (status === 'idle' && this._isHopeful) {
      this._isHopeful = false;
      if (this._isWanted && this.channel.peek().kind === 'none') void this._open();
    }
  }

  private _onConnection(_: unknown, status: Kernel.ConnectionStatus): void {
    if (status !== 'connected') {
      this._lose();
      return;
    }
    this._listen();
    if (this._isWanted && this.channel.peek().kind === 'none') void this._open();
  }

  private _onIopub(_: unknown, message: KernelMessage.IIOPubMessage): void {
    if (message.header.msg_type !== 'execute_input') return;
    const { code } = message.content as KernelMessage.IExecuteInputMsg['content'];
    if (code.includes('automl')) this._isHopeful = true;
  }
}

/** For a renderer that belongs to no notebook: there is nobody to talk to. */
export class NoTransport implements Transport {
  readonly channel = signal<Channel>({ kind: 'none', isKernel: false });
  connect(): void {}
  send(): void {}
  wake(): void {}
  dispose(): void {}
}
