// Curves of trials: kept by quantity and trial, thinned when they grow long, never changed in place.

import type { Line } from '../protocol';

/** One curve; `y` is NaN where a value was not finite. */
export interface Curve {
  readonly x: readonly number[];
  readonly y: readonly number[];
}

/** By name of the quantity, then by trial. Maps, since names may be anything (`__proto__` too). */
export type CurveStore = ReadonlyMap<string, ReadonlyMap<number, Curve>>;

export const NO_CURVES: CurveStore = new Map();

/** A curve longer than this is thinned to half of it. */
export const MAX_POINTS = 2000;

/** At most this many curves of one quantity are kept; others can be asked for again. */
export const MAX_KEPT = 1200;

/**
 * `curve` with at most `limit` points: of each stretch its lowest and its highest, in their order.
 *
 * The first and the last point stay, and so do spikes, which a mean would hide.
 */
export function thin(curve: Curve, limit: number): Curve {
  const n = curve.x.length;
  if (n <= limit || limit < 4) return curve;
  const stretches = Math.floor((limit - 2) / 2);
  const kept = new Set<number>([0, n - 1]);
  for (let s = 0; s < stretches; s++) {
    const from = 1 + Math.floor((s * (n - 2)) / stretches);
    const to = 1 + Math.floor(((s + 1) * (n - 2)) / stretches);
    let [low, high] = [-1, -1];
    for (let i = from; i < to; i++) {
      const y = curve.y[i]!;
      if (Number.isNaN(y)) continue;
      if (low < 0 || y < curve.y[low]!) low = i;
      if (high < 0 || y > curve.y[high]!) high = i;
    }
    if (low >= 0) kept.add(low).add(high);
  }
  const order = [...kept].sort((a, b) => a - b);
  return { x: order.map((i) => curve.x[i]!), y: order.map((i) => curve.y[i]!) };
}

const clean = (values: readonly (number | null)[]): number[] => values.map((y) => y ?? Number.NaN);

/** The points of `line` that lie after the end of `curve`, appended. */
function extended(curve: Curve | undefined, line: Line): Curve {
  if (!curve || curve.x.length === 0) return { x: line.x, y: clean(line.y) };
  const end = curve.x[curve.x.length - 1]!;
  const from = line.x.findIndex((x) => x > end);
  if (from < 0) return curve;
  return { x: curve.x.concat(line.x.slice(from)), y: curve.y.concat(clean(line.y.slice(from))) };
}

/** Without the curves of the trials that run again. */
export function withoutTrials(store: CurveStore, trials: readonly number[]): CurveStore {
  if (trials.length === 0) return store;
  const gone = new Set(trials);
  const rest = (curves: ReadonlyMap<number, Curve>) =>
    new Map([...curves].filter(([trial]) => !gone.has(trial)));
  return new Map([...store].map(([name, curves]) => [name, rest(curves)]));
}

/** A copy of `store`, and a way to get at its inner maps, each copied on first use. */
function writable(store: CurveStore): {
  next: Map<string, ReadonlyMap<number, Curve>>;
  of: (name: string) => Map<number, Curve>;
} {
  const next = new Map(store);
  const copied = new Map<string, Map<number, Curve>>();
  const of = (name: string): Map<number, Curve> => {
    let curves = copied.get(name);
    if (!curves) {
      curves = new Map(store.get(name));
      copied.set(name, curves);
      next.set(name, curves);
    }
    return curves;
  };
  return { next, of };
}

/**
 * With the pieces in `lines` appended; `keep` names trials whose curves outlive the limit.
 *
 * A piece that does not begin its curve is left out where the older points are not held.
 */
export function appendLines(
  store: CurveStore,
  lines: readonly Line[],
  keep: readonly number[] = [],
): CurveStore {
  if (lines.length === 0) return store;
  const { next, of } = writable(store);
  for (const line of lines) {
    const held = store.get(line.name)?.has(line.trial) || next.get(line.name)?.has(line.trial);
    if (line.begins === false && !held) continue;
    const curves = of(line.name);
    const longer = extended(curves.get(line.trial), line);
    curves.set(line.trial, longer.x.length > MAX_POINTS ? thin(longer, MAX_POINTS / 2) : longer);
    if (curves.size > MAX_KEPT) dropOldest(curves, keep);
  }
  return next;
}

function dropOldest(curves: Map<number, Curve>, keep: readonly number[]): void {
  const oldest = [...curves.keys()].filter((trial) => !keep.includes(trial));
  // A tenth at once, so that the sort is paid for seldom.
  for (const trial of oldest.sort((a, b) => a - b).slice(0, MAX_KEPT / 10)) curves.delete(trial);
}

/** With whole curves in the place of those held; what was measured after their end stays. */
export function replaceLines(store: CurveStore, lines: readonly Line[]): CurveStore {
  const { next, of } = writable(store);
  for (const line of lines) {
    const curves = of(line.name);
    const whole = extended(undefined, line);
    const held = curves.get(line.trial);
    curves.set(line.trial, held ? extended(whole, { ...line, x: [...held.x], y: [...held.y] }) : whole);
  }
  return next;
}

/** Curves on one ladder of x, as uPlot takes them: null where a curve has no point. */
export interface Aligned {
  readonly x: number[];
  readonly ys: (number | null)[][];
}

/**
 * Puts curves on a common x of at most `limit` rungs.
 *
 * Where the curves have few distinct x all of them are kept (epochs); else x is divided evenly and a
 * curve's last value within a rung stands for it (optimiser steps, which differ by batch size).
 */
export function align(curves: readonly Curve[], limit: number, isLog: boolean): Aligned {
  const distinct = new Set<number>();
  for (const curve of curves) {
    for (const x of curve.x) distinct.add(x);
    if (distinct.size > limit) break;
  }
  const isWhole = distinct.size <= limit;
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { x } of curves) {
    if (x.length === 0) continue;
    low = Math.min(low, x[0]!);
    high = Math.max(high, x[x.length - 1]!);
  }
  const step = (high - low) / (limit - 1);
  const x = isWhole
    ? [...distinct].sort((a, b) => a - b)
    : Array.from({ length: limit }, (_, i) => low + i * step);
  const place = isWhole ? new Map(x.map((value, i) => [value, i])) : null;
  const ys = curves.map((curve) => {
    const y: (number | null)[] = new Array(x.length).fill(null);
    for (let i = 0; i < curve.x.length; i++) {
      const value = curve.y[i]!;
      if (!Number.isFinite(value) || (isLog && value <= 0)) continue;
      y[place ? place.get(curve.x[i]!)! : Math.round((curve.x[i]! - low) / step)] = value;
    }
    return y;
  });
  return { x, ys };
}

/** The value of `curve` at `x` between its neighbours, NaN outside of it. */
export function valueAt(curve: Curve, x: number): number {
  const { x: xs, y: ys } = curve;
  if (xs.length === 0 || x < xs[0]! || x > xs[xs.length - 1]!) return Number.NaN;
  let [low, high] = [0, xs.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle]! <= x) low = middle;
    else high = middle;
  }
  const width = xs[high]! - xs[low]!;
  return width === 0 ? ys[low]! : ys[low]! + ((ys[high]! - ys[low]!) * (x - xs[low]!)) / width;
}

export interface YRange {
  readonly low: number;
  readonly high: number;
  readonly isCut: boolean;
}

/**
 * The range of y that is worth drawing.
 *
 * A few values far off the bulk (a trial that diverged) would press all other curves into a line, so
 * a side that reaches more than three times the bulk's width beyond it is cut; `isCut` says so.
 */
export function yRange(curves: readonly Curve[], isLog: boolean, mayCut = true): YRange {
  const values: number[] = [];
  const total = curves.reduce((sum, curve) => sum + curve.y.length, 0);
  const stride = Math.max(1, Math.floor(total / 20000));
  let [low, high, i] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  for (const { y } of curves) {
    for (const value of y) {
      if (!Number.isFinite(value) || (isLog && value <= 0)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
      if (i++ % stride === 0) values.push(value);
    }
  }
  if (values.length === 0) return { low: isLog ? 0.1 : 0, high: 1, isCut: false };
  if (!mayCut || isLog || values.length < 20) return { low, high, isCut: false };
  values.sort((a, b) => a - b);
  const [q05, q95] = [0.05, 0.95].map((q) => values[Math.floor(q * (values.length - 1))]!) as [
    number,
    number,
  ];
  const bulk = q95 - q05;
  let isCut = false;
  if (bulk > 0 && high - q95 > 3 * bulk) {
    high = q95 + 0.5 * bulk;
    isCut = true;
  }
  if (bulk > 0 && q05 - low > 3 * bulk) {
    low = q05 - 0.5 * bulk;
    isCut = true;
  }
  return { low, high, isCut };
}
