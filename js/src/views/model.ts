// What one view of a run shows: the run's state, and what its reader chose. The views are functions of this.

import { computed, type ReadonlySignal, type Signal, signal } from '@preact/signals';
import type { TrialMessage } from '../protocol';
import type { Link, Notice, Reason, RunSession } from '../session/session';
import { defaultSort, type Field, fieldsOf, order, type Sort } from '../state/fields';
import { type Filter, parseFilter, shownRows } from '../state/filter';
import { isFinal, type RunState } from '../state/run';
import { type Translate, translator } from '../strings';

/** Colours for picked trials; there are as many in the style sheet. */
export const N_COLOURS = 8;

export interface Actions {
  command(command: Record<string, unknown>): void;
  requestCurves(name: string, trials: readonly number[]): void;
  requestTrial(trial: number): void;
}

export type ChartKind = 'curves' | 'front';

/** Places in `header.aims`; `size` is -1 for marks of one size. */
export interface FrontAxes {
  readonly x: number;
  readonly y: number;
  readonly size: number;
}

export class PanelModel {
  readonly t: Translate;
  /** Frozen while the view is off screen. */
  readonly state: Signal<RunState>;
  readonly link: ReadonlySignal<Link>;
  readonly notice: ReadonlySignal<Notice | null>;
  /** What was kept of trials that were asked for. */
  readonly kept: ReadonlySignal<ReadonlyMap<number, TrialMessage>>;
  readonly fields: ReadonlySignal<Field[]>;

  /** Null until the reader sorts: see `sort`. */
  readonly chosenSort = signal<Sort | null>(null);
  readonly filterText = signal('');
  readonly filter: ReadonlySignal<Filter>;
  readonly sort: ReadonlySignal<Sort>;
  /** Picked trials, each with its colour. */
  readonly picked = signal<ReadonlyMap<number, number>>(new Map());
  /** The row that the arrow keys move from. */
  readonly active = signal<number | null>(null);
  readonly hovered = signal<number | null>(null);
  /** The trial whose row was asked for last, anew each time. */
  readonly revealed = signal<{ readonly trial: number } | null>(null);
  /** Which picture stands beside the table; null for the one that suits the run. */
  readonly chosenChart = signal<ChartKind | null>(null);
  readonly chart: ReadonlySignal<ChartKind>;
  /** The objectives on the axes and in the sizes of the front's marks, by place; null for the first three. */
  readonly chosenAxes = signal<FrontAxes | null>(null);
  /** Whether the horizontal axis of the front is logarithmic; null for what suits the values. */
  readonly isFrontLog = signal<boolean | null>(null);
  /** Whether the front's picture reaches to those that are far off. */
  readonly isFrontWhole = signal(false);
  /** The quantity that the chart shows; null for the objective. */
  readonly chosenName = signal<string | null>(null);
  readonly name: ReadonlySignal<string>;
  readonly isLog = signal(false);
  readonly isLogOpen = signal(false);
  readonly bodyHeight = signal(330);
  /** Whether the colours around are dark. */
  readonly isDark = signal(false);
  /** Rows in the order of the table, as rows of `state.rows`. */
  readonly rows: ReadonlySignal<Uint32Array>;
  /** Held while the pointer is over the table, so that rows don't jump away from it. */
  readonly isHeld = signal(false);
  private _held: { key: string; rows: Uint32Array; n: number } | null = null;

  constructor(
    state: RunState,
    session: Pick<RunSession, 'link' | 'notice' | 'kept' | 'age'>,
    readonly actions: Actions,
    readonly language: 'en' | 'zh',
  ) {
    this.t = translator(language);
    this.state = signal(state);
    this.link = session.link;
    this.notice = session.notice;
    this.kept = session.kept;
    this.ageOf = () => session.age;
    this.fields = computed(() => fieldsOf(this.state.value));
    this.filter = computed(() => parseFilter(this.filterText.value, this.fields.value));
    this.sort = computed(
      () => this.chosenSort.value ?? defaultSort(this.state.value, isFinal(this.state.value)),
    );
    this.name = computed(() => {
      const { names, metric } = this.state.value;
      const chosen = this.chosenName.value;
      if (chosen !== null && names.includes(chosen)) return chosen;
      return names.includes(metric) ? metric : (names[0] ?? metric);
    });
    this.rows = computed(() => this._order());
    this.chart = computed(() => {
      const { aims } = this.state.value.header;
      return aims && aims.length > 1 ? (this.chosenChart.value ?? 'front') : 'curves';
    });
  }

  /** Milliseconds since the header came in. */
  readonly ageOf: () => number;

  private _order(): Uint32Array {
    const { rows } = this.state.value;
    const sort = this.sort.value;
    const key = `${sort.id} ${sort.isDescending} ${this.filterText.value}`;
    if (this.isHeld.value && this._held?.key === key && this._held.n <= rows.n) return this._held.rows;
    const found = order(rows, sort, shownRows(rows, this.filter.value, this.fields.value));
    this._held = { key, rows: found, n: rows.n };
    return found;
  }

  /** Whether `state` is the last word, as far as it is known. */
  get isFinal(): boolean {
    return isFinal(this.state.value);
  }

  /** Why the buttons don't work; null where they do. */
  readonly whyNot = computed<'connecting' | Reason | null>(() => {
    const link = this.link.value;
    if (link.kind === 'static') return link.reason;
    return link.kind === 'connecting' ? 'connecting' : null;
  });

  /** Pick one trial, or with `more` add it to those picked or take it away. */
  pick(trial: number, more: boolean): void {
    const picked = this.picked.peek();
    this.active.value = trial;
    if (picked.has(trial) && (more || picked.size === 1)) {
      const rest = new Map(picked);
      rest.delete(trial);
      this.picked.value = rest;
    } else this.setPicked(more ? [...picked.keys(), trial] : [trial]);
  }

  /** Pick a trial in a picture, and bring its row into sight. */
  pickAndReveal(trial: number, more: boolean): void {
    this.pick(trial, more);
    this.revealed.value = { trial };
  }

  /** Pick exactly these; those that were picked keep their colours. */
  setPicked(trials: readonly number[]): void {
    const before = this.picked.peek();
    const next = new Map<number, number>();
    for (const trial of trials) if (before.has(trial)) next.set(trial, before.get(trial)!);
    for (const trial of trials) if (!next.has(trial)) next.set(trial, freeColour(next));
    this.picked.value = next;
  }

  /** Sort by a column; again turns it around. Numbers begin where the best is likely. */
  sortBy(field: Field): void {
    const { id, isDescending } = this.sort.peek();
    if (id === field.id) this.chosenSort.value = { id, isDescending: !isDescending };
    else {
      const isMaximized = id !== 'value' && this.state.peek().header.direction === 'maximize';
      const aim = this.state.peek().header.aims?.find(({ key }) => `metric:${key}` === field.id);
      const isDescending = field.id === 'value' ? isMaximized : aim?.direction === 'maximize';
      this.chosenSort.value = { id: field.id, isDescending };
    }
  }
}

/** The colour that is used least. */
function freeColour(picked: ReadonlyMap<number, number>): number {
  const uses = new Array<number>(N_COLOURS).fill(0);
  for (const colour of picked.values()) uses[colour]! += 1;
  return uses.indexOf(Math.min(...uses));
}
