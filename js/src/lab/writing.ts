// Writes the newest snapshots into the notebook's own outputs, so that a saved file shows what was last known.

import type { ICodeCellModel } from '@jupyterlab/cells';
import type { DocumentRegistry } from '@jupyterlab/docregistry';
import type { INotebookModel } from '@jupyterlab/notebook';
import type { IOutputModel } from '@jupyterlab/rendermime';
import { effect } from '@preact/signals';
import { MIME, type Saved } from '../protocol';
import type { Hub } from '../session/hub';
import type { RunSession } from '../session/session';
import { isFinal } from '../state/run';
import { savedOf } from '../state/saving';

/** The kernel redraws a display of ours when its run ends: that update comes first where it still can. */
const GRACE_MS = 2_000;

type Context = DocumentRegistry.IContext<INotebookModel>;

/**
 * The writer of one document.
 *
 * While a run goes on its snapshot is written when the document is being saved anyway, which leaves
 * the document as clean as the saving does. When it is over it is written once, which marks the
 * document as changed. The kernel names one document a run that may write: with two tabs the second
 * saving would find the file changed.
 */
export class Writer {
  private readonly _watched = new Map<RunSession, () => void>();

  constructor(
    private readonly _context: Context,
    private readonly _hub: Hub,
  ) {
    _context.saveState.connect(this._onSave, this);
  }

  /** Write the last snapshot of this run when it is over. */
  watch(session: RunSession): void {
    if (this._watched.has(session)) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = effect(() => {
      const state = session.state.value;
      const isDue = state !== null && isFinal(state) && session.isWriter.value;
      clearTimeout(timer);
      if (isDue) timer = setTimeout(() => this._write(session), GRACE_MS);
    });
    this._watched.set(session, () => {
      clearTimeout(timer);
      stop();
    });
  }

  dispose(): void {
    this._context.saveState.disconnect(this._onSave, this);
    for (const stop of this._watched.values()) stop();
    this._watched.clear();
  }

  private _onSave(_: unknown, saveState: DocumentRegistry.SaveState): void {
    if (!saveState.startsWith('started')) return;
    for (const session of this._hub.sessions.values()) if (session.isWriter.peek()) this._write(session);
  }

  private _write(session: RunSession): void {
    const state = session.state.peek();
    if (!state || this._context.isDisposed) return;
    let saved: Saved | null = null;
    for (const output of this._outputs(session.run)) {
      if (seqOf(output) >= state.seq && !isOlder(output, state.header.state)) continue;
      saved ??= savedOf(state);
      output.setData({ data: { ...output.data, [MIME]: { ...saved } } });
    }
  }

  /** All outputs of the notebook that show a run. */
  private *_outputs(run: string): Generator<IOutputModel> {
    for (const cell of this._context.model.cells ?? []) {
      if (cell.type !== 'code') continue;
      const { outputs } = cell as ICodeCellModel;
      for (let i = 0; i < outputs.length; i++) {
        const output = outputs.get(i);
        if (savedIn(output)?.run === run) yield output;
      }
    }
  }
}

function savedIn(output: IOutputModel): Partial<Saved> | undefined {
  return output.data[MIME] as Partial<Saved> | undefined;
}

function headOf(output: IOutputModel): { seq: number; state: string } {
  // Both stand at the beginning of the text: it is not worth parsing 200 KB for them.
  const text = savedIn(output)?.text?.slice(0, 4000) ?? '';
  return {
    seq: Number(/"seq":(\d+)/u.exec(text)?.[1] ?? -1),
    state: /"state":"(\w+)"/u.exec(text)?.[1] ?? '',
  };
}

const seqOf = (output: IOutputModel): number => headOf(output).seq;

/** A run whose owner died changes its state without a new event in its record. */
const isOlder = (output: IOutputModel, state: string): boolean => headOf(output).state !== state;
