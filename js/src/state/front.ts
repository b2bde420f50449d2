// The trials that no other beats in all of several objectives, as points between two axes.

import type { Aim, Header } from '../protocol';
import { numberAt, type Rows } from './rows';
import type { RunState } from './run';

/** What the column of the front says of a trial that is on it; typed in the filter it finds them. */
export const ON_FRONT = 'front';
/** Marks beside those of the front: more are a cloud in which nobody finds one. */
export const MAX_OTHERS = 2000;
/** Sizes of marks, by the third objective. */
export const N_SIZES = 5;

/** The rows with a column that says which are on the front, where a run has one. */
export function withFront(rows: Rows, { aims, front }: Header): Rows {
  if (!aims || aims.length < 2) return rows;
  const on = new Set(front ?? []);
  const data = Array.from(rows.number, (trial) => (on.has(trial) ? ON_FRONT : null));
  return { ...rows, cells: { ...rows.cells, front: { kind: 'text', data } } };
}

/** The field of an objective: the first one has a column of its own. */
export function aimField(header: Header, aim: Aim): string {
  return aim.key === header.metric ? 'value' : `metric:${aim.key}`;
}

export interface FrontPoint {
  readonly trial: number;
  readonly x: number;
  readonly y: number;
  /** From 0 to `N_SIZES - 1`. */
  readonly size: number;
  readonly isFront: boolean;
  /** Whether the trial was not stopped early. */
  readonly isWhole: boolean;
}

export interface Axes {
  readonly x: Aim;
  readonly y: Aim;
  readonly size: Aim | null;
}

export interface Cloud {
  readonly points: readonly FrontPoint[];
  /** Trials that have both values, drawn or not. */
  readonly total: number;
  /** The least and the greatest of the third objective; null where none is shown. */
  readonly sizes: readonly [number, number] | null;
}

/**
 * The trials that ended with values on both axes; the others and then the front, each by number.
 *
 * @param shown the rows that the table shows.
 */
export function cloudOf(state: RunState, shown: ArrayLike<number>, { x, y, size }: Axes): Cloud {
  const { rows, header } = state;
  const fields = [x, y, size].map((aim) => (aim ? aimField(header, aim) : ''));
  const sizes = size ? spanOf(rows, fields[2]!) : null;
  const found: FrontPoint[] = [];
  const front: FrontPoint[] = [];
  let total = 0;
  for (const row of Array.from(shown).sort((a, b) => b - a)) {
    const trialState = rows.state[row];
    if (trialState !== 'complete' && trialState !== 'stopped_early') continue;
    const [across, up] = [numberAt(rows, fields[0]!, row), numberAt(rows, fields[1]!, row)];
    if (!Number.isFinite(across) || !Number.isFinite(up)) continue;
    total += 1;
    const cells = rows.cells.front;
    const isFront = cells?.kind === 'text' && cells.data[row] === ON_FRONT;
    if (!isFront && found.length >= MAX_OTHERS) continue;
    const third = sizes ? numberAt(rows, fields[2]!, row) : Number.NaN;
    (isFront ? front : found).push({
      trial: rows.number[row]!,
      x: across,
      y: up,
      size: sizes ? sizeOf(third, sizes) : 1,
      isFront,
      isWhole: trialState === 'complete',
    });
  }
  return { points: [...found.reverse(), ...front.reverse()], total, sizes };
}

function spanOf(rows: Rows, field: string): [number, number] | null {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let row = 0; row < rows.n; row++) {
    const value = numberAt(rows, field, row);
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : null;
}

/** Whether values are told apart by their powers of ten. */
export function isWide(low: number, high: number): boolean {
  return low > 0 && high / low >= 50;
}

/** The mark's size for a value of the third objective; small ones where it has none. */
export function sizeOf(value: number, [low, high]: readonly [number, number]): number {
  if (!Number.isFinite(value)) return 0;
  if (high <= low) return Math.floor(N_SIZES / 2);
  const share = isWide(low, high)
    ? Math.log(value / low) / Math.log(high / low)
    : (value - low) / (high - low);
  return Math.min(N_SIZES - 1, Math.max(0, Math.floor(share * N_SIZES)));
}

/**
 * The points that no other beats on these two axes, by x.
 *
 * With three objectives a trial of the front may be beaten on two of them: it is marked, and not on the line.
 */
export function lineOf(points: readonly FrontPoint[], x: Aim, y: Aim): FrontPoint[] {
  const [signX, signY] = [x, y].map(({ direction }) => (direction === 'maximize' ? -1 : 1)) as [
    number,
    number,
  ];
  const front = points.filter(({ isFront }) => isFront);
  front.sort((a, b) => signX * (a.x - b.x) || signY * (a.y - b.y) || a.trial - b.trial);
  const line: FrontPoint[] = [];
  let best = Number.POSITIVE_INFINITY;
  for (const point of front) {
    if (signY * point.y >= best) continue;
    best = signY * point.y;
    line.push(point);
  }
  return signX < 0 ? line.reverse() : line;
}

/** Whether a value keeps the limits of its objective. */
export function isWithin(value: number, { least, most }: Aim): boolean {
  return !(least !== null && value < least) && !(most !== null && value > most);
}

/** So many quartile distances beyond the middle half a value counts as far off. */
const REACH = 3;
/** Fewer values have no middle half. */
const MIN_VALUES = 5;

/**
 * The values that a view has to hold: `kept`, and those that are not far off.
 *
 * One broken model would squeeze all others into a corner; but for a little nothing is left out.
 */
export function inView(values: readonly number[], kept: readonly number[], isLog: boolean): number[] {
  const usable = values.filter((value) => Number.isFinite(value) && (!isLog || value > 0));
  if (usable.length < MIN_VALUES) return [...usable, ...kept];
  const [place, back] = isLog ? [Math.log, Math.exp] : [(v: number) => v, (v: number) => v];
  const sorted = usable.map(place).sort((a, b) => a - b);
  const [first, third] = [0.25, 0.75].map((share) => sorted[Math.round(share * (sorted.length - 1))]!) as [
    number,
    number,
  ];
  const reach = REACH * (third - first);
  const near = sorted.filter((value) => value >= first - reach && value <= third + reach).map(back);
  const found = [...near, ...kept];
  const span = (some: readonly number[]) => {
    const [low, high] = [some.reduce((a, b) => Math.min(a, b)), some.reduce((a, b) => Math.max(a, b))];
    return place(high) - place(low);
  };
  const all = [...usable, ...kept.filter((value) => !isLog || value > 0)];
  return span(found.filter((value) => !isLog || value > 0)) < 0.6 * span(all) ? found : all;
}

export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly isLog: boolean;
}

/** A scale around the values, with a little air; on a logarithmic one only what is above zero counts. */
export function scaleAround(values: readonly number[], isLog: boolean): Scale {
  const found = values.filter((value) => Number.isFinite(value) && (!isLog || value > 0));
  if (found.length === 0) return isLog ? { low: 1, high: 10, isLog } : { low: 0, high: 1, isLog };
  const low = found.reduce((a, b) => Math.min(a, b));
  const high = found.reduce((a, b) => Math.max(a, b));
  if (isLog) {
    const air = high > low ? (high / low) ** 0.06 : 2;
    return { low: low / air, high: high * air, isLog };
  }
  const air = (high - low) * 0.06 || Math.abs(low) * 0.1 || 1;
  return { low: low - air, high: high + air, isLog };
}

/** Where a value lies on a scale, 0 to 1; NaN where it has no place. */
export function shareOf({ low, high, isLog }: Scale, value: number): number {
  if (isLog) return value > 0 ? Math.log(value / low) / Math.log(high / low) : Number.NaN;
  return (value - low) / (high - low);
}

/** About `n` round values on a scale. */
export function ticksOf({ low, high, isLog }: Scale, n: number): number[] {
  if (isLog) {
    const steps = high / low > 1000 ? [1] : high / low > 30 ? [1, 3] : [1, 2, 5];
    const found: number[] = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const step of steps) found.push(step * 10 ** power);
    }
    const inside = found.filter((value) => value >= low && value <= high);
    const stride = Math.max(1, Math.ceil(inside.length / n));
    if (inside.length >= 2) return inside.filter((_, i) => i % stride === 0);
  }
  const rough = (high - low) / Math.max(1, n);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((each) => each >= rough * 0.999)!;
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}
