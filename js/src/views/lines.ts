// Which curves the chart draws, in which colours, and which are missing.

import type { ChartLine } from '../chart/chart';
import { N_LEVELS } from '../chart/palette';
import type { Emphasis } from '../chart/sheet';
import type { Curve } from '../state/curves';
import { numberAt, rowOf } from '../state/rows';
import type { RunState } from '../state/run';

/** Lines that are drawn at most. */
export const MAX_LINES = 300;

export interface Chosen {
  readonly lines: readonly ChartLine[];
  /** Trials that should have a curve here, but whose curve is not held. */
  readonly missing: readonly number[];
  /** Trials that may have a curve, drawn or not. */
  readonly n: number;
}

/** The rows of a filtered table, best first; those without a value come last, the newest first. */
function byValue(state: RunState, shown: Uint32Array): number[] {
  const sign = state.header.direction === 'maximize' ? -1 : 1;
  const rank = (row: number): number => {
    const value = numberAt(state.rows, 'value', row);
    return Number.isNaN(value) ? Number.POSITIVE_INFINITY : sign * value;
  };
  return Array.from(shown).sort((a, b) => {
    const [first, second] = [rank(a), rank(b)];
    return first === second ? b - a : first - second;
  });
}

/**
 * The curves of one quantity to draw: picked ones, the best, those running, then the better half of
 * the places by value and the other half by age.
 *
 * @param shown rows that pass the filter.
 * @param picked picked trials, drawn even where the filter hides them.
 */
export function chooseLines(
  state: RunState,
  name: string,
  shown: Uint32Array,
  picked: Iterable<number>,
  limit: number = MAX_LINES,
): Chosen {
  const { rows, header } = state;
  const curves = state.curves.get(name) ?? new Map<number, Curve>();
  const ranked = byValue(state, shown).filter((row) => rows.state[row] !== 'waiting');
  const wanted = new Set<number>(picked);
  if (header.best) wanted.add(header.best.trial);
  const trialOf = (row: number) => rows.number[row]!;
  for (const row of ranked) if (rows.state[row] === 'running') wanted.add(trialOf(row));
  const half = wanted.size + Math.ceil((limit - wanted.size) / 2);
  for (const row of ranked) if (wanted.size < half) wanted.add(trialOf(row));
  const newest = [...ranked].sort((a, b) => b - a);
  for (const row of newest) if (wanted.size < limit) wanted.add(trialOf(row));
  // What is missing makes room for what is there.
  const held = [...wanted].filter((trial) => curves.has(trial));
  // Before the end of its first epoch a trial has no value of an epoch that could be asked for.
  const isStep = state.stepNames.includes(name);
  const mayHave = (trial: number) => isStep || !isFirstEpoch(state, trial);
  const missing = [...wanted].filter((trial) => !curves.has(trial) && mayHave(trial));
  const drawn = new Set(held);
  for (const row of ranked) if (drawn.size < limit && curves.has(trialOf(row))) drawn.add(trialOf(row));
  const nRanked = ranked.filter((row) => !Number.isNaN(numberAt(rows, 'value', row))).length;
  const place = new Map(ranked.map((row, i) => [trialOf(row), i]));
  const lines = [...drawn].map((trial): ChartLine => {
    const row = rowOf(rows, trial);
    const isRunning = row >= 0 && rows.state[row] === 'running';
    const share = nRanked > 1 ? 1 - (place.get(trial) ?? nRanked) / nRanked : 1;
    const level = Math.max(0, Math.min(N_LEVELS - 1, Math.floor(share * N_LEVELS)));
    return { trial, curve: curves.get(trial)!, level: isRunning ? 'running' : level };
  });
  // The better ones lie above the worse, what runs above all.
  const height = ({ level }: ChartLine) => (level === 'running' ? N_LEVELS : level);
  lines.sort((a, b) => height(a) - height(b));
  return { lines, missing, n: ranked.length };
}

function isFirstEpoch({ rows }: RunState, trial: number): boolean {
  const row = rowOf(rows, trial);
  return row >= 0 && rows.state[row] === 'running' && Number.isNaN(numberAt(rows, 'epoch', row));
}

/** The curves that stand out: the best one, and the picked ones in their colours. */
export function emphasizedLines(
  lines: readonly ChartLine[],
  best: number | null,
  picked: ReadonlyMap<number, number>,
  colours: { best: string; picked: readonly string[] },
): Emphasis[] {
  const found: Emphasis[] = [];
  for (const { trial, curve } of lines) {
    const colour = picked.get(trial);
    if (colour !== undefined) found.push({ trial, curve, colour: colours.picked[colour]!, isDashed: false });
    else if (trial === best) found.push({ trial, curve, colour: colours.best, isDashed: false });
  }
  return found;
}
