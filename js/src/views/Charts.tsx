// The picture beside the table: curves, and where there are several objectives also their front.

import type { JSX } from 'preact';
import { Curves } from './Curves';
import { Front } from './Front';
import type { ChartKind, PanelModel } from './model';

type Props = { model: PanelModel };

const KINDS: readonly ChartKind[] = ['front', 'curves'];

export function Charts({ model }: Props): JSX.Element {
  const { aims } = model.state.value.header;
  if (!aims || aims.length < 2) return <Curves model={model} />;
  const switcher = <Switcher model={model} />;
  return model.chart.value === 'front' ? (
    <Front model={model} aims={aims} switcher={switcher} />
  ) : (
    <Curves model={model} switcher={switcher} />
  );
}

function Switcher({ model }: Props): JSX.Element {
  return (
    <span class="nba-switcher" role="group" aria-label={model.t('charts.label')}>
      {KINDS.map((kind) => (
        <button
          key={kind}
          type="button"
          class="nba-button nba-plain nba-toggle"
          aria-pressed={model.chart.value === kind}
          onClick={() => {
            model.chosenChart.value = kind;
          }}
        >
          {model.t(`charts.${kind}`)}
        </button>
      ))}
    </span>
  );
}
