// Puts a panel into a node and keeps it up to date while it is seen.

import { effect, signal } from '@preact/signals';
import { render } from 'preact';
import { isDark } from '../chart/palette';
import type { RunSession } from '../session/session';
import type { RunState } from '../state/run';
import { pageLanguage } from '../strings';
import { PanelModel } from './model';
import { Panel } from './Panel';

/** Height kept free for a panel that was not on screen yet, so that nothing jumps when it is. */
const PLACE_PX = 520;

/**
 * Shows the run of `session` in `node` until the returned function is called.
 *
 * Nothing is drawn off screen: the first drawing waits until the node comes near, and what happens
 * while it is away is shown when it is back. Deltas in between cost a few array copies.
 */
export function mountPanel(node: HTMLElement, session: RunSession, language = pageLanguage()): () => void {
  const isSeen = signal(typeof IntersectionObserver === 'undefined');
  node.classList.add('nba');
  let model: PanelModel | null = null;
  let frame = 0;
  const show = () => {
    frame = 0;
    const state = session.state.peek();
    if (!state) return;
    if (model) model.state.value = state;
    else {
      model = startPanel(node, session, state, language);
      node.style.minHeight = '';
    }
  };
  node.style.minHeight = session.state.peek() ? `${PLACE_PX}px` : '';
  const seen = new IntersectionObserver(
    (entries) => {
      isSeen.value = entries[entries.length - 1]!.isIntersecting;
    },
    { rootMargin: '200px' },
  );
  seen.observe(node);
  const stopFollowing = effect(() => {
    // One drawing a frame, however many ticks came.
    if (session.state.value && isSeen.value && frame === 0) frame = requestAnimationFrame(show);
  });
  const stopTheme = watchTheme(node, () => {
    if (model) model.isDark.value = isDark(node);
  });
  const stopKeys = keepKeys(node);
  session.attach();
  return () => {
    session.detach();
    stopFollowing();
    stopTheme();
    stopKeys();
    seen.disconnect();
    if (frame !== 0) cancelAnimationFrame(frame);
    render(null, node);
  };
}

function startPanel(
  node: HTMLElement,
  session: RunSession,
  state: RunState,
  language: 'en' | 'zh',
): PanelModel {
  const model = new PanelModel(
    state,
    session,
    {
      command: (command) => session.command(command),
      requestCurves: (name, trials) => session.requestCurves(name, trials),
      requestTrial: (trial) => session.requestTrial(trial),
    },
    language,
  );
  model.isDark.value = isDark(node);
  render(<Panel model={model} />, node);
  return model;
}

/** Calls `onChange` when the page may have changed its colours. */
function watchTheme(node: HTMLElement, onChange: () => void): () => void {
  const observer = new MutationObserver(() => {
    // Lab sets its attributes first and loads the theme's style sheet a little later.
    onChange();
    setTimeout(onChange, 300);
  });
  const watched = {
    attributes: true,
    attributeFilter: ['data-jp-theme-name', 'data-jp-theme-light', 'class'],
  };
  observer.observe(node.ownerDocument.body, watched);
  observer.observe(node.ownerDocument.documentElement, watched);
  const media = window.matchMedia?.('(prefers-color-scheme: dark)');
  media?.addEventListener('change', onChange);
  return () => {
    observer.disconnect();
    media?.removeEventListener('change', onChange);
  };
}

/**
 * Keys that are pressed in the panel are the panel's.
 *
 * Notebooks take single keys for commands of their own (`d d` deletes the cell, arrows change cells)
 * and look at an event before it reaches us; this attribute tells JupyterLab to leave it. Keys with
 * Ctrl or Cmd stay the notebook's: Ctrl+S saves.
 */
function keepKeys(node: HTMLElement): () => void {
  const listen = (event: KeyboardEvent) => {
    const isOurs = event.target instanceof Node && node.contains(event.target);
    const isCommand = event.ctrlKey || event.metaKey;
    if (isOurs && !isCommand) node.dataset.lmSuppressShortcuts = 'true';
    else delete node.dataset.lmSuppressShortcuts;
  };
  // On the window, that is before the notebook's listener on the document.
  window.addEventListener('keydown', listen, { capture: true });
  return () => window.removeEventListener('keydown', listen, { capture: true });
}
