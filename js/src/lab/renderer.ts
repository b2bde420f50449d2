// Renders an output of our type: at once from its snapshot, live where its notebook's kernel answers.

import type { IRenderMime } from '@jupyterlab/rendermime';
import { Widget } from '@lumino/widgets';
import { fromSaved, MIME } from '../protocol';
import type { Hub } from '../session/hub';
import type { RunSession } from '../session/session';
import { mountPanel } from '../views/mount';

export interface RendererOptions {
  readonly hub: Hub;
  readonly language: 'en' | 'zh';
  readonly onSession?: (session: RunSession) => void;
}

export class RunRenderer extends Widget implements IRenderMime.IRenderer {
  private _run: string | null = null;
  private _unmount: (() => void) | null = null;

  constructor(private readonly _options: RendererOptions) {
    super();
    this.addClass('nbautoml-output');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const snapshot = fromSaved(model.data[MIME]);
    if (!snapshot) {
      this._clear();
      // Saved by another version: what every front end can show.
      this.node.textContent = String(model.data['text/plain'] ?? '');
      return Promise.resolve();
    }
    const session = this._options.hub.session(snapshot.run);
    session.offer(snapshot);
    if (this._run !== snapshot.run) {
      this._clear();
      this._run = snapshot.run;
      this._options.onSession?.(session);
      this._unmount = mountPanel(this.node, session, this._options.language);
    }
    return Promise.resolve();
  }

  override dispose(): void {
    if (this.isDisposed) return;
    this._clear();
    super.dispose();
  }

  private _clear(): void {
    this._unmount?.();
    this._unmount = null;
    this._run = null;
    this.node.textContent = '';
  }
}
