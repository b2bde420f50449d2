import { describe, expect, it } from 'vitest';
import type { Snapshot, Tick } from '../src/protocol';
import { align, appendLines, NO_CURVES, thin, yRange } from '../src/state/curves';
import { fieldsOf, order } from '../src/state/fields';
import { parseFilter, shownRows } from '../src/state/filter';
import { adopt, applyDelta, fromSnapshot, judge } from '../src/state/run';
import { savedOf, toSnapshot } from '../src/state/saving';
import { fixture } from './fixtures';

const start = () => fromSnapshot(fixture<Snapshot>('snapshot'));
const delta = (name = 'tick') => fixture<Tick>(name).runs[0]!;

describe('a run followed by deltas', () => {
  it('is what a fresh snapshot says', () => {
    const after = applyDelta(start(), delta());
    const fresh = fromSnapshot(fixture<Snapshot>('snapshot_after_tick'));
    expect(after.header).toEqual(fresh.header);
    expect([...after.rows.number]).toEqual([...fresh.rows.number]);
    expect(after.rows.state).toEqual(fresh.rows.state);
    expect(after.rows.cells.value).toEqual(fresh.rows.cells.value);
    expect(after.seq).toBe(fresh.seq);
  });

  it('takes a header alone', () => {
    const after = applyDelta(applyDelta(start(), delta()), delta('tick_header_only'));
    expect(after.header.state).toBe('interrupted');
    expect(after.rows.n).toBe(fromSnapshot(fixture<Snapshot>('snapshot_after_tick')).rows.n);
  });

  it('tells old deltas, the next one and gaps apart', () => {
    expect(judge(57, { base: 57, seq: 63 })).toBe('next');
    expect(judge(63, { base: 57, seq: 63 })).toBe('old');
    expect(judge(40, { base: 57, seq: 63 })).toBe('gap');
  });

  it('keeps rows that a partial snapshot left out', () => {
    const known = start();
    const snapshot = toSnapshot(known, { trials: 2, lines: 10, points: 10 });
    const adopted = adopt(known, { ...snapshot, seq: known.seq + 1 });
    expect(adopted.rows.n).toBe(known.rows.n);
    expect(adopted.nLeftOut).toBe(0);
  });
});

describe('saving', () => {
  it('gives back the run that was saved', () => {
    const state = start();
    const saved = savedOf(state);
    const again = fromSnapshot(JSON.parse(saved.text) as Snapshot);
    expect(again.header).toEqual(state.header);
    expect([...again.rows.number]).toEqual([...state.rows.number]);
  });

  it('stays within its bytes, and says how many rows it left out', () => {
    const snapshot = fixture<Snapshot>('snapshot');
    const n = 5000;
    const many = <T>(value: T): T[] => Array.from({ length: n }, () => value);
    const trials = {
      ...snapshot.trials,
      number: Array.from({ length: n }, (_, i) => i),
      state: many('complete'),
      value: Array.from({ length: n }, (_, i) => i / n),
      epoch: many(3),
      duration_s: many(1.5),
      params: { hidden: many(64), optimizer: many('adam'), lr: many(0.001) },
      metrics: { accuracy: many(0.5), loss: many(0.25) },
    } as Snapshot['trials'];
    const state = fromSnapshot({ ...snapshot, trials });
    const saved = savedOf(state, 60_000);
    expect(new TextEncoder().encode(saved.text).length).toBeLessThanOrEqual(60_000);
    const again = JSON.parse(saved.text) as Snapshot;
    expect(again.n_trials_left_out + again.trials.number.length).toBe(n);
    expect(again.trials.number).toContain(n - 1);
  });
});

describe('the filter', () => {
  const shown = (text: string): number[] => {
    const state = start();
    const fields = fieldsOf(state);
    const marks = shownRows(state.rows, parseFilter(text, fields), fields);
    return [...state.rows.number].filter((_, row) => marks === null || marks[row] === 1);
  };

  it('shows all when empty', () => expect(shown('')).toHaveLength(start().rows.n));
  it('compares numbers', () => expect(shown('accuracy>0.5')).toEqual([0]));
  it('joins terms with and', () => expect(shown('accuracy>0.3 state:stopped')).toEqual([1]));
  it('finds words anywhere', () => expect(shown('failed')).toEqual([2]));
  it('takes a number sign for a trial', () => expect(shown('#3')).toEqual([3]));

  it('names the nearest column', () => {
    const { problem } = parseFilter('hiden>3', fieldsOf(start()));
    expect(problem).toEqual({ kind: 'no-column', name: 'hiden', nearest: 'hidden' });
  });

  it('says when text is compared with a number', () => {
    const { problem } = parseFilter('lr>much', fieldsOf(start()));
    expect(problem).toEqual({ kind: 'not-a-number', name: 'lr', text: 'much' });
  });
});

describe('the order of rows', () => {
  it('sorts by value, those without one last either way', () => {
    const { rows } = start();
    const up = [...order(rows, { id: 'value', isDescending: false }, null)];
    const down = [...order(rows, { id: 'value', isDescending: true }, null)];
    expect(up.slice(0, 2)).toEqual([1, 0]);
    expect(down.slice(0, 2)).toEqual([0, 1]);
    expect(up.slice(2)).toEqual(down.slice(2));
  });
});

describe('curves', () => {
  const long = { x: Array.from({ length: 10_000 }, (_, i) => i), y: Array.from({ length: 10_000 }, () => 0) };

  it('keep ends and spikes when thinned', () => {
    const spiked = { x: long.x, y: long.y.map((y, i) => (i === 4321 ? 9 : y)) };
    const thinned = thin(spiked, 200);
    expect(thinned.x.length).toBeLessThanOrEqual(200);
    expect(thinned.x[0]).toBe(0);
    expect(thinned.x.at(-1)).toBe(9999);
    expect(Math.max(...thinned.y)).toBe(9);
  });

  it('grow by what is new alone', () => {
    const line = (x: number[], y: number[]) => ({ trial: 1, name: 'loss', x, y });
    const once = appendLines(NO_CURVES, [line([1, 2], [5, 4])]);
    const twice = appendLines(once, [line([2, 3], [4, 3])]);
    expect(twice.get('loss')!.get(1)).toEqual({ x: [1, 2, 3], y: [5, 4, 3] });
    expect(once.get('loss')!.get(1)!.x).toEqual([1, 2]);
  });

  it('share one axis', () => {
    const first = { x: [1, 2], y: [0.1, 0.2] };
    const second = { x: [2, 3], y: [0.3, 0.4] };
    const { x, ys } = align([first, second], 100, false);
    expect(x).toEqual([1, 2, 3]);
    expect(ys[0]!.slice(0, 2)).toEqual([0.1, 0.2]);
    expect(ys[1]!.slice(1)).toEqual([0.3, 0.4]);
  });

  it('cut outliers off, and say so', () => {
    const calm = { x: [0], y: Array.from({ length: 100 }, (_, i) => i / 100) };
    const wild = { x: [0], y: [1e6] };
    expect(yRange([calm], false).isCut).toBe(false);
    expect(yRange([calm, wild], false).isCut).toBe(true);
    expect(yRange([calm, wild], false, false).high).toBe(1e6);
  });
});
