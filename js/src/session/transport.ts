// What a session needs of a channel to a kernel; the adapters (Lab's comms, anywidget's model) supply it.

import type { ReadonlySignal } from '@preact/signals';
import type { FromBrowser } from '../protocol';

export type Channel =
  /** Nobody there: no kernel, or one that has not loaded our extension. */
  | { readonly kind: 'none'; readonly isKernel: boolean }
  | { readonly kind: 'opening' }
  /** `n` grows with each new connection, after which everybody says hello again. */
  | { readonly kind: 'open'; readonly n: number };

export interface Transport {
  readonly channel: ReadonlySignal<Channel>;
  /** Ask for the channel; may be called often. */
  connect(): void;
  /** Send when open, else drop: what matters has a time limit and is said again. */
  send(message: FromBrowser): void;
  /** The page slept: a connection that was lost is worth a new attempt at once. */
  wake(): void;
  dispose(): void;
}

/** A name for a client or a message that nobody else uses. */
export function uuid(): string {
  // `crypto.randomUUID` is missing on pages that are not served over TLS.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
