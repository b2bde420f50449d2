// How each column of the table is written, and how wide it is.

import { type Format, formatOf, quantityFormat, shortDuration, type Unit } from '../format';
import { cellsOf, type Field } from '../state/fields';
import { numberAt } from '../state/rows';
import type { RunState } from '../state/run';
import { isKey, type Translate } from '../strings';

export interface ColumnLook {
  readonly field: Field;
  readonly title: string;
  readonly isRight: boolean;
  readonly width: number;
  /** A row's cell as text. */
  readonly text: (row: number) => string;
}

const USUAL_CHAR_PX = 7.2;
const PADDING_PX = 18;
const SORT_MARK_PX = 14;
const LIMITS: Readonly<Record<Field['kind'], readonly [number, number]>> = {
  number: [58, 150],
  int: [44, 120],
  duration: [64, 110],
  state: [116, 150],
  text: [60, 220],
};

/** Columns of texts that a mark stands beside: a colour, the star of the best, the front's diamond. */
const WITH_MARKS: ReadonlySet<string> = new Set(['number', 'value', 'front']);

/** How wide a text is, about, in digits of the table; Chinese signs take two. */
function digitsOf(text: string): number {
  let units = 0;
  for (const sign of text) units += sign.codePointAt(0)! > 0x2e7f ? 2 : 1;
  return units;
}

/** How wide a digit is in an element's font, which is the reader's choice; some are a sixth wider than others. */
export function digitPx(element: HTMLElement): number {
  const context = document.createElement('canvas').getContext('2d');
  if (!context) return USUAL_CHAR_PX;
  const { fontStyle, fontWeight, fontSize, fontFamily } = getComputedStyle(element);
  context.font = `${fontStyle} ${fontWeight} ${fontSize} ${fontFamily}`;
  return context.measureText('0123456789').width / 10 || USUAL_CHAR_PX;
}

function textFunction(state: RunState, field: Field, t: Translate): (row: number) => string {
  const cells = cellsOf(state.rows, field.id);
  if (!cells) return () => '';
  if (field.kind === 'state') {
    return (row) => {
      const key = `trial.${state.rows.state[row]}`;
      return isKey(key) ? t(key) : (state.rows.state[row] ?? '').replace('_', ' ');
    };
  }
  if (cells.kind === 'text') {
    if (field.id === 'front') return (row) => (cells.data[row] === null ? '' : t('field.front'));
    return (row) => cells.data[row] ?? '';
  }
  if (field.id === 'value') return valueText(state, cells.data, field.unit);
  const format = formatFor(field, cells.data);
  return (row) => format(cells.data[row]!);
}

function formatFor({ kind, unit }: Field, data: Float64Array): Format {
  if (kind === 'duration') return shortDuration;
  return unit ? quantityFormat(data, unit) : formatOf(data, kind === 'int' ? 'int' : 'float');
}

/** A trial that runs has no value yet: what it measured last stands in its place. */
function valueText(state: RunState, values: Float64Array, unit: Unit | undefined): (row: number) => string {
  const { rows, header } = state;
  const latest = rows.cells[`metric:${header.metric}`];
  const shown = values.slice();
  if (latest?.kind === 'number') {
    for (let row = 0; row < rows.n; row++) if (isProvisional(state, row)) shown[row] = latest.data[row]!;
  }
  const format = quantityFormat(shown, unit);
  return (row) => format(shown[row]!);
}

/** Whether the value of a row is only what was measured last. */
export function isProvisional({ rows }: RunState, row: number): boolean {
  return rows.state[row] === 'running' && Number.isNaN(numberAt(rows, 'value', row));
}

/** The looks of all columns. Widths follow the widest of some cells, or what the reader dragged. */
export function columnLooks(
  state: RunState,
  fields: readonly Field[],
  t: Translate,
  dragged: ReadonlyMap<string, number>,
  charPx = USUAL_CHAR_PX,
): ColumnLook[] {
  const { n } = state.rows;
  const step = Math.max(1, Math.floor(n / 60));
  return fields.map((field) => {
    const text = textFunction(state, field, t);
    const key = `field.${field.id}`;
    const title = isKey(key) ? t(key) : field.label;
    let longest = 0;
    for (let row = 0; row < n; row += step) longest = Math.max(longest, digitsOf(text(row)));
    if (n > 0) longest = Math.max(longest, digitsOf(text(n - 1)));
    const widest = Math.max(digitsOf(title) * charPx + SORT_MARK_PX, longest * charPx);
    const [least, most] = LIMITS[field.kind];
    const icon = field.kind === 'state' ? 20 : WITH_MARKS.has(field.id) ? 16 : 0;
    const fitting = Math.min(most, Math.max(least, widest + icon + PADDING_PX));
    return {
      field,
      title,
      isRight: field.kind !== 'text' && field.kind !== 'state',
      width: Math.round(dragged.get(field.id) ?? fitting),
      text,
    };
  });
}
