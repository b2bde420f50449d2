// The panel of one run: head, table and curves side by side (or one below the other), what is picked, the log.

import type { JSX } from 'preact';
import { Charts } from './Charts';
import { Detail } from './Detail';
import { Header } from './Header';
import { Log } from './Log';
import type { PanelModel } from './model';
import { TrialTable } from './TrialTable';

type Props = { model: PanelModel };

export function Panel({ model }: Props): JSX.Element {
  const { name } = model.state.value.header;
  return (
    <section
      class={`nba-panel ${model.isDark.value ? 'nba-dark' : ''}`}
      aria-label={model.t('panel.label', { name })}
      lang={model.language}
      style={{ '--nba-body': `${model.bodyHeight.value}px` }}
    >
      <Header model={model} />
      <div class="nba-body">
        <div class="nba-trials">
          <FilterBox model={model} />
          <TrialTable model={model} />
        </div>
        <Charts model={model} />
      </div>
      <Resizer model={model} />
      <Detail model={model} />
      <Log model={model} />
    </section>
  );
}

function FilterBox({ model }: Props): JSX.Element {
  const { t } = model;
  const { problem } = model.filter.value;
  const { rows, nLeftOut } = model.state.value;
  const shown = model.rows.value.length;
  let text = '';
  if (problem?.kind === 'not-a-number') text = t('table.not-a-number', problem);
  if (problem?.kind === 'no-column') {
    text = problem.nearest
      ? t('table.nearest', { name: problem.name, nearest: problem.nearest })
      : t('table.no-column', { name: problem.name });
  }
  return (
    <div class="nba-tools">
      <input
        class="nba-filter"
        type="search"
        placeholder={t('table.filter')}
        aria-label={t('table.filter-label')}
        aria-invalid={problem !== null}
        spellcheck={false}
        value={model.filterText.value}
        onInput={(event) => {
          model.filterText.value = event.currentTarget.value;
        }}
      />
      <span class="nba-faint" role="status">
        {text !== '' ? (
          <span class="nba-bad">{text}</span>
        ) : (
          model.filterText.value !== '' && t('table.count', { shown, total: rows.n })
        )}
      </span>
      {nLeftOut > 0 && <span class="nba-faint nba-end">{t('table.left-out', { count: nLeftOut })}</span>}
    </div>
  );
}

const LEAST_PX = 160;
const MOST_PX = 1200;

/** The lower edge of table and chart, dragged or moved by the arrow keys. */
function Resizer({ model }: Props): JSX.Element {
  const set = (px: number) => {
    model.bodyHeight.value = Math.round(Math.max(LEAST_PX, Math.min(MOST_PX, px)));
  };
  return (
    <div
      class="nba-resizer"
      role="separator"
      aria-orientation="horizontal"
      aria-label={model.t('table.height')}
      aria-valuenow={model.bodyHeight.value}
      aria-valuemin={LEAST_PX}
      aria-valuemax={MOST_PX}
      tabIndex={0}
      onKeyDown={(event) => {
        if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
        event.preventDefault();
        set(model.bodyHeight.peek() + (event.key === 'ArrowDown' ? 24 : -24));
      }}
      onPointerDown={(event) => {
        event.preventDefault();
        const edge = event.currentTarget;
        edge.setPointerCapture(event.pointerId);
        const [start, from] = [event.clientY, model.bodyHeight.peek()];
        const move = (now: PointerEvent) => set(from + now.clientY - start);
        edge.addEventListener('pointermove', move);
        edge.addEventListener('lostpointercapture', () => edge.removeEventListener('pointermove', move), {
          once: true,
        });
      }}
    />
  );
}
