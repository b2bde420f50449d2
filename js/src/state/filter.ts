// The filter box: words to be found anywhere in a row, and comparisons such as `lr>0.01` or `state:failed`.

import { parseQuantity } from '../format';
import { cellsOf, type Field } from './fields';
import type { Rows } from './rows';

export type Operator = '>' | '>=' | '<' | '<=' | '=' | '!=' | ':';

export interface Comparison {
  readonly kind: 'comparison';
  readonly field: Field;
  readonly operator: Operator;
  readonly text: string;
  readonly number: number;
}

export interface Word {
  readonly kind: 'word';
  readonly text: string;
}

export type Term = Comparison | Word;

export type Problem =
  | { readonly kind: 'no-column'; readonly name: string; readonly nearest: string | null }
  | { readonly kind: 'not-a-number'; readonly name: string; readonly text: string };

export interface Filter {
  readonly terms: readonly Term[];
  /** What could not be understood: shown below the box, and left out. */
  readonly problem: Problem | null;
}

const TERM = /("[^"]*"|[^\s<>=!:]+)\s*(>=|<=|!=|==|>|<|=|:)\s*("[^"]*"|[^\s]+)|"([^"]*)"|(\S+)/gu;

const bare = (text: string): string => text.replace(/^"(.*)"$/u, '$1');

/** How many letters have to change, at most `limit + 1`. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}

function nearest(name: string, fields: readonly Field[]): string | null {
  let best: { label: string; cost: number } | null = null;
  for (const { label } of fields) {
    const cost = distance(name.toLowerCase(), label.toLowerCase());
    if (cost <= Math.max(1, label.length / 3) && (!best || cost < best.cost)) best = { label, cost };
  }
  return best?.label ?? null;
}

const ALIASES: Readonly<Record<string, string>> = {
  trial: 'number',
  number: 'number',
  value: 'value',
  time: 'duration_s',
};

function fieldOf(name: string, fields: readonly Field[]): Field | undefined {
  const wanted = name.toLowerCase();
  const alias = Object.hasOwn(ALIASES, wanted) ? ALIASES[wanted] : undefined;
  return (
    fields.find((field) => field.label === name) ??
    fields.find((field) => field.label.toLowerCase() === wanted) ??
    fields.find((field) => field.id === (alias ?? wanted))
  );
}

/** The terms of what was typed; all have to hold. */
export function parseFilter(text: string, fields: readonly Field[]): Filter {
  const terms: Term[] = [];
  let problem: Problem | null = null;
  for (const match of text.matchAll(TERM)) {
    const [whole, name, operator, operand, quoted, word] = match;
    if (name === undefined || operator === undefined || operand === undefined) {
      const plain = quoted ?? word ?? whole;
      const trial = /^#(\d+)$/u.exec(plain);
      const field = trial ? fieldOf('number', fields) : undefined;
      if (trial && field) {
        terms.push({ kind: 'comparison', field, operator: '=', text: trial[1]!, number: Number(trial[1]) });
      } else if (plain !== '') terms.push({ kind: 'word', text: plain.toLowerCase() });
      continue;
    }
    const field = fieldOf(bare(name), fields);
    if (!field) {
      problem ??= { kind: 'no-column', name: bare(name), nearest: nearest(bare(name), fields) };
      continue;
    }
    const value = bare(operand);
    const number = parseQuantity(value, field.unit);
    const isText = field.kind === 'text' || field.kind === 'state';
    if (!isText && Number.isNaN(number)) {
      problem ??= { kind: 'not-a-number', name: field.label, text: value };
      continue;
    }
    const sign = (operator === '==' ? '=' : operator) as Operator;
    terms.push({ kind: 'comparison', field, operator: sign, text: value.toLowerCase(), number });
  }
  return { terms, problem };
}

function holdsNumber(value: number, { operator, number }: Comparison): boolean {
  if (Number.isNaN(value)) return operator === '!=';
  switch (operator) {
    case '>':
      return value > number;
    case '>=':
      return value >= number;
    case '<':
      return value < number;
    case '<=':
      return value <= number;
    case '!=':
      return !isNear(value, number);
    default:
      return isNear(value, number);
  }
}

/** Equal in the digits that are shown: six of them come from the kernel. */
function isNear(a: number, b: number): boolean {
  return a === b || Math.abs(a - b) <= 1e-5 * Math.max(Math.abs(a), Math.abs(b));
}

function holdsText(value: string | null, { field, operator, text, number }: Comparison): boolean {
  const found = field.kind === 'state' ? (value ?? '').replace('_', ' ') : (value ?? '');
  const wanted = field.kind === 'state' ? text.replace('_', ' ') : text;
  const low = found.toLowerCase();
  switch (operator) {
    case ':':
      return low.includes(wanted);
    case '=':
      return low === wanted;
    case '!=':
      return low !== wanted;
    default:
      return (
        value !== null && holdsNumber(Number(value), { field, operator, text, number, kind: 'comparison' })
      );
  }
}

/** Marks the rows in which every term holds; null when there are no terms. */
export function shownRows(rows: Rows, filter: Filter, fields: readonly Field[]): Uint8Array | null {
  if (filter.terms.length === 0) return null;
  const isShown = new Uint8Array(rows.n).fill(1);
  for (const term of filter.terms) {
    if (term.kind === 'word') narrowByWord(rows, term.text, fields, isShown);
    else narrowByComparison(rows, term, isShown);
  }
  return isShown;
}

function narrowByComparison(rows: Rows, term: Comparison, isShown: Uint8Array): void {
  const cells = cellsOf(rows, term.field.id);
  for (let row = 0; row < rows.n; row++) {
    if (!isShown[row]) continue;
    const holds =
      cells?.kind === 'number'
        ? holdsNumber(cells.data[row]!, term)
        : holdsText(cells?.data[row] ?? null, term);
    if (!holds) isShown[row] = 0;
  }
}

function narrowByWord(rows: Rows, word: string, fields: readonly Field[], isShown: Uint8Array): void {
  const texts = fields.map((field) => cellsOf(rows, field.id));
  // What is asked of a column of texts is the same for equal texts: a word is searched for in each once.
  const known = new Map<string, boolean>();
  const has = (text: string | null): boolean => {
    if (text === null) return false;
    let found = known.get(text);
    if (found === undefined) {
      found = text.toLowerCase().replace('_', ' ').includes(word.replace('_', ' '));
      known.set(text, found);
    }
    return found;
  };
  for (let row = 0; row < rows.n; row++) {
    if (!isShown[row]) continue;
    const found = texts.some((cells) => {
      if (!cells) return false;
      if (cells.kind === 'text') return has(cells.data[row] ?? null);
      return !Number.isNaN(cells.data[row]!) && String(cells.data[row]).startsWith(word);
    });
    if (!found) isShown[row] = 0;
  }
}
