// What is drawn of a front: axes, limits, marks. A state is told by the shape of its mark, not by colour alone.

import type { JSX } from 'preact';
import { plainQuantity } from '../format';
import type { Aim } from '../protocol';
import {
  type Axes,
  type Cloud,
  type FrontPoint,
  inView,
  isWide,
  isWithin,
  lineOf,
  N_SIZES,
  type Scale,
  scaleAround,
  shareOf,
  ticksOf,
} from '../state/front';
import type { PanelModel } from './model';

export interface Place {
  readonly left: number;
  readonly top: number;
}

export interface Layout {
  readonly x: Scale;
  readonly y: Scale;
  readonly width: number;
  readonly height: number;
  across(value: number): number;
  up(value: number): number;
  /** Where its mark is: at the edge for a point beyond it. */
  placeOf(point: FrontPoint): Place;
  /** Whether a point lies beyond the edge, where a mark stands for it. */
  isBeyond(point: FrontPoint): boolean;
  nearest(place: Place, reach: number): FrontPoint | null;
}

const MARGIN = { left: 62, right: 16, top: 20, bottom: 32 } as const;

/** Values that have to be in sight beside those of the trials. */
const surroundings = ({ least, most, before }: Aim): number[] =>
  [least, most, before].filter((value) => value !== null);

/** The front and what is not far off; all points where `isWhole`. */
function scalesOf(points: readonly FrontPoint[], { x, y }: Axes, askedLog: boolean | null, isWhole: boolean) {
  const kept = points.filter(
    (point) => isWhole || (point.isFront && isWithin(point.x, x) && isWithin(point.y, y)),
  );
  const [xs, ys] = [points.map((point) => point.x), points.map((point) => point.y)];
  const keptX = [...kept.map((point) => point.x), ...surroundings(x)];
  const keptY = [...kept.map((point) => point.y), ...surroundings(y)];
  const inPlain = inView(xs, keptX, false);
  const [low, high] = inPlain.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const isLog = askedLog ?? isWide(low, high);
  return {
    x: scaleAround(isLog ? inView(xs, keptX, true) : inPlain, isLog),
    y: scaleAround(inView(ys, keptY, false), false),
  };
}

export function layoutOf(
  { points }: Cloud,
  axes: Axes,
  { width, height }: { width: number; height: number },
  askedLog: boolean | null,
  isWhole = false,
): Layout {
  const { x, y } = scalesOf(points, axes, askedLog, isWhole);
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  const across = (value: number) => MARGIN.left + shareOf(x, value) * (right - MARGIN.left);
  const up = (value: number) => bottom - shareOf(y, value) * (bottom - MARGIN.top);
  const placeOf = (point: FrontPoint): Place => ({
    left: Math.min(right, Math.max(MARGIN.left, across(point.x))),
    top: Math.min(bottom, Math.max(MARGIN.top, up(point.y))),
  });
  return {
    x,
    y,
    width,
    height,
    across,
    up,
    isBeyond: (point) => point.x < x.low || point.x > x.high || point.y < y.low || point.y > y.high,
    placeOf,
    nearest: ({ left, top }, reach) => {
      let best: FrontPoint | null = null;
      let least = reach;
      for (const point of points) {
        const place = placeOf(point);
        // Marks of the front lie on top, and are what is meant where marks are crowded.
        const distance = Math.hypot(place.left - left, place.top - top) - (point.isFront ? 3 : 0);
        if (distance <= least) [best, least] = [point, distance];
      }
      return best;
    },
  };
}

const radiusOf = (size: number): number => 2.6 + 1.3 * size;

/** A diamond around a place, as a path. */
function diamond(left: number, top: number, radius: number): string {
  const r = radius + 2.4;
  return `M${left} ${top - r}L${left + r} ${top}L${left} ${top + r}L${left - r} ${top}Z`;
}

interface PartProps {
  model: PanelModel;
  layout: Layout;
  axes: Axes;
}

export function Frame({ model, layout, axes }: PartProps): JSX.Element {
  const { width, height, across, up } = layout;
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  const better = model.t('front.better');
  const isRight = axes.x.direction === 'maximize';
  return (
    <g class="nba-frame">
      {ticksOf(layout.y, Math.max(2, height / 50)).map((value) => (
        <g key={value}>
          <line class="nba-gridline" x1={MARGIN.left} x2={right} y1={up(value)} y2={up(value)} />
          <text x={MARGIN.left - 6} y={up(value) + 4} text-anchor="end">
            {plainQuantity(value, axes.y.unit)}
          </text>
        </g>
      ))}
      {ticksOf(layout.x, Math.max(2, width / 90)).map((value) => (
        <g key={value}>
          <line class="nba-gridline" x1={across(value)} x2={across(value)} y1={MARGIN.top} y2={bottom} />
          <text x={across(value)} y={bottom + 14} text-anchor="middle">
            {plainQuantity(value, axes.x.unit)}
          </text>
        </g>
      ))}
      <text class="nba-axis-name" x={8} y={13}>
        {`${axes.y.label} · ${axes.y.direction === 'maximize' ? '↑' : '↓'} ${better}`}
      </text>
      <text class="nba-axis-name" x={right} y={height - 4} text-anchor="end">
        {isRight ? `${axes.x.label} · ${better} →` : `${axes.x.label} · ← ${better}`}
      </text>
    </g>
  );
}

/** Limits with the ground beyond them. */
export function Limits({ layout, axes }: Omit<PartProps, 'model'>): JSX.Element {
  const { width, height, across, up } = layout;
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  const strip = (from: number, to: number) => ({ at: Math.min(from, to), span: Math.abs(to - from) });
  const lines: JSX.Element[] = [];
  for (const [value, end] of [
    [axes.x.least, MARGIN.left],
    [axes.x.most, right],
  ] as const) {
    if (value === null || !Number.isFinite(across(value))) continue;
    const at = across(value);
    const { at: x, span } = strip(at, end);
    lines.push(
      <g key={`x${end}`} class="nba-limit">
        <rect x={x} y={MARGIN.top} width={span} height={bottom - MARGIN.top} />
        <line x1={at} x2={at} y1={MARGIN.top} y2={bottom} />
        <text
          x={at + (end === right ? -4 : 4)}
          y={MARGIN.top + 10}
          text-anchor={end === right ? 'end' : 'start'}
        >
          {`${end === right ? '≤' : '≥'} ${plainQuantity(value, axes.x.unit)}`}
        </text>
      </g>,
    );
  }
  for (const [value, end] of [
    [axes.y.least, bottom],
    [axes.y.most, MARGIN.top],
  ] as const) {
    if (value === null) continue;
    const at = up(value);
    const { at: y, span } = strip(at, end);
    lines.push(
      <g key={`y${end}`} class="nba-limit">
        <rect x={MARGIN.left} y={y} width={right - MARGIN.left} height={span} />
        <line x1={MARGIN.left} x2={right} y1={at} y2={at} />
        <text x={MARGIN.left + 4} y={at + (end === bottom ? -4 : 12)}>
          {`${end === bottom ? '≥' : '≤'} ${plainQuantity(value, axes.y.unit)}`}
        </text>
      </g>,
    );
  }
  return <>{lines}</>;
}

/** The model that the run began with. */
export function Before({ model, layout, axes }: PartProps): JSX.Element | null {
  const { width, across, up } = layout;
  const [x, y] = [axes.x.before, axes.y.before];
  if (x === null || y === null || !Number.isFinite(across(x))) return null;
  const [left, top] = [across(x), up(y)];
  const isRight = left > width / 2;
  return (
    <g class="nba-before">
      <rect x={left - 5} y={top - 5} width={10} height={10} />
      <text x={left + (isRight ? -9 : 9)} y={top + 4} text-anchor={isRight ? 'end' : 'start'}>
        {model.t('front.before')}
      </text>
    </g>
  );
}

/** The trials that are beaten: one path a size, however many there are. */
export function Dots({ points, layout }: { points: readonly FrontPoint[]; layout: Layout }): JSX.Element {
  const whole = Array.from({ length: N_SIZES }, () => '');
  let early = '';
  for (const point of points) {
    if (point.isFront || layout.isBeyond(point)) continue;
    const [left, top] = [layout.across(point.x), layout.up(point.y)];
    if (!Number.isFinite(left)) continue;
    const place = `${left.toFixed(1)} ${top.toFixed(1)}`;
    // A line of no length with round ends is a dot.
    if (point.isWhole) whole[point.size] += `M${place}h0`;
    else early += `M${place}m-3-3l6 6m0-6l-6 6`;
  }
  return (
    <>
      <path class="nba-early" d={early} />
      {whole.map((path, size) => (
        <path key={radiusOf(size)} class="nba-dots" d={path} stroke-width={2 * radiusOf(size)} />
      ))}
    </>
  );
}

/** An arrow head at the edge for each trial that lies beyond it, pointing to where it lies. */
export function Beyond({ points, layout }: { points: readonly FrontPoint[]; layout: Layout }): JSX.Element {
  return (
    <>
      {points.filter(layout.isBeyond).map((point) => {
        const { left, top } = layout.placeOf(point);
        const angle = Math.atan2(layout.up(point.y) - top, layout.across(point.x) - left);
        return Number.isFinite(angle) ? (
          <path
            key={point.trial}
            class={`nba-beyond ${point.isFront ? 'nba-diamond' : ''}`}
            data-point={point.trial}
            d="M0 0L-9 -5V5Z"
            transform={`translate(${left} ${top}) rotate(${(angle * 180) / Math.PI})`}
          />
        ) : null;
      })}
    </>
  );
}

/** The front as steps (what is reached for sure between two of its trials), its marks, what is picked or hovered. */
export function Marks({
  model,
  points,
  layout,
  axes,
}: PartProps & { points: readonly FrontPoint[] }): JSX.Element {
  const { across, up, isBeyond } = layout;
  const line = lineOf(points, axes.x, axes.y).filter(
    (point) => Number.isFinite(across(point.x)) && !isBeyond(point),
  );
  const onLine = new Set(line);
  let steps = '';
  for (const [i, point] of line.entries()) {
    const [left, top] = [across(point.x), up(point.y)];
    if (i === 0) steps += `M${left} ${top}`;
    else steps += axes.x.direction === 'minimize' ? `H${left}V${top}` : `V${top}H${left}`;
  }
  const picked = model.picked.value;
  const hovered = model.hovered.value;
  return (
    <>
      <path class="nba-front-line" d={steps} />
      {points
        .filter((point) => point.isFront && Number.isFinite(across(point.x)) && !isBeyond(point))
        .map((point) => (
          <path
            key={point.trial}
            class={`nba-diamond ${onLine.has(point) ? '' : 'nba-hollow'}`}
            data-point={point.trial}
            d={diamond(across(point.x), up(point.y), radiusOf(point.size))}
          />
        ))}
      {points
        .filter(({ trial }) => picked.has(trial) || trial === hovered)
        .map((point) => {
          const { left, top } = layout.placeOf(point);
          const radius = radiusOf(point.size) + 5;
          const colour = picked.get(point.trial);
          const isRight = left > layout.width - 60;
          return Number.isFinite(left) ? (
            <g key={point.trial} class={`nba-ring ${colour === undefined ? '' : `nba-stroke-${colour}`}`}>
              <circle cx={left} cy={top} r={radius} />
              {colour !== undefined && (
                <text
                  x={left + (isRight ? -radius - 2 : radius + 2)}
                  y={top - 4}
                  text-anchor={isRight ? 'end' : 'start'}
                >{`#${point.trial}`}</text>
              )}
            </g>
          ) : null;
        })}
    </>
  );
}

/** What the marks mean. */
export function Legend({
  model,
  axes,
  cloud,
  layout,
}: PartProps & { cloud: Cloud; layout: Layout }): JSX.Element {
  const { t } = model;
  const { points, sizes } = cloud;
  const hasLimit = [axes.x, axes.y].some(({ least, most }) => least !== null || most !== null);
  const hasBefore = axes.x.before !== null && axes.y.before !== null;
  const nBeyond = points.filter(layout.isBeyond).length;
  const item = (key: string, mark: JSX.Element, text: string) => (
    <span key={key} class="nba-count">
      <svg class="nba-key" viewBox="0 0 20 16" aria-hidden="true" focusable="false">
        {mark}
      </svg>
      {text}
    </span>
  );
  return (
    <div class="nba-legend nba-faint">
      {item('front', <path class="nba-diamond" d={diamond(10, 8, 3)} />, t('front.on'))}
      {points.some((point) => !point.isFront && point.isWhole && !layout.isBeyond(point)) &&
        item('others', <path class="nba-dots" d="M10 8h0" stroke-width={7} />, t('front.others'))}
      {points.some(({ isFront, isWhole }) => !isFront && !isWhole) &&
        item('early', <path class="nba-early" d="M7 5l6 6m0-6l-6 6" />, t('front.early'))}
      {hasBefore &&
        item(
          'before',
          <g class="nba-before">
            <rect x={5} y={3} width={10} height={10} />
          </g>,
          t('front.before'),
        )}
      {hasLimit &&
        item(
          'limit',
          <g class="nba-limit">
            <line x1={1} x2={19} y1={8} y2={8} />
          </g>,
          t('front.limit'),
        )}
      {nBeyond > 0 &&
        item('beyond', <path class="nba-beyond" d="M14 8L5 3V13Z" />, t('front.beyond', { count: nBeyond }))}
      {(nBeyond > 0 || model.isFrontWhole.value) && (
        <button
          type="button"
          class="nba-button nba-plain"
          onClick={() => {
            model.isFrontWhole.value = !model.isFrontWhole.value;
          }}
        >
          {t(model.isFrontWhole.value ? 'curves.cut-hide' : 'curves.cut-show')}
        </button>
      )}
      {axes.size && sizes && (
        <span class="nba-count">
          {`${axes.size.label}:`}
          <svg class="nba-key" viewBox="0 0 20 16" aria-hidden="true" focusable="false">
            <path class="nba-dots" d="M10 8h0" stroke-width={2 * radiusOf(0)} />
          </svg>
          {plainQuantity(sizes[0], axes.size.unit)}
          <svg class="nba-key" viewBox="0 0 20 16" aria-hidden="true" focusable="false">
            <path class="nba-dots" d="M10 8h0" stroke-width={2 * radiusOf(N_SIZES - 1)} />
          </svg>
          {plainQuantity(sizes[1], axes.size.unit)}
        </span>
      )}
    </div>
  );
}
