// The headings of the trial table: they sort, and their edges can be dragged.

import type { JSX } from 'preact';
import type { ColumnLook } from './columns';
import { Icon } from './icons';
import type { PanelModel } from './model';

interface Props {
  model: PanelModel;
  looks: readonly ColumnLook[];
  width: number;
  onDrag: (id: string, px: number) => void;
}

export function GridHead({ model, looks, width, onDrag }: Props): JSX.Element {
  const sort = model.sort.value;
  return (
    <div class="nba-head" role="rowgroup" style={{ width: `${width}px` }}>
      <div class="nba-head-row" role="row" aria-rowindex={1}>
        {looks.map(({ field, title, isRight, width: own }) => {
          const isSorted = sort.id === field.id;
          const direction = sort.isDescending ? 'descending' : 'ascending';
          return (
            <div
              key={field.id}
              role="columnheader"
              aria-sort={isSorted ? direction : 'none'}
              class={`nba-heading nba-group-${field.group} ${isRight ? 'nba-right' : ''} ${field.id === 'number' ? 'nba-first' : ''}`}
            >
              <button type="button" title={title} onClick={() => model.sortBy(field)}>
                {isSorted && <Icon name={sort.isDescending ? 'down' : 'up'} />}
                <span class="nba-text">{title}</span>
              </button>
              <span
                class="nba-edge"
                aria-hidden="true"
                onPointerDown={(event) => dragFrom(event, own, (px) => onDrag(field.id, px))}
              />
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** Follow the pointer from here on; `set` is told the new size in pixels. */
function dragFrom(event: PointerEvent, from: number, set: (px: number) => void): void {
  event.preventDefault();
  const edge = event.currentTarget as HTMLElement;
  edge.setPointerCapture(event.pointerId);
  const start = event.clientX;
  const move = (now: PointerEvent) => set(Math.max(36, Math.min(600, from + now.clientX - start)));
  edge.addEventListener('pointermove', move);
  edge.addEventListener('lostpointercapture', () => edge.removeEventListener('pointermove', move), {
    once: true,
  });
}
