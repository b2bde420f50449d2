// What is picked: one trial in full with its error, or several as a legend.

import type { JSX } from 'preact';
import { plainNumber, plainQuantity, shortDuration } from '../format';
import { cellsOf } from '../state/fields';
import { numberAt, rowOf, textAt } from '../state/rows';
import { CommandButton } from './Buttons';
import { Params, stateText, unitOf } from './Header';
import { Icon } from './icons';
import { Kept } from './Kept';
import type { PanelModel } from './model';

type Props = { model: PanelModel };

export function Detail({ model }: Props): JSX.Element | null {
  const picked = [...model.picked.value];
  if (picked.length === 0) return null;
  return picked.length === 1 ? (
    <OneTrial model={model} trial={picked[0]![0]} colour={picked[0]![1]} />
  ) : (
    <ManyTrials model={model} picked={picked} />
  );
}

function Clear({ model }: Props): JSX.Element {
  const label = model.t('detail.clear');
  return (
    <button
      type="button"
      class="nba-button nba-plain nba-clear"
      aria-label={label}
      title={label}
      onClick={() => model.setPicked([])}
    >
      <Icon name="close" />
    </button>
  );
}

function ManyTrials({ model, picked }: Props & { picked: [number, number][] }): JSX.Element {
  const { rows } = model.state.value;
  const shown = picked.slice(0, 24);
  return (
    <section class="nba-detail">
      <span class="nba-faint">{model.t('detail.selected', { count: picked.length })}</span>
      {shown.map(([trial, colour]) => {
        const row = rowOf(rows, trial);
        const value = row < 0 ? Number.NaN : numberAt(rows, 'value', row);
        return (
          <button type="button" key={trial} class="nba-chip" onClick={() => model.pick(trial, true)}>
            <span class={`nba-swatch nba-colour-${colour}`} aria-hidden="true" />#{trial}
            <b>{Number.isNaN(value) ? '' : plainNumber(value)}</b>
            <Icon name="close" />
          </button>
        );
      })}
      {picked.length > shown.length && <span>…</span>}
      <Clear model={model} />
    </section>
  );
}

function OneTrial({ model, trial, colour }: Props & { trial: number; colour: number }): JSX.Element | null {
  const { t } = model;
  const { rows, header } = model.state.value;
  const row = rowOf(rows, trial);
  if (row < 0) return null;
  const state = rows.state[row]!;
  const value = numberAt(rows, 'value', row);
  const [epoch, duration] = [numberAt(rows, 'epoch', row), numberAt(rows, 'duration_s', row)];
  const error = textAt(rows, 'error', row);
  const values = (group: 'param' | 'metric') =>
    Object.fromEntries(
      model.fields.value
        .filter((field) => field.group === group && field.id !== 'value')
        .map((field) => [field, cellsOf(rows, field.id)?.data[row] ?? null] as const)
        .filter(([, each]) => each !== null && !Number.isNaN(each))
        .map(([{ label, unit }, each]) => [
          label,
          unit && typeof each === 'number' ? plainQuantity(each, unit) : each,
        ]),
    );
  return (
    <section class="nba-detail" aria-label={t('detail.label', { trial })}>
      <span class={`nba-swatch nba-colour-${colour}`} aria-hidden="true" />
      <strong>{t('trial', { trial })}</strong>
      <span class={`nba-count nba-trial-${state}`}>
        <Icon name={state} />
        {stateText(model, 'trial', state)}
      </span>
      {textAt(rows, 'front', row) !== null && (
        <span class="nba-count">
          <Icon name="diamond" class="nba-star" />
          {t('front.on')}
        </span>
      )}
      {!Number.isNaN(value) && (
        <span>
          <span class="nba-faint">{header.metric}</span> <b>{plainQuantity(value, unitOf(model, 'value'))}</b>
        </span>
      )}
      <Params params={values('metric')} />
      {!Number.isNaN(epoch) && (
        <span>
          <span class="nba-faint">{t('field.epoch')}</span> <b>{epoch}</b>
        </span>
      )}
      {!Number.isNaN(duration) && <span class="nba-faint">{shortDuration(duration)}</span>}
      <span class="nba-end">
        {state === 'running' && (
          <CommandButton
            model={model}
            label="button.cancel"
            icon="cancelled"
            onPress={() => model.actions.command({ type: 'CancelTrial', trial })}
          />
        )}
        <Clear model={model} />
      </span>
      <div class="nba-detail-params">
        <Params params={values('param')} />
      </div>
      {(state === 'complete' || state === 'stopped_early') && (
        <Kept key={trial} model={model} trial={trial} />
      )}
      {error !== null && <pre class="nba-error">{error}</pre>}
    </section>
  );
}
