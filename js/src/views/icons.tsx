// Icons as SVG nodes: a state is told by shape and text, never by colour alone.

import type { JSX } from 'preact';

const RING = 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13Zm0 1.5a5 5 0 1 1 0 10a5 5 0 0 1 0-10Z';

const PATHS: Readonly<Record<string, string>> = {
  // Runs.
  queued: `${RING} M7.25 4.5h1.5v3.2l2.3 1.4l-.8 1.2l-3-1.8Z`,
  running: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13ZM6.2 4.9l5 3.1l-5 3.1Z',
  paused: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13ZM5.5 5h1.8v6H5.5ZM8.7 5h1.8v6H8.7Z',
  finished: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13ZM7 11.2L4 8.2l1.1-1.1L7 9l4-4l1.1 1.1Z',
  stopped: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13ZM5.5 5.5h5v5h-5Z',
  failed: 'M8 1.5L15.2 14.3H.8ZM7.2 6v4h1.6V6ZM7.2 11.2v1.6h1.6v-1.6Z',
  interrupted: `${RING} M4.5 7.2h7v1.6h-7Z`,
  // Trials: `running` and `failed` are the same as a run's.
  waiting: RING,
  complete: 'M6.5 12.2L2.6 8.3l1.2-1.2l2.7 2.7l5.7-5.7l1.2 1.2Z',
  stopped_early: 'M3 3.5l6 4.5l-6 4.5ZM10.5 3.5h2v9h-2Z',
  cancelled: 'M4.1 3L8 6.9L11.9 3L13 4.1L9.1 8l3.9 3.9l-1.1 1.1L8 9.1L4.1 13L3 11.9L6.9 8L3 4.1Z',
  // Things to do.
  pause: 'M4 3h3v10H4ZM9 3h3v10H9Z',
  play: 'M4.5 2.8l8 5.2l-8 5.2Z',
  stop: 'M3.5 3.5h9v9h-9Z',
  up: 'M8 4l4.5 6h-9Z',
  down: 'M8 12L3.5 6h9Z',
  right: 'M6 3.5L12 8l-6 4.5Z',
  star: 'M8 1.5l1.9 4.2l4.6.5l-3.4 3.1l.9 4.5L8 11.5l-4 2.3l.9-4.5L1.5 6.2l4.6-.5Z',
  diamond: 'M8 1.5L14 8L8 14.5L2 8Z',
  close: 'M4.1 3L8 6.9L11.9 3L13 4.1L9.1 8l3.9 3.9l-1.1 1.1L8 9.1L4.1 13L3 11.9L6.9 8L3 4.1Z',
};

export function Icon({ name, class: className }: { name: string; class?: string }): JSX.Element {
  const path = Object.hasOwn(PATHS, name) ? PATHS[name] : RING;
  return (
    <svg class={`nba-icon ${className ?? ''}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path fill="currentColor" fill-rule="evenodd" d={path} />
    </svg>
  );
}
