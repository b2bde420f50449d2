// The anywidget behind `run.panel()`: the same panel, its messages carried by the widget's own model.

import { signal } from '@preact/signals';
import { fromSaved, PROTOCOL_VERSION, type Snapshot, type ToBrowser } from '../protocol';
import { Hub } from '../session/hub';
import type { Channel, Transport } from '../session/transport';
import { mountPanel } from '../views/mount';

/** What anywidget gives of a widget's model. */
interface Model {
  get(name: string): unknown;
  send(content: unknown): void;
  on(event: string, listener: (...values: unknown[]) => void): void;
  off(event: string, listener?: (...values: unknown[]) => void): void;
}

class ModelTransport implements Transport {
  // Whether somebody listens at the other end is found out by asking.
  readonly channel = signal<Channel>({ kind: 'open', n: 1 });

  constructor(private readonly _model: Model) {}

  connect(): void {}

  send(message: unknown): void {
    this._model.send(message);
  }

  // The notebook's own connection carries the model.
  wake(): void {}

  dispose(): void {}
}

/** The snapshot for the first painting: as it is, or as it stands in a notebook. */
function firstSnapshot(model: Model): Snapshot | null {
  const found = model.get('_snapshot') as Partial<Snapshot> | null;
  if (!found) return null;
  if ('text' in found) return fromSaved(found);
  return found.v === PROTOCOL_VERSION ? (found as Snapshot) : null;
}

/** Called once for a model; all its views share one session. */
export default function widget(): object {
  let hub: Hub | null = null;
  return {
    initialize({ model }: { model: Model }): () => void {
      const own = new Hub(new ModelTransport(model));
      hub = own;
      const listen = (message: unknown) => own.receive(message as ToBrowser);
      model.on('msg:custom', listen);
      return () => {
        model.off('msg:custom', listen);
        own.dispose();
      };
    },
    render({ model, el }: { model: Model; el: HTMLElement }): () => void {
      const session = hub!.session(String(model.get('run')));
      const snapshot = firstSnapshot(model);
      if (snapshot) session.offer(snapshot);
      return mountPanel(el, session);
    },
  };
}
