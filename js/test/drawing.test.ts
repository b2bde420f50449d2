// What watching a run costs: the processors that a page takes are those that train.

import { describe, expect, it } from 'vitest';
import type { Snapshot } from '../src/protocol';
import { numberAt } from '../src/state/rows';
import { fromSnapshot, type RunState } from '../src/state/run';
import { chooseLines } from '../src/views/lines';
import { fixture } from './fixtures';

const STYLES = import.meta.glob('../style/*.css', { eager: true, query: '?raw', import: 'default' });

describe('drawing', () => {
  // A dot that breathes and a bar that glides had the whole page painted 60 times a second, by the
  // processor where there is no GPU: half a core, for as long as a run went on.
  it('leaves still what has no news', () => {
    expect(Object.keys(STYLES).length).toBeGreaterThan(3);
    for (const style of Object.values(STYLES)) expect(style).not.toMatch(/animation|transition|@keyframes/);
  });

  it('asks for no curve of epochs before the first one ended', () => {
    const state = fromSnapshot(fixture<Snapshot>('snapshot'));
    const row = state.rows.state.indexOf('running');
    const trial = state.rows.number[row]!;
    const missing = (epoch: number, name: string) => {
      const data = Float64Array.from(state.rows.number, (_, i) => (i === row ? epoch : 1));
      const rows = {
        ...state.rows,
        cells: { ...state.rows.cells, epoch: { kind: 'number', data } as const },
      };
      const without: RunState = { ...state, rows, curves: new Map() };
      expect(numberAt(rows, 'epoch', row)).toBe(epoch);
      return chooseLines(without, name, Uint32Array.of(row), []).missing.includes(trial);
    };
    expect(missing(Number.NaN, 'loss')).toBe(false);
    expect(missing(1, 'loss')).toBe(true);
    expect(missing(Number.NaN, state.stepNames[0]!)).toBe(true);
  });
});
