// Several objectives against each other: which trials no other beats in all, to be hovered, walked and picked.

import { useComputed, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { plainQuantity, plainValue } from '../format';
import type { Aim } from '../protocol';
import { cellsOf } from '../state/fields';
import { type Axes, aimField, cloudOf, type FrontPoint, isWithin, ON_FRONT } from '../state/front';
import { numberAt, rowOf, textAt } from '../state/rows';
import { Before, Beyond, Dots, Frame, Legend, Limits, layoutOf, Marks, type Place } from './FrontMarks';
import type { FrontAxes, PanelModel } from './model';

type Props = { model: PanelModel; aims: readonly Aim[]; switcher: JSX.Element };

/** How near to a mark the pointer has to be. */
const REACH_PX = 16;

/** The places of the objectives that are shown; a saved choice may be of a run with more of them. */
function axesOf(aims: readonly Aim[], chosen: FrontAxes | null): FrontAxes {
  const plain = { x: 1, y: 0, size: aims.length > 2 ? 2 : -1 };
  return chosen && chosen.x < aims.length && chosen.y < aims.length ? chosen : plain;
}

export function Front({ model, aims, switcher }: Props): JSX.Element {
  const { t } = model;
  const host = useRef<HTMLDivElement>(null);
  const size = useSignal({ width: 460, height: 250 });
  const pointer = useSignal<Place | null>(null);
  const id = useRef(`nba-${Math.random().toString(36).slice(2, 8)}`).current;
  useEffect(() => {
    const node = host.current;
    if (!node || typeof ResizeObserver === 'undefined') return undefined;
    const sizes = new ResizeObserver(() => {
      const { clientWidth: width, clientHeight: height } = node;
      if (width > 0 && height > 0) size.value = { width, height };
    });
    sizes.observe(node);
    return () => sizes.disconnect();
  }, [size]);

  const places = axesOf(aims, model.chosenAxes.value);
  const axes: Axes = { x: aims[places.x]!, y: aims[places.y]!, size: aims[places.size] ?? null };
  const cloud = useComputed(() => {
    const now = axesOf(aims, model.chosenAxes.value);
    const chosen = { x: aims[now.x]!, y: aims[now.y]!, size: aims[now.size] ?? null };
    return cloudOf(model.state.value, model.rows.value, chosen);
  }).value;
  const layout = layoutOf(cloud, axes, size.value, model.isFrontLog.value, model.isFrontWhole.value);
  const nFront = cloud.points.filter(({ isFront }) => isFront).length;
  const active = cloud.points.find(({ trial }) => trial === model.active.value);
  const hovered = cloud.points.find(({ trial }) => trial === model.hovered.value);
  return (
    <section class="nba-curves nba-front">
      <div class="nba-tools">
        {switcher}
        <OnlyFront model={model} />
        <span class="nba-faint nba-end">
          {cloud.total > 0 && t('front.count', { front: nFront, total: cloud.total })}
        </span>
      </div>
      <AxesChoice model={model} aims={aims} places={places} isLog={layout.x.isLog} />
      <div
        class="nba-plot nba-front-plot"
        ref={host}
        role="listbox"
        tabIndex={0}
        aria-label={t('front.label', { x: axes.x.label, y: axes.y.label, total: cloud.total, front: nFront })}
        aria-activedescendant={active ? id : undefined}
        onKeyDown={(event) => onKey(event, model, cloud.points, axes)}
        onBlur={() => {
          model.hovered.value = null;
        }}
        onPointerMove={(event) => {
          const place = placeIn(event);
          const near = layout.nearest(place, REACH_PX);
          pointer.value = near ? place : null;
          model.hovered.value = near?.trial ?? null;
        }}
        onPointerLeave={() => {
          pointer.value = null;
          model.hovered.value = null;
        }}
        onClick={(event) => {
          const near = layout.nearest(placeIn(event), REACH_PX);
          if (near) model.pickAndReveal(near.trial, event.ctrlKey || event.metaKey || event.shiftKey);
        }}
      >
        <svg class="nba-drawing" aria-hidden="true" focusable="false">
          <Frame model={model} layout={layout} axes={axes} />
          <Limits layout={layout} axes={axes} />
          <Dots points={cloud.points} layout={layout} />
          <Marks model={model} points={cloud.points} layout={layout} axes={axes} />
          <Beyond points={cloud.points} layout={layout} />
          <Before model={model} layout={layout} axes={axes} />
        </svg>
        {cloud.total === 0 && <div class="nba-nothing">{t('front.none')}</div>}
        {active && (
          <span id={id} class="nba-hidden" role="option" aria-selected={model.picked.value.has(active.trial)}>
            {spoken(model, aims, active)}
          </span>
        )}
        {hovered && <Tip model={model} aims={aims} point={hovered} at={layout.placeOf(hovered)} />}
      </div>
      <Legend model={model} axes={axes} cloud={cloud} layout={layout} />
    </section>
  );
}

/** Narrows the table and the picture to the front, by the words of the filter: what it does stays in sight. */
function OnlyFront({ model }: { model: PanelModel }): JSX.Element {
  const isOn = model.filterText.value.trim() === ON_FRONT;
  return (
    <button
      type="button"
      class="nba-button nba-plain nba-toggle"
      aria-pressed={isOn}
      onClick={() => {
        model.filterText.value = isOn ? '' : ON_FRONT;
      }}
    >
      {model.t('front.only')}
    </button>
  );
}

interface ChoiceProps {
  model: PanelModel;
  aims: readonly Aim[];
  places: FrontAxes;
  isLog: boolean;
}

function AxesChoice({ model, aims, places, isLog }: ChoiceProps): JSX.Element {
  const { t } = model;
  const choose = (axis: keyof FrontAxes, place: number) => {
    const next = { ...places, [axis]: place };
    // Whoever puts an objective on one axis takes it off the other.
    for (const other of ['x', 'y', 'size'] as const) {
      if (other !== axis && next[other] === place) next[other] = places[axis];
    }
    if (axis === 'x' || next.x !== places.x) model.isFrontLog.value = null;
    model.chosenAxes.value = next;
  };
  const select = (axis: keyof FrontAxes) => (
    <select
      class="nba-select"
      aria-label={t(`front.${axis}`)}
      value={String(places[axis])}
      onChange={(event) => choose(axis, Number(event.currentTarget.value))}
    >
      {axis === 'size' && <option value="-1">{t('front.one-size')}</option>}
      {aims.map(({ label }, place) => (
        <option key={label} value={String(place)}>
          {label}
        </option>
      ))}
    </select>
  );
  return (
    <div class="nba-tools nba-axes">
      {select('y')}
      <span class="nba-faint">{t('front.against')}</span>
      {select('x')}
      <button
        type="button"
        class="nba-button nba-plain nba-toggle"
        aria-pressed={isLog}
        aria-label={t('curves.log-label')}
        title={t('curves.log-label')}
        onClick={() => {
          model.isFrontLog.value = !isLog;
        }}
      >
        {t('curves.log')}
      </button>
      {aims.length > 2 && (
        <span class="nba-pair">
          <span class="nba-faint">{t('front.sized')}</span>
          {select('size')}
        </span>
      )}
    </div>
  );
}

function placeIn(event: MouseEvent): Place {
  const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
  return { left: event.clientX - box.left, top: event.clientY - box.top };
}

/** The values of a trial, each with whether it keeps its limits. */
function valuesOf(model: PanelModel, aims: readonly Aim[], trial: number) {
  const { rows, header } = model.state.value;
  const row = rowOf(rows, trial);
  return aims.map((aim) => {
    const value = row < 0 ? Number.NaN : numberAt(rows, aimField(header, aim), row);
    return { aim, text: plainQuantity(value, aim.unit), isWithin: isWithin(value, aim) };
  });
}

/** A mark in words. */
function spoken(model: PanelModel, aims: readonly Aim[], { trial, isFront }: FrontPoint): string {
  const { t } = model;
  const values = valuesOf(model, aims, trial).map(
    ({ aim, text, isWithin }) => `${aim.label} ${text}${isWithin ? '' : ` (${t('front.outside')})`}`,
  );
  return [t('trial', { trial }), t(isFront ? 'front.on' : 'front.others'), ...values].join(', ');
}

interface TipProps {
  model: PanelModel;
  aims: readonly Aim[];
  point: FrontPoint;
  at: Place;
}

/** Between the pointer and a hint, and between a hint and the edge. */
const GAP_PX = 12;

/** Where a hint goes: beside its mark on the side with more room, and never over the panel's edges. */
function putBeside(node: HTMLElement, { left, top }: Place): void {
  const [host, panel] = [node.parentElement, node.closest('.nba-panel')];
  if (!host || !panel) return;
  const [ours, bounds] = [host.getBoundingClientRect(), panel.getBoundingClientRect()];
  const { offsetWidth: width, offsetHeight: height } = node;
  const within = (wanted: number, low: number, high: number) => Math.max(low, Math.min(wanted, high));
  const isRight = ours.left + left > (bounds.left + bounds.right) / 2;
  const x = left + (isRight ? -GAP_PX - width : GAP_PX);
  const y = top - height / 2;
  const room = { x: bounds.left - ours.left + 2, y: bounds.top - ours.top + 2 };
  node.style.left = `${within(x, room.x, room.x + bounds.width - width - 4)}px`;
  node.style.top = `${within(y, room.y, room.y + bounds.height - height - 4)}px`;
}

function Tip({ model, aims, point, at }: TipProps): JSX.Element {
  const { t } = model;
  const { rows } = model.state.value;
  const row = rowOf(rows, point.trial);
  const params = model.fields.value
    .filter((field) => field.group === 'param')
    .map((field) => [field.label, row < 0 ? null : (cellsOf(rows, field.id)?.data[row] ?? null)] as const)
    .filter(([, value]) => value !== null && !Number.isNaN(value))
    .slice(0, 5);
  const error = row < 0 ? null : textAt(rows, 'error', row);
  const hint = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (hint.current) putBeside(hint.current, at);
  });
  return (
    <div class="nba-tip" aria-hidden="true" ref={hint}>
      <div>
        <b>#{point.trial}</b> <span class="nba-faint">{t(point.isFront ? 'front.on' : 'front.others')}</span>
      </div>
      {valuesOf(model, aims, point.trial).map(({ aim, text, isWithin }) => (
        <div key={aim.key} class="nba-tip-param">
          <span class="nba-faint">{aim.label}</span> <b>{text}</b>{' '}
          {!isWithin && <span class="nba-bad">{t('front.outside')}</span>}
        </div>
      ))}
      {params.map(([label, value]) => (
        <div key={label} class="nba-tip-param">
          <span class="nba-faint">{label}</span> {plainValue(value)}
        </div>
      ))}
      {error !== null && <div class="nba-tip-param">{error}</div>}
    </div>
  );
}

/** Left and right go along the front, up and down through all marks; Enter picks, the space bar adds. */
function onKey(event: KeyboardEvent, model: PanelModel, points: readonly FrontPoint[], { y }: Axes): void {
  const along = points.filter(({ isFront }) => isFront).sort((a, b) => a.x - b.x || a.y - b.y);
  const through = [...points].sort((a, b) => a.y - b.y || a.x - b.x);
  const isAcross = event.key === 'ArrowLeft' || event.key === 'ArrowRight';
  const isEnd = event.key === 'Home' || event.key === 'End';
  const isUp = event.key === 'ArrowUp' || event.key === 'ArrowDown';
  const active = model.active.peek();
  if (isAcross || isEnd || isUp) {
    const way = isUp || along.length === 0 ? through : along;
    if (way.length === 0) return;
    const step = event.key === 'ArrowRight' || event.key === 'ArrowUp' ? 1 : -1;
    let at = way.findIndex(({ trial }) => trial === active);
    if (isEnd) at = event.key === 'Home' ? 0 : way.length - 1;
    else if (at >= 0) at = Math.max(0, Math.min(way.length - 1, at + step));
    // The first key goes to where it is best.
    else at = isUp && y.direction === 'maximize' ? way.length - 1 : 0;
    model.active.value = way[at]!.trial;
    model.hovered.value = way[at]!.trial;
    model.revealed.value = { trial: way[at]!.trial };
  } else if ((event.key === 'Enter' || event.key === ' ') && active !== null) {
    model.pickAndReveal(active, event.key === ' ' || event.ctrlKey);
  } else if (event.key === 'Escape') model.setPicked([]);
  else return;
  event.preventDefault();
}
