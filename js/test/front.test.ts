import { describe, expect, it } from 'vitest';
import { parseQuantity, plainQuantity, quantityFormat } from '../src/format';
import type { Aim, Snapshot } from '../src/protocol';
import { fieldsOf, order } from '../src/state/fields';
import { parseFilter, shownRows } from '../src/state/filter';
import {
  cloudOf,
  type FrontPoint,
  inView,
  isWithin,
  lineOf,
  scaleAround,
  shareOf,
  ticksOf,
} from '../src/state/front';
import { adopt, fromSnapshot, type RunState } from '../src/state/run';
import { toSnapshot } from '../src/state/saving';
import { fixture } from './fixtures';

const start = () => fromSnapshot(fixture<Snapshot>('snapshot_front'));
const all = (state: RunState) => Array.from({ length: state.rows.n }, (_, row) => row);
const aimsOf = (state: RunState) => state.header.aims as [Aim, Aim, Aim];
const point = (trial: number, x: number, y: number, isFront = true): FrontPoint => ({
  trial,
  x,
  y,
  size: 1,
  isFront,
  isWhole: true,
});

describe('a run with several objectives', () => {
  it('has a column that says which trials are on the front, beside the objectives', () => {
    const state = start();
    const ids = fieldsOf(state).map(({ id }) => id);
    expect(ids.slice(0, 6)).toEqual([
      'number',
      'state',
      'value',
      'metric:latency_ms',
      'metric:size_bytes',
      'front',
    ]);
    const sorted = order(state.rows, { id: 'front', isDescending: false }, null);
    const first = [...sorted].slice(0, 7).map((row) => state.rows.number[row]);
    expect(first).toEqual([...state.header.front!].sort((a, b) => a - b));
  });

  it('is filtered to its front by that word', () => {
    const state = start();
    const fields = fieldsOf(state);
    for (const text of ['front', 'front:front']) {
      const shown = shownRows(state.rows, parseFilter(text, fields), fields)!;
      expect(all(state).filter((row) => shown[row])).toHaveLength(7);
    }
  });

  it('is filtered by quantities as people write them', () => {
    const state = start();
    const fields = fieldsOf(state);
    const count = (text: string) => {
      const filter = parseFilter(text, fields);
      expect(filter.problem).toBeNull();
      return shownRows(state.rows, filter, fields)!.reduce((sum, each) => sum + each, 0);
    };
    expect(count('size_bytes<100KB')).toBe(count('size_bytes<100000'));
    expect(count('size_bytes<100KB')).toBeGreaterThan(0);
    expect(count('latency_ms<=2ms')).toBe(count('latency_ms<=2'));
    expect(parseFilter('latency_ms<2KB', fields).problem?.kind).toBe('not-a-number');
  });

  it('keeps its front in a saved copy that leaves rows out', () => {
    const state = start();
    const saved = toSnapshot(state, { trials: 14, lines: 0, points: 0 });
    expect(saved.header.front).toEqual(state.header.front);
    const few = toSnapshot(state, { trials: 8, lines: 0, points: 0 });
    expect(few.trials.number).toEqual(expect.arrayContaining(state.header.front!.slice(0, 4)));
    expect(adopt(state, { ...few, seq: state.seq + 1 }).rows.cells.front).toEqual(state.rows.cells.front);
  });

  it('shows no front where there is one objective', () => {
    const state = fromSnapshot(fixture<Snapshot>('snapshot'));
    expect(fieldsOf(state).map(({ id }) => id)).not.toContain('front');
    expect(state.rows.cells.front).toBeUndefined();
  });
});

describe('what a view holds', () => {
  const good = [0.94, 0.95, 0.95, 0.96, 0.97];

  it('leaves out a broken model, which would squeeze all others into a corner', () => {
    expect(Math.min(...inView([...good, 0.1], [], false))).toBe(0.94);
    expect(Math.max(...inView([1, 1.1, 1.2, 1.3, 1.4, 90], [], true))).toBeCloseTo(1.4);
  });

  it('leaves out nothing that it is told to keep, and nothing for a little', () => {
    expect(inView([...good, 0.1], [0.1], false)).toContain(0.1);
    expect(inView([...good, 0.93], [], false)).toContain(0.93);
  });

  it('holds all of few', () => {
    expect(inView([0.9, 0.91, 0.1], [], false)).toEqual([0.9, 0.91, 0.1]);
  });
});

describe('the cloud of a front', () => {
  it('holds each trial that ended with both values, the front last', () => {
    const state = start();
    const [y, x, size] = aimsOf(state);
    const { points, total, sizes } = cloudOf(state, all(state), { x, y, size });
    expect(total).toBe(13);
    expect(points.map(({ trial }) => trial)).not.toContain(5);
    expect(points.slice(-7).every(({ isFront }) => isFront)).toBe(true);
    expect(points.find(({ trial }) => trial === 9)?.isWhole).toBe(false);
    expect(sizes![0]).toBeLessThan(sizes![1]);
    const bySize = (trial: number) => points.find((each) => each.trial === trial)!.size;
    const bytes = state.rows.cells['metric:size_bytes']!.data as Float64Array;
    const [small, large] = [Math.min(...points.map((p) => bytes[p.trial]!)), sizes![1]];
    expect(bySize([...bytes].indexOf(small))).toBe(0);
    expect(bySize([...bytes].indexOf(large))).toBe(4);
  });

  it('holds what the table shows', () => {
    const state = start();
    const [y, x] = aimsOf(state);
    const { points } = cloudOf(state, [0, 5, 8], { x, y, size: null });
    expect(points.map(({ trial }) => trial)).toEqual([0, 8]);
  });

  it('does not grow without end, and never drops the front', () => {
    const state = start();
    const n = 5000;
    const rows = {
      n,
      number: Float64Array.from({ length: n }, (_, i) => i),
      state: new Array<string>(n).fill('complete'),
      cells: {
        value: { kind: 'number', data: new Float64Array(n).fill(0.5) },
        'metric:latency_ms': { kind: 'number', data: new Float64Array(n).fill(1) },
        front: { kind: 'text', data: Array.from({ length: n }, (_, i) => (i < 3 ? 'front' : null)) },
      },
    } as const;
    const [y, x] = aimsOf(state);
    const large = { ...state, rows };
    const { points, total } = cloudOf(large, all(large), { x, y, size: null });
    expect(total).toBe(n);
    expect(points).toHaveLength(2003);
    expect(points.slice(-3).map(({ trial }) => trial)).toEqual([0, 1, 2]);
  });

  it('joins only what no other beats on the two axes', () => {
    const up = { direction: 'maximize' } as Aim;
    const down = { direction: 'minimize' } as Aim;
    const points = [point(0, 1, 1), point(1, 2, 3), point(2, 3, 2), point(3, 4, 5), point(4, 9, 9, false)];
    expect(lineOf(points, down, up).map(({ trial }) => trial)).toEqual([0, 1, 3]);
    expect(lineOf(points, down, down).map(({ trial }) => trial)).toEqual([0]);
    expect(lineOf(points, up, down).map(({ trial }) => trial)).toEqual([0, 2, 3]);
    expect(lineOf(points, up, up).map(({ trial }) => trial)).toEqual([3]);
  });

  it('knows limits', () => {
    const [accuracy, latency, size] = aimsOf(start());
    expect([isWithin(0.95, accuracy), isWithin(0.94, accuracy)]).toEqual([true, false]);
    expect([isWithin(2, latency), isWithin(2.1, latency)]).toEqual([true, false]);
    expect(isWithin(1e9, size)).toBe(true);
  });
});

describe('scales and quantities', () => {
  it('put values between the ends, powers of ten too', () => {
    const linear = scaleAround([0, 10], false);
    expect(shareOf(linear, 5)).toBeCloseTo(0.5);
    const log = scaleAround([1, 100, -3], true);
    expect(shareOf(log, 10)).toBeCloseTo(0.5);
    expect(shareOf(log, 0)).toBeNaN();
    expect(scaleAround([], false)).toEqual({ low: 0, high: 1, isLog: false });
  });

  it('have round marks inside', () => {
    expect(ticksOf({ low: 0, high: 1, isLog: false }, 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(ticksOf({ low: 0.9, high: 150, isLog: true }, 9)).toEqual([1, 3, 10, 30, 100]);
    for (const [low, high] of [
      [1.02, 1.9],
      [1e-9, 1e9],
      [3, 3.0001],
    ] as const) {
      const found = ticksOf({ low, high, isLog: true }, 5);
      expect(found.length).toBeGreaterThan(0);
      expect(found.every((value) => value >= low * 0.999 && value <= high * 1.001)).toBe(true);
    }
  });

  it('are written with units, and read again', () => {
    expect(plainQuantity(43_210, 'bytes')).toBe('43.21 KB');
    expect(plainQuantity(999, 'bytes')).toBe('999 B');
    expect(plainQuantity(1000, 'bytes')).toBe('1 KB');
    expect(plainQuantity(1.5, 'ms')).toBe('1.5 ms');
    expect(plainQuantity(Number.NaN, 'ms')).toBe('–');
    const format = quantityFormat([20_000, 40_000, 1_200_000], 'bytes');
    expect([format(20_000), format(1_200_000), format(Number.NaN)]).toEqual(['20 KB', '1200 KB', '']);
    expect(parseQuantity('20KB', 'bytes')).toBe(20_000);
    expect(parseQuantity('1.5 mb', 'bytes')).toBe(1_500_000);
    expect(parseQuantity('2ms', 'ms')).toBe(2);
    expect(parseQuantity('2', 'ms')).toBe(2);
    for (const [text, unit] of [
      ['2ms', ''],
      ['2KB', 'ms'],
      ['KB', 'bytes'],
      ['', ''],
    ] as const) {
      expect(parseQuantity(text, unit)).toBeNaN();
    }
  });
});
