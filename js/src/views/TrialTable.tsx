// The trials as a grid: sorted, filtered and picked from by pointer and by keyboard; only what is seen is drawn.

import { effect, useComputed, useSignal } from '@preact/signals';
import {
  elementScroll,
  observeElementOffset,
  observeElementRect,
  Virtualizer,
  type VirtualizerOptions,
} from '@tanstack/virtual-core';
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { rowOf } from '../state/rows';
import { type ColumnLook, columnLooks, digitPx, isProvisional } from './columns';
import { GridHead } from './GridHead';
import { Icon } from './icons';
import type { PanelModel } from './model';

type Props = { model: PanelModel };

export const ROW_PX = 24;
export const HEAD_PX = 28;

type GridVirtualizer = Virtualizer<HTMLDivElement, HTMLDivElement>;

/** The framework-free virtualizer, told of each change and telling of each scroll. */
function useVirtualizer(count: number, element: () => HTMLDivElement | null): GridVirtualizer {
  const [, redraw] = useState(0);
  const options: VirtualizerOptions<HTMLDivElement, HTMLDivElement> = {
    count,
    getScrollElement: element,
    estimateSize: () => ROW_PX,
    overscan: 6,
    scrollPaddingStart: HEAD_PX,
    // Until it was measured (and where nothing is ever laid out, as in tests) a screenful is drawn.
    initialRect: { width: 600, height: 320 },
    observeElementRect,
    observeElementOffset,
    scrollToFn: elementScroll,
    onChange: () => redraw((n) => n + 1),
  };
  const [virtualizer] = useState(() => new Virtualizer(options));
  virtualizer.setOptions(options);
  useLayoutEffect(() => virtualizer._didMount(), [virtualizer]);
  useLayoutEffect(() => virtualizer._willUpdate());
  return virtualizer;
}

export function TrialTable({ model }: Props): JSX.Element {
  const scroller = useRef<HTMLDivElement>(null);
  const dragged = useSignal<ReadonlyMap<string, number>>(new Map());
  const charPx = useSignal<number | undefined>(undefined);
  useLayoutEffect(() => {
    if (scroller.current) charPx.value = digitPx(scroller.current);
  }, [charPx]);
  const looks = useComputed(() =>
    columnLooks(model.state.value, model.fields.value, model.t, dragged.value, charPx.value),
  ).value;
  const state = model.state.value;
  const rows = model.rows.value;
  const virtualizer = useVirtualizer(rows.length, () => scroller.current);
  const prefix = useRef(`nba-${Math.random().toString(36).slice(2, 8)}`).current;
  const active = model.active.value;
  const isActiveShown = active !== null && rowOf(state.rows, active) >= 0;
  const columns = looks.map(({ width }) => `${width}px`).join(' ');
  const width = looks.reduce((sum, look) => sum + look.width, 0);
  useHold(model, scroller);
  useReveal(model, virtualizer);
  return (
    <div class="nba-table">
      <div
        class="nba-grid"
        ref={scroller}
        role="grid"
        aria-label={model.t('table.label', { name: state.header.name })}
        aria-rowcount={rows.length + 1}
        aria-colcount={looks.length}
        aria-multiselectable="true"
        aria-activedescendant={isActiveShown ? `${prefix}-${active}` : undefined}
        tabIndex={0}
        onKeyDown={(event) => onKey(event, model, virtualizer)}
        onClick={(event) => onClick(event, model)}
        onPointerMove={(event) => {
          model.hovered.value = trialAt(event.target);
        }}
        onPointerLeave={() => {
          model.hovered.value = null;
        }}
        onScroll={(event) => {
          event.currentTarget.classList.toggle('nba-is-aside', event.currentTarget.scrollLeft > 0);
        }}
        style={{ '--nba-columns': columns }}
      >
        <GridHead
          model={model}
          looks={looks}
          width={width}
          onDrag={(id, px) => {
            dragged.value = new Map(dragged.peek()).set(id, px);
          }}
        />
        <div
          class="nba-rows"
          role="rowgroup"
          style={{ height: `${virtualizer.getTotalSize()}px`, width: `${width}px` }}
        >
          {virtualizer.getVirtualItems().map(({ index, start }) => {
            const row = rows[index];
            return row === undefined ? null : (
              <Row
                key={state.rows.number[row]}
                model={model}
                looks={looks}
                row={row}
                index={index}
                start={start}
                prefix={prefix}
              />
            );
          })}
        </div>
        {rows.length === 0 && <Nothing model={model} />}
      </div>
    </div>
  );
}

/** Scrolls to the row that was asked for elsewhere. */
function useReveal(model: PanelModel, virtualizer: GridVirtualizer): void {
  useEffect(
    () =>
      effect(() => {
        const wanted = model.revealed.value;
        const at = wanted ? shownTrials(model).indexOf(wanted.trial) : -1;
        if (at >= 0) virtualizer.scrollToIndex(at, { align: 'auto' });
      }),
    [model, virtualizer],
  );
}

/** Rows don't change their order while the pointer moves over them, nor for a moment after. */
function useHold(model: PanelModel, scroller: { current: HTMLDivElement | null }): void {
  useEffect(() => {
    const node = scroller.current;
    if (!node) return undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const release = () => {
      clearTimeout(timer);
      model.isHeld.value = false;
    };
    const hold = (event: Event) => {
      // On a heading nothing moves; and a sort has to show.
      if (trialAt(event.target) === null) return;
      clearTimeout(timer);
      timer = setTimeout(release, 1500);
      model.isHeld.value = true;
    };
    node.addEventListener('pointermove', hold);
    node.addEventListener('pointerdown', hold);
    node.addEventListener('pointerleave', release);
    return () => {
      release();
      node.removeEventListener('pointermove', hold);
      node.removeEventListener('pointerdown', hold);
      node.removeEventListener('pointerleave', release);
    };
  }, [model, scroller]);
}

interface RowProps extends Props {
  looks: readonly ColumnLook[];
  row: number;
  index: number;
  start: number;
  prefix: string;
}

function Row({ model, looks, row, index, start, prefix }: RowProps): JSX.Element {
  const state = model.state.value;
  const { rows, header } = state;
  const trial = rows.number[row]!;
  const colour = model.picked.value.get(trial);
  const isBest = header.best?.trial === trial;
  const marks = [
    'nba-row',
    isBest ? 'nba-is-best' : '',
    colour === undefined ? '' : 'nba-is-picked',
    model.active.value === trial ? 'nba-is-active' : '',
    model.hovered.value === trial ? 'nba-is-hovered' : '',
    `nba-trial-${rows.state[row]}`,
  ];
  return (
    <div
      role="row"
      id={`${prefix}-${trial}`}
      class={marks.filter(Boolean).join(' ')}
      aria-rowindex={index + 2}
      aria-selected={colour !== undefined}
      data-trial={trial}
      // Not a transform: each would be a layer of its own, and drawing them took most of a frame.
      style={{ top: `${start}px` }}
    >
      {looks.map(({ field, isRight, text }) => {
        const content = text(row);
        return (
          <div
            key={field.id}
            role="gridcell"
            class={`nba-cell ${isRight ? 'nba-right' : ''} ${cellMark(field.id, isBest, isProvisional(state, row))}`}
            title={content.length > 16 ? content : undefined}
          >
            {field.id === 'number' && (
              <span
                class={colour === undefined ? 'nba-swatch' : `nba-swatch nba-colour-${colour}`}
                aria-hidden="true"
              />
            )}
            {field.kind === 'state' && <Icon name={rows.state[row]!} />}
            {field.id === 'value' && isBest && <Icon name="star" class="nba-star" />}
            {field.id === 'front' && content !== '' && <Icon name="diamond" class="nba-star" />}
            <span class="nba-text">{content}</span>
            {field.id === 'value' && isBest && <span class="nba-hidden">{model.t('table.best')}</span>}
          </div>
        );
      })}
    </div>
  );
}

function cellMark(id: string, isBest: boolean, isRunning: boolean): string {
  if (id === 'number') return 'nba-first';
  if (id === 'value' && isBest) return 'nba-best-cell';
  return id === 'value' && isRunning ? 'nba-provisional' : '';
}

function Nothing({ model }: Props): JSX.Element {
  const { t } = model;
  if (model.state.value.rows.n > 0) {
    return (
      <div class="nba-nothing">
        {t('table.nothing')}{' '}
        <button
          type="button"
          class="nba-button nba-plain"
          onClick={() => {
            model.filterText.value = '';
          }}
        >
          {t('table.clear')}
        </button>
      </div>
    );
  }
  return <div class="nba-nothing">{t(model.isFinal ? 'table.empty-final' : 'table.empty')}</div>;
}

/** The trial of the row at a node, null for none. */
function trialAt(target: EventTarget | null): number | null {
  const row = target instanceof Element ? target.closest<HTMLElement>('[data-trial]') : null;
  return row ? Number(row.dataset.trial) : null;
}

function onClick(event: MouseEvent, model: PanelModel): void {
  const trial = trialAt(event.target);
  if (trial === null) return;
  if (event.shiftKey && model.active.peek() !== null) pickRange(model, model.active.peek()!, trial);
  else model.pick(trial, event.ctrlKey || event.metaKey);
}

/** Pick all rows from one trial to another, in the order of the table. */
function pickRange(model: PanelModel, from: number, to: number): void {
  const trials = shownTrials(model);
  const [a, b] = [trials.indexOf(from), trials.indexOf(to)];
  if (a < 0 || b < 0) model.pick(to, true);
  else model.setPicked(trials.slice(Math.min(a, b), Math.max(a, b) + 1));
}

function shownTrials(model: PanelModel): number[] {
  const { rows } = model.state.peek();
  return Array.from(model.rows.peek(), (row) => rows.number[row]!);
}

const STEPS: Readonly<Record<string, number>> = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };

/** Arrows move, the space bar picks, with Shift they extend, Escape lets go of all. */
function onKey(event: KeyboardEvent, model: PanelModel, virtualizer: GridVirtualizer): void {
  // Keys on a heading or a button inside are theirs.
  if (event.target !== event.currentTarget) return;
  const trials = shownTrials(model);
  const at = model.active.peek() === null ? -1 : trials.indexOf(model.active.peek()!);
  const isJump = event.key === 'Home' || event.key === 'End';
  if (event.key in STEPS || isJump) {
    if (trials.length === 0) return;
    const step = STEPS[event.key] ?? 0;
    const wanted = event.key === 'Home' ? 0 : event.key === 'End' ? trials.length - 1 : at + step;
    const next = Math.max(0, Math.min(trials.length - 1, wanted));
    model.active.value = trials[next]!;
    if (event.shiftKey) model.setPicked([...new Set([...model.picked.peek().keys(), trials[next]!])]);
    virtualizer.scrollToIndex(next, { align: 'auto' });
  } else if ((event.key === ' ' || event.key === 'Enter') && at >= 0) {
    model.pick(trials[at]!, event.key === ' ' || event.ctrlKey);
  } else if (event.key === 'Escape') model.setPicked([]);
  else return;
  event.preventDefault();
}
