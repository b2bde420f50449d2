// A page that slept: its lid was closed, its tab frozen or hidden, its network away.

/** How often it is looked whether time was lost. */
const LOOK_MS = 5_000;
/** A page that was busy is late by less than this. */
const LOST_MS = 15_000;

/**
 * Calls `onWake` when the page may have missed something, until the returned function is called.
 *
 * A frozen tab is told so when it goes on, and a hidden one when it is seen; a computer whose lid was
 * closed tells its pages nothing, but their timers stood still. A page that nobody sees needs no news.
 */
export function watchWaking(onWake: () => void): () => void {
  const isSeen = () => document.visibilityState !== 'hidden';
  const wake = () => {
    if (isSeen()) onWake();
  };
  // The wall's clock: the page's own does not count sleep on all systems.
  let last = Date.now();
  const timer = setInterval(() => {
    const now = Date.now();
    if (now - last > LOST_MS) wake();
    last = now;
  }, LOOK_MS);
  const told = [
    [document, 'resume'],
    [document, 'visibilitychange'],
    [window, 'pageshow'],
    [window, 'online'],
  ] as const;
  for (const [target, event] of told) target.addEventListener(event, wake);
  return () => {
    clearInterval(timer);
    for (const [target, event] of told) target.removeEventListener(event, wake);
  };
}
