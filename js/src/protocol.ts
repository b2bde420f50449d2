// Generated from nbautoml/widgets/protocol.py by `python -m nbautoml.widgets.generate`. Do not edit.

export const MIME = 'application/vnd.nbautoml.run.v1+json';
export const PROTOCOL_VERSION = 1;
export const EVENTS_TARGET = 'nbautoml.events';
export const EVENTS_COMM_ID = 'nbautoml.events';
export const COMMANDS_TARGET = 'nbautoml.commands';
export const RUN_STATES = [
  'queued',
  'running',
  'paused',
  'finished',
  'stopped',
  'failed',
  'interrupted',
] as const;
export const FINAL_STATES = ['finished', 'stopped', 'failed', 'interrupted'] as const;
export const TRIAL_STATES = [
  'waiting',
  'running',
  'complete',
  'stopped_early',
  'failed',
  'cancelled',
] as const;
export const COMMANDS = ['Pause', 'Resume', 'Stop', 'Interrupt', 'CancelTrial', 'Enqueue'] as const;

/** How many trials are in each state. */
export interface Counts {
  waiting: number;
  running: number;
  complete: number;
  stopped_early: number;
  failed: number;
  cancelled: number;
}

/** The best trial so far. */
export interface Best {
  trial: number;
  value: number;
  params: Record<string, unknown>;
}

/**
 * One of several objectives: the column `key` of the metrics, and which way is better.
 *
 * `least` and `most` are the limits that were asked for; `before` is what the model had that
 * the run began with. `unit` is "" for plain numbers; bytes are shown as KB and MB.
 */
export interface Aim {
  key: string;
  label: string;
  unit: '' | 'ms' | 'bytes' | 'mWh';
  direction: 'minimize' | 'maximize';
  least: number | null;
  most: number | null;
  before: number | null;
}

/**
 * What stands above the table. Times are seconds since 1970 (UTC), durations seconds.
 *
 * `n_trials` and `wall_seconds` are the budget; `eta_s` is the estimated time that is left;
 * `data` is a line for people; `plan` says how the trials are executed and why. With several
 * objectives `objectives` has their names, `aims` what is known of each, and `front` the
 * trials that none beats in all.
 */
export interface Header {
  name: string;
  kind: string;
  state: string;
  message: string;
  metric: string;
  direction: 'minimize' | 'maximize';
  task: string;
  data: string;
  device: string;
  plan: string;
  sampler: string;
  stopper: string;
  created_at: number;
  started_at: number | null;
  ended_at: number | null;
  eta_s: number | null;
  elapsed_s: number;
  counts: Counts;
  n_trials: number | null;
  wall_seconds: number | null;
  best: Best | null;
  objectives?: string[];
  aims?: Aim[];
  front?: number[];
}

/** A column of the trial table beside number, state, value, epoch and duration. */
export interface Column {
  key: string;
  label: string;
  group: 'param' | 'metric';
  kind: 'float' | 'int' | 'text';
  unit?: '' | 'ms' | 'bytes' | 'mWh';
}

/**
 * Rows of the table by column: all lists are as long as `number`.
 *
 * `value` is the first objective. `params` holds null where a parameter was not active,
 * `metrics` where a metric was not measured. `error` is sparse, by trial number.
 */
export interface Trials {
  number: number[];
  state: string[];
  value: (number | null)[];
  epoch: (number | null)[];
  duration_s: (number | null)[];
  params: Record<string, unknown[]>;
  metrics: Record<string, (number | null)[]>;
  error: Record<string, string>;
}

/**
 * One curve: `name` of `trial` at `x`. In a delta, a piece to be appended to that curve.
 *
 * `begins` stands in deltas only: false says that there are older points. A client that does not
 * hold them leaves the piece out (it would show half a curve) and asks for the whole when it needs it.
 */
export interface Line {
  trial: number;
  name: string;
  x: number[];
  y: (number | null)[];
  begins?: boolean;
}

/**
 * The curves that a snapshot holds, decimated.
 *
 * `names` are all quantities that have curves (others are asked for by `CurvesRequest`);
 * those in `step_names` are measured at optimiser steps, the rest at epochs.
 */
export interface Curves {
  metric: string;
  names: string[];
  step_names: string[];
  lines: Line[];
}

/** A line of the run's log. */
export interface LogEntry {
  time: number;
  level: string;
  text: string;
  trial: number | null;
}

/**
 * A run at one moment, bounded in size: enough to draw everything with no kernel.
 *
 * `n_trials_left_out` rows were dropped to keep it small; the best and the newest are there.
 * `log` holds the last 50 lines.
 */
export interface Snapshot {
  v: number;
  run: string;
  seq: number;
  taken_at: number;
  header: Header;
  columns: Column[];
  trials: Trials;
  curves: Curves;
  log: LogEntry[];
  n_trials_left_out: number;
}

/**
 * What the output of a cell holds: the snapshot as one compact JSON text.
 *
 * A notebook file puts every element of a list on a line of its own, indented: a snapshot of
 * 200 KB would be saved as 500 KB. A text stays one line.
 */
export interface Saved {
  v: number;
  run: string;
  taken_at: number;
  text: string;
}

/**
 * What happened to one run since `base`.
 *
 * In this order: drop the lines of the trials in `restarted` (they run again); replace or add
 * the rows in `trials`; append `lines` and `log`; take `header` as it is, and `columns`
 * and `names` where they are given (a new one appeared). `final`: nothing more will come.
 */
export interface Delta {
  run: string;
  base: number;
  seq: number;
  taken_at: number;
  header: Header;
  columns?: Column[];
  names?: string[];
  step_names?: string[];
  restarted: number[];
  trials: Trials;
  lines: Line[];
  log: LogEntry[];
  final: boolean;
}

/** News of all runs, twice a second, and up to ten times where something was asked; `to` is null: for everybody. */
export interface Tick {
  type: 'tick';
  v: number;
  to: string | null;
  runs: Delta[];
}

/** The answer to a `Hello` whose `have` is not the newest. */
export interface SnapshotMessage {
  type: 'snapshot';
  v: number;
  to: string;
  snapshot: Snapshot;
}

/**
 * The answer to each `Hello`, and sent anew when the writer changes.
 *
 * Exactly one client a run is its `writer`: the one that may put newer snapshots into the notebook.
 * `seq` is the newest that the kernel knows.
 */
export interface Welcome {
  type: 'welcome';
  v: number;
  to: string;
  cid: string | null;
  run: string;
  seq: number;
  writer: boolean;
}

/** The answer to each `CommandMessage` (and to what cannot be read, where it has a `cid`). */
export interface Ack {
  type: 'ack';
  v: number;
  to: string;
  cid: string;
  ok: boolean;
  text: string;
}

/** This kernel finds no record of the run: stay with the saved snapshot. */
export interface Unknown {
  type: 'unknown';
  v: number;
  to: string;
  cid: string | null;
  run: string;
}

/** The answer to a `CurvesRequest`. */
export interface LinesMessage {
  type: 'lines';
  v: number;
  to: string;
  cid: string;
  run: string;
  name: string;
  lines: Line[];
}

/** A layer as it was, or as it is: null where it was not written or was no number. */
export interface LayerSide {
  weights: number | null;
  macs: number | null;
  bits: number | null;
  out: number | null;
  ms: number | null;
}

/** A layer before and after; null on the side where it is not there. */
export interface LayerRow {
  name: string;
  kind: string;
  before: LayerSide | null;
  after: LayerSide | null;
}

/**
 * The answer to a `TrialRequest`.
 *
 * `use` is the Python line that gives the trial's model, "" where none was kept. `layers` are
 * those of a compressed model, `n_layers_left_out` of which were too many; `problem` says why
 * a table that was written cannot be shown.
 */
export interface TrialMessage {
  type: 'trial';
  v: number;
  to: string;
  cid: string;
  run: string;
  trial: number;
  use: string;
  layers: LayerRow[];
  n_layers_left_out: number;
  problem: string;
}

/**
 * A view of `run` wants to be live; `have` is the seq that it shows, null for none.
 *
 * `client` is one for all views of a run in one document; say it again after a gap, and each
 * 30 s while the run goes on, as a sign of life.
 */
export interface Hello {
  type: 'hello';
  v: number;
  client: string;
  cid: string;
  run: string;
  have: number | null;
}

/** The client shows the run no more. */
export interface Bye {
  type: 'bye';
  client: string;
  run: string;
}

/** A button: `command` is one of the record's commands, e.g. `{"type": "CancelTrial", "trial": 3}`. */
export interface CommandMessage {
  type: 'command';
  client: string;
  cid: string;
  run: string;
  command: Record<string, unknown>;
}

/** Curves of `name` for some trials, at higher resolution than the snapshot's. */
export interface CurvesRequest {
  type: 'curves';
  client: string;
  cid: string;
  run: string;
  trials: number[];
  name: string;
}

/** What was kept of a trial that ended: its model, and the layers of that. */
export interface TrialRequest {
  type: 'trial';
  client: string;
  cid: string;
  run: string;
  trial: number;
}

export type ToBrowser = Tick | SnapshotMessage | Welcome | Ack | Unknown | LinesMessage | TrialMessage;
export type FromBrowser = Hello | Bye | CommandMessage | CurvesRequest | TrialRequest;

/** What goes into the output of a cell. */
export function toSaved(snapshot: Snapshot): Saved {
  return {
    v: snapshot.v,
    run: snapshot.run,
    taken_at: snapshot.taken_at,
    text: JSON.stringify(snapshot),
  };
}

/** The snapshot in the output of a cell, or null where there is none that this version can read. */
export function fromSaved(data: unknown): Snapshot | null {
  const saved = data as Partial<Saved> | null | undefined;
  if (saved?.v !== PROTOCOL_VERSION || typeof saved.text !== 'string') return null;
  try {
    const snapshot = JSON.parse(saved.text) as Snapshot;
    return snapshot?.v === PROTOCOL_VERSION && snapshot.run === saved.run ? snapshot : null;
  } catch {
    return null;
  }
}
