// The curves of the trials: which quantity, on which scale, and what is under the pointer.

import { effect, type ReadonlySignal, signal, untracked, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { CurvesChart, type HoverPlace } from '../chart/chart';
import { type Palette, readPalette } from '../chart/palette';
import { plainNumber, plainValue } from '../format';
import { cellsOf } from '../state/fields';
import { rowOf } from '../state/rows';
import { chooseLines, emphasizedLines } from './lines';
import type { PanelModel } from './model';

type Props = { model: PanelModel; switcher?: JSX.Element | null };

interface Hover extends HoverPlace {
  readonly trial: number;
}

export function Curves({ model, switcher }: Props): JSX.Element {
  const { t } = model;
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<CurvesChart | null>(null);
  const hover = useSignal<Hover | null>(null);
  const isZoomed = useSignal(false);
  const mayCut = useSignal(true);
  const isCut = useSignal(false);
  const drawn = useSignal({ drawn: 0, total: 0 });

  useEffect(() => {
    const node = host.current;
    // There is no canvas where there is no screen.
    if (!node || !document.createElement('canvas').getContext('2d')) return undefined;
    const palette = signal(readPalette(node));
    const plot = new CurvesChart(node, palette.peek(), {
      onHover: (trial, at) => {
        model.hovered.value = trial;
        hover.value = trial === null || !at ? null : { trial, ...at };
      },
      onPick: (trial, more) => model.pick(trial, more),
      onZoom: (value) => {
        isZoomed.value = value;
      },
    });
    chart.current = plot;
    const stopDrawing = keepDrawn(model, palette, plot, mayCut, (result) => {
      const before = drawn.peek();
      if (result.drawn !== before.drawn || result.total !== before.total) drawn.value = result;
      isCut.value = plot.isCut;
    });
    const stopHover = effect(() => plot.setHovered(model.hovered.value));
    let frame = 0;
    const stopTheme = effect(() => {
      void model.isDark.value;
      // The colours stand in the style of a parent, which is drawn first.
      frame = requestAnimationFrame(() => {
        const found = readPalette(node);
        if (JSON.stringify(found) !== JSON.stringify(palette.peek())) palette.value = found;
      });
    });
    const sizes = new ResizeObserver(() => plot.resize());
    sizes.observe(node);
    return () => {
      stopDrawing();
      stopHover();
      stopTheme();
      cancelAnimationFrame(frame);
      sizes.disconnect();
      plot.destroy();
      chart.current = null;
    };
  }, [model]);

  const { header, names, stepNames } = model.state.value;
  const name = model.name.value;
  const x = t(stepNames.includes(name) ? 'curves.step' : 'curves.epoch');
  const best = header.best ? `#${header.best.trial}, ${plainNumber(header.best.value)}` : '–';
  return (
    <section class="nba-curves">
      <div class="nba-tools">
        {switcher}
        <select
          class="nba-select"
          aria-label={t('curves.metric')}
          value={name}
          onChange={(event) => {
            model.chosenName.value = event.currentTarget.value;
          }}
        >
          {(names.length > 0 ? names : [name]).map((each) => (
            <option key={each} value={each}>
              {each}
            </option>
          ))}
        </select>
        <button
          type="button"
          class="nba-button nba-plain nba-toggle"
          aria-pressed={model.isLog.value}
          aria-label={t('curves.log-label')}
          title={t('curves.log-label')}
          onClick={() => {
            model.isLog.value = !model.isLog.value;
          }}
        >
          {t('curves.log')}
        </button>
        {(isCut.value || !mayCut.value) && !model.isLog.value && (
          <button
            type="button"
            class="nba-button nba-plain"
            title={mayCut.value ? t('curves.cut') : undefined}
            onClick={() => {
              mayCut.value = !mayCut.value;
            }}
          >
            {t(mayCut.value ? 'curves.cut-show' : 'curves.cut-hide')}
          </button>
        )}
        {isZoomed.value && (
          <button type="button" class="nba-button nba-plain" onClick={() => chart.current?.resetZoom()}>
            {t('curves.reset')}
          </button>
        )}
        <span class="nba-faint nba-end">{drawn.value.total > 0 && t('curves.count', drawn.value)}</span>
      </div>
      <div
        class="nba-plot"
        ref={host}
        role="img"
        aria-label={t('curves.label', { name, x, count: drawn.value.drawn, best })}
      >
        {drawn.value.drawn === 0 && (
          <div class="nba-nothing">
            {t(names.length > 0 && model.isFinal ? 'curves.none-saved' : 'curves.none')}
          </div>
        )}
        {hover.value && <Tip model={model} hover={hover.value} x={x} />}
      </div>
    </section>
  );
}

interface DrawResult {
  drawn: number;
  total: number;
}

/** Draws whenever something changed, but spends no more than a fifth of the time on it. */
function keepDrawn(
  model: PanelModel,
  palette: ReadonlySignal<Palette>,
  plot: CurvesChart,
  mayCut: { value: boolean },
  onDrawn: (result: DrawResult) => void,
): () => void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let last = 0;
  const draw = () => {
    timer = null;
    last = performance.now();
    const state = model.state.peek();
    const name = model.name.peek();
    const picked = model.picked.peek();
    const chosen = chooseLines(state, name, model.rows.peek(), picked.keys());
    const isStep = state.stepNames.includes(name);
    plot.update({
      lines: chosen.lines,
      emphasized: emphasizedLines(chosen.lines, state.header.best?.trial ?? null, picked, palette.peek()),
      isLog: model.isLog.peek(),
      isCut: mayCut.value,
      xLabel: model.t(isStep ? 'curves.step' : 'curves.epoch'),
      palette: palette.peek(),
    });
    onDrawn({ drawn: chosen.lines.length, total: Math.max(chosen.n, chosen.lines.length) });
    // Of a run that is over nobody is asked for curves, unless the reader wants to see them.
    const isAsked = model.link.peek().kind === 'live' || model.chosenName.peek() !== null;
    const missing = isAsked ? chosen.missing : chosen.missing.filter((trial) => picked.has(trial));
    model.actions.requestCurves(name, missing);
  };
  const stop = effect(() => {
    void [model.state.value, model.name.value, model.picked.value, model.rows.value];
    void [model.isLog.value, mayCut.value, model.link.value, palette.value];
    if (timer !== null) return;
    const wait = last + Math.max(90, 5 * plot.costMs) - performance.now();
    // At once where it may be: then table and curves are laid out and painted together, in one frame.
    if (wait <= 0) untracked(draw);
    else timer = setTimeout(draw, wait);
  });
  return () => {
    stop();
    if (timer !== null) clearTimeout(timer);
  };
}

/** What the curve under the pointer is. */
function Tip({ model, hover, x }: { model: PanelModel; hover: Hover; x: string }): JSX.Element {
  const state = model.state.value;
  const row = rowOf(state.rows, hover.trial);
  const params = model.fields.value.filter((field) => field.group === 'param');
  const shown = params
    .map(
      (field) => [field.label, row < 0 ? null : (cellsOf(state.rows, field.id)?.data[row] ?? null)] as const,
    )
    .filter(([, value]) => value !== null && !Number.isNaN(value))
    .slice(0, 6);
  return (
    <div
      class={`nba-tip ${hover.isRight ? 'nba-tip-left' : ''}`}
      aria-hidden="true"
      style={{ '--nba-left': `${hover.left}px`, '--nba-top': `${hover.top}px` }}
    >
      <div>
        <b>#{hover.trial}</b> {plainNumber(hover.y)}{' '}
        <span class="nba-faint">
          {x} {plainNumber(Math.round(hover.x))}
        </span>
      </div>
      {shown.map(([label, value]) => (
        <div key={label} class="nba-tip-param">
          <span class="nba-faint">{label}</span> {plainValue(value)}
        </div>
      ))}
    </div>
  );
}
