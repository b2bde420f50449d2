// What was kept of the picked trial: a line that gives its model, and its layers before and after.

import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { count, plainNumber } from '../format';
import type { LayerRow, LayerSide } from '../protocol';
import { Icon } from './icons';
import type { PanelModel } from './model';

type Props = { model: PanelModel; trial: number };

export function Kept({ model, trial }: Props): JSX.Element | null {
  const { t } = model;
  useEffect(() => model.actions.requestTrial(trial), [model, trial]);
  const kept = model.kept.value.get(trial);
  if (!kept) {
    const isMissed = model.state.value.header.kind === 'compress';
    return isMissed ? <span class="nba-faint">{t('kept.no-layers')}</span> : null;
  }
  return (
    <>
      {kept.use !== '' && <Use model={model} line={kept.use} />}
      {kept.problem !== '' && (
        <span class="nba-bad nba-wide">{t('kept.problem', { text: kept.problem })}</span>
      )}
      {kept.layers.length > 0 && (
        <Layers model={model} layers={kept.layers} nLeftOut={kept.n_layers_left_out} />
      )}
    </>
  );
}

/** Puts the line onto the clipboard where the page may, and shows it either way. */
function Use({ model, line }: { model: PanelModel; line: string }): JSX.Element {
  const { t } = model;
  const told = useSignal<'kept.copied' | 'kept.copy' | null>(null);
  const copy = async () => {
    try {
      // There is no clipboard on pages that are not served over TLS.
      await navigator.clipboard.writeText(line);
      told.value = 'kept.copied';
    } catch {
      told.value = 'kept.copy';
    }
  };
  return (
    <div class="nba-wide nba-use">
      <button type="button" class="nba-button" onClick={copy}>
        <Icon name="play" />
        {t('kept.use')}
      </button>
      <span class="nba-hint">
        <code>{line}</code>
      </span>
      <span class="nba-faint" role="status">
        {told.value !== null && t(told.value)}
      </span>
    </div>
  );
}

const QUANTITIES = ['out', 'bits', 'weights', 'macs', 'ms'] as const;
type Quantity = (typeof QUANTITIES)[number];

/** The sum over one side, null where nothing is known. */
function sumOf(layers: readonly LayerRow[], side: 'before' | 'after', what: Quantity): number | null {
  const found = layers.map((layer) => layer[side]?.[what]).filter((value) => typeof value === 'number');
  return found.length > 0 ? found.reduce((a, b) => a + b, 0) : null;
}

function Layers({
  model,
  layers,
  nLeftOut,
}: {
  model: PanelModel;
  layers: readonly LayerRow[];
  nLeftOut: number;
}): JSX.Element {
  const { t } = model;
  const shown = QUANTITIES.filter((what) =>
    layers.some(({ before, after }) => isKnown(before, what) || isKnown(after, what)),
  );
  const total = (what: Quantity) => what === 'weights' || what === 'macs' || what === 'ms';
  return (
    <details class="nba-wide nba-layers" open>
      <summary>{t('kept.layers')}</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keys */}
      <div class="nba-scroll" tabIndex={0} role="region" aria-label={t('kept.layers')}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t('kept.layer')}</th>
              <th scope="col">{t('kept.kind')}</th>
              {shown.map((what) => (
                <th key={what} scope="col" class="nba-number">
                  {t(`kept.${what}`)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {layers.map(({ name, kind, before, after }) => (
              <tr key={`${name} ${kind}`}>
                <th scope="row">
                  <span class="nba-text">{name}</span>
                  {after === null && <span class="nba-bad"> {t('kept.gone')}</span>}
                  {before === null && <span class="nba-good"> {t('kept.new')}</span>}
                </th>
                <td class="nba-faint">{kind}</td>
                {shown.map((what) => (
                  <Change key={what} model={model} before={before?.[what]} after={after?.[what]} />
                ))}
              </tr>
            ))}
          </tbody>
          {nLeftOut === 0 && (
            <tfoot>
              <tr>
                <th scope="row">{t('kept.all')}</th>
                <td />
                {shown.map((what) =>
                  total(what) ? (
                    <Change
                      key={what}
                      model={model}
                      before={sumOf(layers, 'before', what)}
                      after={sumOf(layers, 'after', what)}
                    />
                  ) : (
                    <td key={what} />
                  ),
                )}
              </tr>
            </tfoot>
          )}
        </table>
        {nLeftOut > 0 && <div class="nba-faint">{t('kept.left-out', { count: nLeftOut })}</div>}
      </div>
    </details>
  );
}

const isKnown = (side: LayerSide | null, what: Quantity): boolean => typeof side?.[what] === 'number';

const numberText = (value: number | null | undefined): string => {
  if (typeof value !== 'number') return '–';
  return Number.isInteger(value) && value < 1e12 ? count(value) : plainNumber(value);
};

interface ChangeProps {
  model: PanelModel;
  before: number | null | undefined;
  after: number | null | undefined;
}

/** One number where nothing changed, else both with the share that is left. */
function Change({ model, before, after }: ChangeProps): JSX.Element {
  const [was, is] = [numberText(before), numberText(after)];
  if (was === is) return <td class="nba-number nba-faint">{is}</td>;
  const isShare = typeof before === 'number' && typeof after === 'number' && before > 0;
  return (
    <td class="nba-number">
      <span aria-hidden="true">
        <span class="nba-faint">{was} →</span> <b>{is}</b>
        <span class="nba-faint nba-share">
          {isShare ? `${plainNumber(Math.round((1000 * after) / before) / 10)} %` : ''}
        </span>
      </span>
      <span class="nba-hidden">{model.t('kept.change', { before: was, after: is })}</span>
    </td>
  );
}
