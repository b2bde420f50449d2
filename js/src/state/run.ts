// A run as the panel shows it: a pure function of a snapshot and the deltas that followed.

import {
  type Column,
  type Delta,
  FINAL_STATES,
  type Header,
  type LogEntry,
  type Snapshot,
} from '../protocol';
import { appendLines, type Curve, type CurveStore, NO_CURVES, withoutTrials } from './curves';
import { withFront } from './front';
import { mergeRows, NO_ROWS, type Rows, rowOf } from './rows';

/** Lines of the log that are kept. */
const MAX_LOG = 500;

export interface RunState {
  readonly run: string;
  readonly seq: number;
  /** When the record was read, seconds since 1970 by the kernel's clock. */
  readonly takenAt: number;
  readonly header: Header;
  readonly columns: readonly Column[];
  readonly rows: Rows;
  readonly metric: string;
  readonly names: readonly string[];
  readonly stepNames: readonly string[];
  readonly curves: CurveStore;
  readonly log: readonly LogEntry[];
  readonly nLeftOut: number;
}

/** Nothing more will come unless somebody resumes the run. */
export function isFinal(state: RunState): boolean {
  return (FINAL_STATES as readonly string[]).includes(state.header.state);
}

/** Whether a trial in this state changes no more. */
export function hasEnded(state: string): boolean {
  return state !== 'running' && state !== 'waiting';
}

export function fromSnapshot(snapshot: Snapshot): RunState {
  return {
    run: snapshot.run,
    seq: snapshot.seq,
    takenAt: snapshot.taken_at,
    header: snapshot.header,
    columns: snapshot.columns,
    rows: withFront(mergeRows(NO_ROWS, snapshot.trials, snapshot.columns), snapshot.header),
    metric: snapshot.curves.metric,
    names: snapshot.curves.names,
    stepNames: snapshot.curves.step_names,
    curves: appendLines(NO_CURVES, snapshot.curves.lines),
    log: snapshot.log,
    nLeftOut: snapshot.n_trials_left_out,
  };
}

/** What to do with a delta, by the record's own counter. */
export function judge(have: number, delta: Pick<Delta, 'base' | 'seq'>): 'old' | 'next' | 'gap' {
  // First, since a delta that brings only a header has `seq === base`.
  if (delta.base === have) return 'next';
  return delta.seq <= have ? 'old' : 'gap';
}

/** The state after a delta that `judge` called next. */
export function applyDelta(state: RunState, delta: Delta): RunState {
  const columns = delta.columns ?? state.columns;
  const best = delta.header.best;
  const curves = withoutTrials(state.curves, delta.restarted);
  return {
    ...state,
    seq: delta.seq,
    takenAt: delta.taken_at,
    header: delta.header,
    columns,
    rows: withFront(mergeRows(state.rows, delta.trials, columns), delta.header),
    names: delta.names ?? state.names,
    stepNames: delta.step_names ?? state.stepNames,
    curves: appendLines(curves, delta.lines, best ? [best.trial] : []),
    log: delta.log.length > 0 ? [...state.log, ...delta.log].slice(-MAX_LOG) : state.log,
  };
}

/**
 * The state after a whole snapshot.
 *
 * A snapshot is bounded: rows that it left out, and curves of trials that had already ended, stay as
 * they were known.
 */
export function adopt(known: RunState | null, snapshot: Snapshot): RunState {
  const fresh = fromSnapshot(snapshot);
  if (!known || known.run !== snapshot.run || snapshot.seq < known.seq) return fresh;
  const isPartial = snapshot.n_trials_left_out > 0;
  const rows = isPartial
    ? withFront(mergeRows(known.rows, snapshot.trials, snapshot.columns), snapshot.header)
    : fresh.rows;
  const curves = new Map([...fresh.curves].map(([name, own]) => [name, new Map(own)]));
  for (const [name, old] of known.curves) {
    const own = curves.get(name) ?? new Map<number, Curve>();
    for (const [trial, curve] of old) {
      const [before, now] = [rowOf(known.rows, trial), rowOf(rows, trial)];
      const isSettled =
        before >= 0 && now >= 0 && hasEnded(known.rows.state[before]!) && hasEnded(rows.state[now]!);
      if (isSettled && (own.get(trial)?.x.length ?? 0) < curve.x.length) own.set(trial, curve);
    }
    curves.set(name, own);
  }
  const nLeftOut = Math.max(0, snapshot.n_trials_left_out - (rows.n - fresh.rows.n));
  return { ...fresh, rows, curves, nLeftOut };
}
