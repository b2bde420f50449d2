// The state as a bounded snapshot again, to be written into the notebook.

import { type Line, PROTOCOL_VERSION, type Saved, type Snapshot, toSaved } from '../protocol';
import { thin } from './curves';
import { numberAt, rowOf, textAt } from './rows';
import type { RunState } from './run';

/** Bytes that a snapshot may take in a notebook file. */
export const MAX_BYTES = 200_000;

interface Limits {
  trials: number;
  lines: number;
  points: number;
}

const orNull = (value: number): number | null => (Number.isFinite(value) ? value : null);

/** Trials with a value, best first, as rows. */
function ranked(state: RunState): number[] {
  const values = state.rows.cells.value;
  if (values?.kind !== 'number') return [];
  const sign = state.header.direction === 'maximize' ? -1 : 1;
  const found: number[] = [];
  for (let row = 0; row < state.rows.n; row++) if (!Number.isNaN(values.data[row]!)) found.push(row);
  return found.sort((a, b) => sign * (values.data[a]! - values.data[b]!));
}

/** The front and the best, up to half; the rest the newest; ascending. */
function chosenRows(state: RunState, limit: number): number[] {
  const front = (state.header.front ?? []).map((trial) => rowOf(state.rows, trial)).filter((row) => row >= 0);
  const kept = new Set([...front, ...ranked(state)].slice(0, Math.ceil(limit / 2)));
  for (let row = state.rows.n - 1; row >= 0 && kept.size < limit; row--) kept.add(row);
  return [...kept].sort((a, b) => a - b);
}

function trialsOf(state: RunState, kept: readonly number[]): Snapshot['trials'] {
  const { rows } = state;
  const numbers = (id: string) => kept.map((row) => orNull(numberAt(rows, id, row)));
  const own = (group: 'param' | 'metric') => state.columns.filter((column) => column.group === group);
  const cells = (id: string, isText: boolean) =>
    isText ? kept.map((row) => textAt(rows, id, row)) : numbers(id);
  const errors = kept.map((row) => [rows.number[row]!, textAt(rows, 'error', row)] as const);
  return {
    number: kept.map((row) => rows.number[row]!),
    state: kept.map((row) => rows.state[row]!),
    value: numbers('value'),
    epoch: numbers('epoch'),
    duration_s: numbers('duration_s'),
    params: Object.fromEntries(
      own('param').map(({ key, kind }) => [key, cells(`param:${key}`, kind === 'text')]),
    ),
    metrics: Object.fromEntries(own('metric').map(({ key }) => [key, numbers(`metric:${key}`)])),
    error: Object.fromEntries(errors.filter((entry): entry is [number, string] => entry[1] !== null)),
  };
}

/** The curves of the objective and of the loss, of the best and the newest trials. */
function linesOf(state: RunState, limits: Limits): Line[] {
  const names = [...new Set([state.metric, 'loss'])].filter((name) => state.curves.has(name));
  const perName = Math.floor(limits.lines / Math.max(1, names.length));
  const best = ranked(state).map((row) => state.rows.number[row]!);
  return names.flatMap((name) => {
    const curves = state.curves.get(name)!;
    const kept = new Set(best.filter((trial) => curves.has(trial)).slice(0, Math.ceil(perName / 2)));
    const newest = [...curves.keys()].filter((trial) => rowOf(state.rows, trial) >= 0).sort((a, b) => b - a);
    for (const trial of newest) if (kept.size < perName) kept.add(trial);
    return [...kept].map((trial) => {
      const { x, y } = thin(curves.get(trial)!, limits.points);
      return { trial, name, x: [...x], y: y.map(orNull) };
    });
  });
}

/** The state within some limits. */
export function toSnapshot(state: RunState, limits: Limits): Snapshot {
  const kept = chosenRows(state, limits.trials);
  return {
    v: PROTOCOL_VERSION,
    run: state.run,
    seq: state.seq,
    taken_at: state.takenAt,
    header: state.header,
    columns: [...state.columns],
    trials: trialsOf(state, kept),
    curves: {
      metric: state.metric,
      names: [...state.names],
      step_names: [...state.stepNames],
      lines: linesOf(state, limits),
    },
    log: state.log.slice(-50),
    n_trials_left_out: state.nLeftOut + state.rows.n - kept.length,
  };
}

/** What is written into the output: as much as fits. */
export function savedOf(state: RunState, maxBytes: number = MAX_BYTES): Saved {
  const limits: Limits = { trials: 1000, lines: 200, points: 100 };
  for (;;) {
    const saved = toSaved(toSnapshot(state, limits));
    const bytes = new TextEncoder().encode(saved.text).length;
    const isLeast = limits.trials <= 50 && limits.lines <= 10;
    if (bytes <= maxBytes || isLeast) return saved;
    limits.points = Math.max(20, Math.round(limits.points * 0.7));
    limits.lines = Math.max(10, Math.round(limits.lines * 0.7));
    if (limits.points === 20) limits.trials = Math.max(50, Math.round(limits.trials * 0.8));
  }
}
