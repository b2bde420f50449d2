// The run's log, folded away until it is wanted.

import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { moment } from '../format';
import type { LogEntry } from '../protocol';
import { Icon } from './icons';
import type { PanelModel } from './model';

type Props = { model: PanelModel };

/** A line that was never more than this is looked at without unfolding. */
function lastOf(log: readonly LogEntry[]): string {
  return log.length > 0 ? log[log.length - 1]!.text : '';
}

const isProblem = ({ level }: LogEntry): boolean => level === 'warning' || level === 'error';

export function Log({ model }: Props): JSX.Element {
  const { t } = model;
  const { log } = model.state.value;
  const isOpen = model.isLogOpen.value;
  const problems = log.filter(isProblem).length;
  return (
    <section class="nba-log">
      <button
        type="button"
        class="nba-fold"
        aria-expanded={isOpen}
        onClick={() => {
          model.isLogOpen.value = !isOpen;
        }}
      >
        <Icon name={isOpen ? 'down' : 'right'} />
        {t('log.title')}
        {problems > 0 && <span class="nba-bad">{t('log.problems', { count: problems })}</span>}
        {!isOpen && <span class="nba-faint nba-last">{lastOf(log) || t('log.empty')}</span>}
      </button>
      {isOpen && <Lines model={model} log={log} />}
    </section>
  );
}

function Lines({ model, log }: Props & { log: readonly LogEntry[] }): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  useLayoutEffect(() => {
    const node = box.current;
    if (node && isAtEnd.current && log.length > 0) node.scrollTop = node.scrollHeight;
  }, [log]);
  return (
    <div
      class="nba-lines"
      ref={box}
      role="log"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard
      tabIndex={0}
      onScroll={({ currentTarget: node }) => {
        isAtEnd.current = node.scrollTop + node.clientHeight >= node.scrollHeight - 4;
      }}
    >
      {log.map((entry, i) => (
        <div key={i} class={`nba-line nba-level-${entry.level}`}>
          <time>{moment(entry.time, model.language)}</time>
          {isProblem(entry) && <b>{model.t(entry.level === 'error' ? 'level.error' : 'level.warning')}</b>}
          {entry.trial !== null && <span class="nba-faint">#{entry.trial}</span>}
          <span>{entry.text}</span>
        </div>
      ))}
    </div>
  );
}
