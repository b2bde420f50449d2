// The trial table as columns: typed arrays for numbers, so that 100,000 rows sort in milliseconds.

import { textOf } from '../format';
import type { Column, Trials } from '../protocol';

export interface NumberCells {
  readonly kind: 'number';
  /** NaN where there is none. */
  readonly data: Float64Array;
}

export interface TextCells {
  readonly kind: 'text';
  readonly data: readonly (string | null)[];
}

export type Cells = NumberCells | TextCells;

/** The rows in ascending order of `number`; never changed in place. */
export interface Rows {
  readonly n: number;
  readonly number: Float64Array;
  readonly state: readonly string[];
  /** By field id: `value`, `epoch`, `duration_s`, `error`, `param:lr`, `metric:loss` ... */
  readonly cells: Readonly<Record<string, Cells>>;
}

export const NO_ROWS: Rows = { n: 0, number: new Float64Array(0), state: [], cells: {} };

/** The row of a trial, or -1. */
export function rowOf(rows: Rows, trial: number): number {
  let [low, high] = [0, rows.n - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const found = rows.number[middle]!;
    if (found === trial) return middle;
    if (found < trial) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** A number in a column, NaN for none. */
export function numberAt(rows: Rows, id: string, row: number): number {
  const cells = rows.cells[id];
  return cells?.kind === 'number' ? cells.data[row]! : Number.NaN;
}

/** A text in a column, null for none. */
export function textAt(rows: Rows, id: string, row: number): string | null {
  const cells = rows.cells[id];
  return cells?.kind === 'text' ? (cells.data[row] ?? null) : null;
}

interface Incoming {
  kind: Cells['kind'];
  values: ArrayLike<unknown>;
}

/** All columns of a message by field id. */
function incoming(trials: Trials, columns: readonly Column[]): Record<string, Incoming> {
  const found: Record<string, Incoming> = {
    value: { kind: 'number', values: trials.value },
    epoch: { kind: 'number', values: trials.epoch },
    duration_s: { kind: 'number', values: trials.duration_s },
  };
  for (const column of columns) {
    const group = column.group === 'param' ? trials.params : trials.metrics;
    // A parameter may be called `constructor`.
    const values = Object.hasOwn(group, column.key) ? group[column.key] : undefined;
    const kind = column.kind === 'text' ? 'text' : 'number';
    if (values) found[`${column.group}:${column.key}`] = { kind, values };
  }
  const errors = trials.error ?? {};
  if (Object.keys(errors).length > 0) {
    found.error = { kind: 'text', values: trials.number.map((number) => errors[number] ?? null) };
  }
  return found;
}

const numberOf = (value: unknown): number =>
  typeof value === 'number' ? value : typeof value === 'boolean' ? Number(value) : Number.NaN;

interface Places {
  /** All trial numbers after the merge, ascending. */
  number: Float64Array;
  /** Row of each incoming trial. */
  target: Int32Array;
  /** New row of each old one; null where all stay. */
  moved: Int32Array | null;
}

function places(rows: Rows, numbers: readonly number[]): Places {
  const last = rows.n > 0 ? rows.number[rows.n - 1]! : -1;
  const added = [...new Set(numbers.filter((number) => number > last || rowOf(rows, number) < 0))];
  added.sort((a, b) => a - b);
  const number = new Float64Array(rows.n + added.length);
  number.set(rows.number);
  number.set(added, rows.n);
  // A trial that the snapshot had left out comes back between the others.
  const isInserted = added.length > 0 && added[0]! < last;
  if (isInserted) number.sort();
  const merged: Rows = { n: number.length, number, state: [], cells: {} };
  const target = Int32Array.from(numbers, (trial) => rowOf(merged, trial));
  const moved = isInserted ? Int32Array.from(rows.number, (trial) => rowOf(merged, trial)) : null;
  return { number, target, moved };
}

/** A column of `rows` copied to its new length, and to new places where `moved` says so. */
function copied(old: Cells | undefined, kind: Cells['kind'], n: number, moved: Int32Array | null): Cells {
  if (kind === 'number') {
    const data = new Float64Array(n).fill(Number.NaN);
    if (old?.kind === 'number') {
      if (moved) for (let i = 0; i < moved.length; i++) data[moved[i]!] = old.data[i]!;
      else data.set(old.data);
    }
    return { kind, data };
  }
  const data: (string | null)[] = new Array(n).fill(null);
  if (old?.kind === 'text') {
    for (let i = 0; i < old.data.length; i++) data[moved ? moved[i]! : i] = old.data[i]!;
  }
  return { kind, data };
}

/** The rows after those of a message were added or replaced. */
export function mergeRows(rows: Rows, trials: Trials, columns: readonly Column[]): Rows {
  if (trials.number.length === 0) return rows;
  const { number, target, moved } = places(rows, trials.number);
  const n = number.length;
  const state = copied({ kind: 'text', data: rows.state }, 'text', n, moved).data as string[];
  target.forEach((row, i) => {
    state[row] = trials.state[i] ?? '';
  });
  const news = incoming(trials, columns);
  const cells: Record<string, Cells> = {};
  for (const id of new Set([...Object.keys(rows.cells), ...Object.keys(news)])) {
    const fresh = news[id];
    const next = copied(rows.cells[id], fresh?.kind ?? rows.cells[id]!.kind, n, moved);
    const { data } = next;
    target.forEach((row, i) => {
      // A row that came again without this column (its error, say) has none now.
      const value = fresh?.values[i];
      if (next.kind === 'number') (data as Float64Array)[row] = numberOf(value);
      else (data as (string | null)[])[row] = textOf(value);
    });
    cells[id] = next;
  }
  return { n, number, state, cells };
}
