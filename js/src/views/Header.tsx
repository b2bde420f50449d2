// The head of a run: state, progress, the best trial, and what is being run where.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { count, longDuration, moment, plainQuantity, plainValue, type Unit } from '../format';
import type { Header as HeaderData } from '../protocol';
import { isKey, type Key } from '../strings';
import { Buttons } from './Buttons';
import { Icon } from './icons';
import type { PanelModel } from './model';

type Props = { model: PanelModel };

/** A state in the reader's language; one that a newer kernel made up is shown as it is. */
export function stateText(model: PanelModel, group: 'run' | 'trial', state: string): string {
  const key = `${group}.${state}`;
  return isKey(key) ? model.t(key) : state.replace('_', ' ');
}

export function Header({ model }: Props): JSX.Element {
  const { header } = model.state.value;
  return (
    <header class="nba-header">
      <div class="nba-title">
        <span class={`nba-badge nba-run-${header.state}`}>
          <Icon name={header.state} />
          {stateText(model, 'run', header.state)}
        </span>
        <h3 class="nba-name" title={header.name}>
          {header.name}
        </h3>
        <LinkNote model={model} />
        <Buttons model={model} />
      </div>
      {header.message !== '' && <p class="nba-message">{header.message}</p>}
      <Progress model={model} />
      <Best model={model} />
      <About model={model} />
    </header>
  );
}

/** Whether what is shown is live, and of when it is where it isn't. */
function LinkNote({ model }: Props): JSX.Element | null {
  const { t, language } = model;
  const link = model.link.value;
  const { takenAt } = model.state.value;
  if (link.kind === 'live') {
    return (
      <span class="nba-link nba-live">
        <span class="nba-dot" aria-hidden="true" />
        {t('link.live')}
      </span>
    );
  }
  if (link.kind === 'connecting') return <span class="nba-link">{t('link.connecting')}</span>;
  if (link.kind === 'idle' && model.isFinal) return null;
  const asOf = t('link.as-of', { time: moment(takenAt, language) });
  const why = link.kind === 'static' ? ` · ${t(`link.${link.reason}`)}` : '';
  return (
    <span class="nba-link nba-static" title={link.kind === 'static' ? t(`reason.${link.reason}`) : undefined}>
      {asOf}
      {why}
    </span>
  );
}

/** Seconds by which a running clock has moved since the header came in. */
function useClock(model: PanelModel): number {
  const isRunning = model.state.value.header.state === 'running' && model.link.value.kind === 'live';
  const [, tick] = useState(0);
  useEffect(() => {
    if (!isRunning) return undefined;
    // News of the kernel move it, too.
    const timer = setInterval(() => {
      if (model.ageOf() > 900) tick((n) => n + 1);
    }, 1000);
    return () => clearInterval(timer);
  }, [model, isRunning]);
  return isRunning ? Math.max(0, model.ageOf() / 1000) : 0;
}

const ENDED = ['complete', 'stopped_early', 'failed', 'cancelled'] as const;

function Progress({ model }: Props): JSX.Element {
  const { t } = model;
  const since = useClock(model);
  const { header } = model.state.value;
  const { counts } = header;
  const done = ENDED.reduce((sum, state) => sum + counts[state], 0);
  const elapsed = header.elapsed_s + since;
  const byTime = header.n_trials === null && header.wall_seconds !== null;
  const total = header.n_trials ?? done + counts.running + counts.waiting;
  const share = byTime ? Math.min(1, elapsed / header.wall_seconds!) : total > 0 ? done / total : 0;
  const main = byTime
    ? t('progress.time', { elapsed: longDuration(elapsed), total: longDuration(header.wall_seconds!) })
    : header.n_trials === null
      ? t('progress.done', { done: count(done) })
      : t('progress.of', { done: count(done), total: count(total) });
  return (
    <div class="nba-progress">
      <div
        class="nba-bar"
        role="progressbar"
        aria-label={t('progress.label')}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(100 * share)}
        aria-valuetext={main}
      >
        {byTime ? (
          <span class="nba-part nba-trial-complete" style={{ width: `${100 * share}%` }} />
        ) : (
          [...ENDED, 'running' as const].map((state) =>
            counts[state] > 0 && total > 0 ? (
              <span
                key={state}
                class={`nba-part nba-trial-${state}`}
                style={{ width: `${(100 * counts[state]) / total}%` }}
              />
            ) : null,
          )
        )}
      </div>
      <div class="nba-counts">
        <strong>{main}</strong>
        {byTime && <span>{t('progress.done', { done: count(done) })}</span>}
        {(['running', 'stopped_early', 'failed', 'cancelled'] as const).map((state) =>
          counts[state] > 0 ? (
            <span key={state} class={`nba-count nba-trial-${state}`}>
              <Icon name={state} />
              {count(counts[state])} {stateText(model, 'trial', state)}
            </span>
          ) : null,
        )}
        <span class="nba-time">{timeText(model, header, elapsed, since)}</span>
      </div>
    </div>
  );
}

function timeText(model: PanelModel, header: HeaderData, elapsed: number, since: number): string {
  const { t } = model;
  const parts: string[] = [];
  if (header.started_at !== null && !(header.n_trials === null && header.wall_seconds !== null)) {
    parts.push(t('progress.ran', { time: longDuration(elapsed) }));
  }
  // Of a saved copy the estimate is stale.
  if (header.eta_s !== null && header.state === 'running' && model.link.value.kind === 'live') {
    const left = Math.max(1, header.eta_s - since);
    // An estimate has no odd seconds.
    const rounded = left < 10 ? left : left < 60 ? Math.round(left / 5) * 5 : Math.round(left / 15) * 15;
    parts.push(t('progress.left', { time: longDuration(rounded) }));
  }
  return parts.join(' · ');
}

/** The unit of a column. */
export function unitOf(model: PanelModel, id: string): Unit | undefined {
  return model.fields.value.find((field) => field.id === id)?.unit;
}

function Best({ model }: Props): JSX.Element {
  const { t } = model;
  const { header } = model.state.value;
  const { best } = header;
  // Of a compression the best is one that keeps to the limits.
  const isCompression = header.kind === 'compress';
  const isLimited = isCompression && header.counts.complete > 0;
  return (
    <div class="nba-best">
      <span class="nba-best-label">
        {t(isCompression ? 'best.pick' : 'best.title', { metric: header.metric })}
      </span>
      {best === null ? (
        <span class="nba-faint">{t(isLimited ? 'best.none-within' : 'best.none')}</span>
      ) : (
        <>
          <output class="nba-best-value">{plainQuantity(best.value, unitOf(model, 'value'))}</output>
          <button
            type="button"
            class="nba-chip"
            aria-label={t('best.show', { trial: best.trial })}
            title={t('best.show', { trial: best.trial })}
            onClick={() => model.setPicked([best.trial])}
          >
            <Icon name="star" />#{best.trial}
          </button>
          <Params params={best.params} />
        </>
      )}
    </div>
  );
}

/** Parameters as name and value side by side. */
export function Params({ params }: { params: Record<string, unknown> }): JSX.Element {
  return (
    <span class="nba-params">
      {Object.entries(params)
        .filter(([, value]) => value !== null)
        .map(([name, value]) => (
          <span key={name} class="nba-param">
            <span class="nba-faint">{name}</span> <b>{plainValue(value)}</b>
          </span>
        ))}
    </span>
  );
}

/** What is being run, and where. */
function About({ model }: Props): JSX.Element {
  const { t } = model;
  const { header } = model.state.value;
  const search = [header.sampler, header.stopper]
    .filter((name) => name !== '' && name !== 'none')
    .join(' + ');
  const parts: [Key, string][] = [
    // The description of most data says the task already.
    ['about.data', header.data.includes(header.task) ? header.data : `${header.data}, ${header.task}`],
    ['about.device', header.device],
    ['about.plan', header.plan],
    ['about.search', search],
  ];
  return (
    <ul class="nba-about">
      {parts
        .filter(([, text]) => text !== '')
        .map(([key, text]) => (
          <li key={key} title={`${t(key)}: ${text}`}>
            <span class="nba-faint">{t(key)}</span> <span class="nba-text">{text}</span>
          </li>
        ))}
    </ul>
  );
}
