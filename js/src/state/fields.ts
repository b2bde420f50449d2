// What a column of the table shows, and the order of rows by it.

import type { Unit } from '../format';
import { TRIAL_STATES } from '../protocol';
import type { Cells, Rows } from './rows';
import type { RunState } from './run';

export interface Field {
  readonly id: string;
  /** What a person calls it, and types in the filter. */
  readonly label: string;
  readonly group: 'trial' | 'param' | 'metric';
  readonly kind: 'number' | 'int' | 'duration' | 'state' | 'text';
  readonly unit?: Unit;
}

/** The columns of the table: number, state, value, front, parameters, metrics, epoch, duration, error. */
export function fieldsOf(state: RunState): Field[] {
  const { header, columns, rows } = state;
  const kindOf = { float: 'number', int: 'int', text: 'text' } as const;
  const own = (group: 'param' | 'metric'): Field[] =>
    columns
      // The objective has a column of its own already.
      .filter((column) => column.group === group && !(group === 'metric' && column.key === header.metric))
      .map(({ key, label, kind, unit }) => ({
        id: `${group}:${key}`,
        label,
        group,
        kind: kindOf[kind],
        unit,
      }));
  const unit = columns.find(({ group, key }) => group === 'metric' && key === header.metric)?.unit;
  const fields: Field[] = [
    { id: 'number', label: '#', group: 'trial', kind: 'int' },
    { id: 'state', label: 'state', group: 'trial', kind: 'state' },
    { id: 'value', label: header.metric, group: 'metric', kind: 'number', unit },
  ];
  const metrics = own('metric');
  if (header.aims && header.aims.length > 1) {
    // What the run is about stands beside the first objective.
    const others = new Set(header.aims.map(({ key }) => `metric:${key}`));
    fields.push(...metrics.filter(({ id }) => others.has(id)));
    fields.push({ id: 'front', label: 'front', group: 'trial', kind: 'text' });
  }
  fields.push(
    ...own('param'),
    ...metrics.filter((field) => !fields.includes(field)),
    { id: 'epoch', label: 'epoch', group: 'trial', kind: 'int' },
    { id: 'duration_s', label: 'duration', group: 'trial', kind: 'duration' },
  );
  if (rows.cells.error) fields.push({ id: 'error', label: 'error', group: 'trial', kind: 'text' });
  return fields;
}

/** The cells of a field. */
export function cellsOf(rows: Rows, id: string): Cells | undefined {
  if (id === 'number') return { kind: 'number', data: rows.number };
  if (id === 'state') return { kind: 'text', data: rows.state };
  return rows.cells[id];
}

export interface Sort {
  readonly id: string;
  readonly isDescending: boolean;
}

/** Texts as numbers of the same order, so that a text column sorts like one of numbers. */
function ranks(id: string, texts: readonly (string | null)[]): Float64Array {
  const distinct = [...new Set(texts)].filter((text): text is string => text !== null);
  const collator = new Intl.Collator('en', { numeric: true });
  const states = TRIAL_STATES as readonly string[];
  if (id === 'state') distinct.sort((a, b) => states.indexOf(a) - states.indexOf(b));
  else distinct.sort(collator.compare);
  const rank = new Map(distinct.map((text, i) => [text, i]));
  return Float64Array.from(texts, (text) => (text === null ? Number.NaN : rank.get(text)!));
}

/**
 * Rows in the order of `sort`, those that have no value last either way, equal ones by number.
 *
 * @param isShown which rows are there at all; null for all.
 */
export function order(rows: Rows, sort: Sort, isShown: Uint8Array | null): Uint32Array {
  const cells = cellsOf(rows, sort.id);
  const keys = cells?.kind === 'text' ? ranks(sort.id, cells.data) : cells?.data;
  const filled: number[] = [];
  const empty: number[] = [];
  for (let row = 0; row < rows.n; row++) {
    if (isShown && !isShown[row]) continue;
    if (!keys || Number.isNaN(keys[row]!)) empty.push(row);
    else filled.push(row);
  }
  const result = new Uint32Array(filled.length + empty.length);
  const head = Uint32Array.from(filled);
  if (keys) {
    const sign = sort.isDescending ? -1 : 1;
    head.sort((a, b) => sign * (keys[a]! - keys[b]!) || a - b);
  }
  result.set(head);
  result.set(empty, filled.length);
  return result;
}

/** What the table is sorted by before a person says so: the newest first, or, once it ended, the best. */
export function defaultSort(state: RunState, isEnded: boolean): Sort {
  if (!isEnded) return { id: 'number', isDescending: true };
  return { id: 'value', isDescending: state.header.direction === 'maximize' };
}
