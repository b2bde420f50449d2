// The curves, drawn by uPlot as thin lines; what stands out lies on a sheet above, so that hovering redraws nothing else.

import uPlot from 'uplot';
import { plainNumber } from '../format';
import { align, type Curve, valueAt, yRange } from '../state/curves';
import type { Palette } from './palette';
import { drawSheet, type Emphasis } from './sheet';

export interface ChartLine {
  readonly trial: number;
  readonly curve: Curve;
  /** Index into the palette's levels, or `running`. */
  readonly level: number | 'running';
}

export interface ChartInput {
  readonly lines: readonly ChartLine[];
  readonly emphasized: readonly Emphasis[];
  readonly isLog: boolean;
  readonly isCut: boolean;
  readonly xLabel: string;
  /** Another object where the colours changed: the chart is built anew then. */
  readonly palette: Palette;
}

/** Where the pointer is in the host, and which value of the curve is there. */
export interface HoverPlace {
  readonly left: number;
  readonly top: number;
  /** Whether there is more room to the left of the pointer. */
  readonly isRight: boolean;
  readonly x: number;
  readonly y: number;
}

export interface ChartEvents {
  onHover(trial: number | null, at: HoverPlace | null): void;
  onPick(trial: number, more: boolean): void;
  onZoom(isZoomed: boolean): void;
}

/** Rungs of x that are drawn at most: about one a pixel. */
const MAX_RUNGS = 600;
const NEAR_PX = 24;

interface Zoom {
  readonly x: readonly [number, number];
  readonly y: readonly [number, number];
}

export class CurvesChart {
  private _plot: uPlot | null = null;
  private _input: ChartInput;
  private _strokes: string[] = [];
  private _zoom: Zoom | null = null;
  private _hovered: number | null = null;
  private readonly _sheet = document.createElement('canvas');
  /** How long the last drawing took: it is done so often that it takes a fifth of the time at most. */
  costMs = 0;
  /** Whether values lie outside of what is drawn. */
  isCut = false;

  constructor(
    private readonly _host: HTMLElement,
    palette: Palette,
    private readonly _events: ChartEvents,
  ) {
    this._input = { lines: [], emphasized: [], isLog: false, isCut: true, xLabel: '', palette };
    this._sheet.className = 'nba-sheet';
  }

  update(input: ChartInput): void {
    const begin = performance.now();
    const before = this._input;
    const isNew =
      this._plot === null ||
      before.isLog !== input.isLog ||
      before.xLabel !== input.xLabel ||
      before.palette !== input.palette;
    this._input = input;
    const { x, ys } = align(
      input.lines.map((line) => line.curve),
      MAX_RUNGS,
      input.isLog,
    );
    this._strokes = input.lines.map(({ level }) =>
      level === 'running' ? input.palette.running : input.palette.levels[level]!,
    );
    if (isNew) this._build();
    const plot = this._plot!;
    // Series are added, never taken away: those that are too many are empty.
    while (plot.series.length - 1 < ys.length) plot.addSeries(this._series(), plot.series.length);
    const empty: null[] = new Array(x.length).fill(null);
    while (ys.length < plot.series.length - 1) ys.push(empty);
    plot.batch(() => {
      plot.setData([x, ...ys] as uPlot.AlignedData, false);
      this._setScales(x);
    });
    this.costMs = performance.now() - begin;
  }

  setHovered(trial: number | null): void {
    if (trial === this._hovered) return;
    this._hovered = trial;
    this._drawSheet();
  }

  resize(): void {
    const { width, height } = this._size();
    if (width > 0 && height > 0) this._plot?.setSize({ width, height });
  }

  resetZoom(): void {
    this._zoom = null;
    this._events.onZoom(false);
    this.update(this._input);
  }

  destroy(): void {
    this._destroyPlot();
  }

  private _destroyPlot(): void {
    this._plot?.destroy();
    this._plot = null;
  }

  private _size(): { width: number; height: number } {
    return { width: Math.floor(this._host.clientWidth), height: Math.floor(this._host.clientHeight) };
  }

  private _series(): uPlot.Series {
    return {
      stroke: (_plot, i) => this._strokes[i - 1] ?? 'transparent',
      width: 1,
      spanGaps: true,
      // A curve of one point has no line.
      points: {
        size: 4,
        width: 0,
        fill: (_plot, i) => this._strokes[i - 1] ?? 'transparent',
        show: (_plot, i) => (this._input.lines[i - 1]?.curve.x.length ?? 0) === 1,
      },
    };
  }

  private _build(): void {
    this._destroyPlot();
    const { text, grid, font } = this._input.palette;
    const axis = { stroke: text, font, ticks: { show: false }, grid: { stroke: grid, width: 1 } };
    const { width, height } = this._size();
    const options: uPlot.Options = {
      width: Math.max(width, 50),
      height: Math.max(height, 50),
      padding: [8, 36, 0, 0],
      legend: { show: false },
      cursor: {
        points: { show: false },
        y: false,
        drag: { x: true, y: true, uni: 20, setScale: false },
        bind: { dblclick: () => () => this.resetZoom() as unknown as null },
      },
      scales: {
        x: { time: false, auto: false },
        y: { auto: false, distr: this._input.isLog ? 3 : 1 },
      },
      axes: [
        {
          ...axis,
          size: 34,
          gap: 4,
          label: this._input.xLabel,
          labelSize: 14,
          labelFont: font,
          incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6],
          space: 40,
        },
        {
          ...axis,
          gap: 6,
          size: (_plot, values) =>
            14 + 6.5 * Math.max(3, ...(values ?? []).map((value) => value?.length ?? 0)),
          values: (_plot, splits) => splits.map((value) => (value === null ? '' : plainNumber(value))),
        },
      ],
      series: [{}],
      hooks: {
        draw: [() => this._drawSheet()],
        setSelect: [(plot) => this._zoomTo(plot)],
      },
    };
    const plot = new uPlot(options, [[]], this._host);
    this._plot = plot;
    plot.over.append(this._sheet);
    plot.over.addEventListener('pointermove', (event) => this._point(event));
    plot.over.addEventListener('pointerleave', () => this._events.onHover(null, null));
    plot.over.addEventListener('click', (event) => {
      if (this._hovered !== null) this._events.onPick(this._hovered, event.ctrlKey || event.metaKey);
    });
  }

  private _setScales(x: readonly number[]): void {
    const plot = this._plot!;
    const { isLog, isCut, lines } = this._input;
    const curves = lines.map((line) => line.curve);
    const range = yRange(curves, isLog, isCut);
    this.isCut = range.isCut;
    let [low, high] = [range.low, range.high];
    if (low === high)
      [low, high] = isLog
        ? [low / 2, high * 2]
        : [low - 0.5 * (Math.abs(low) || 1), high + 0.5 * (Math.abs(high) || 1)];
    const pad = isLog ? (high / low) ** 0.04 : 0.04 * (high - low);
    const first = x[0] ?? 0;
    const last = x[x.length - 1] ?? 1;
    const isPoint = first === last;
    const whole: Zoom = {
      x: isPoint ? [first - 1, last + 1] : [first, last],
      y: isLog ? [low / pad, high * pad] : [low - pad, high + pad],
    };
    const shown = this._zoom ?? whole;
    plot.setScale('x', { min: shown.x[0], max: shown.x[1] });
    plot.setScale('y', { min: shown.y[0], max: shown.y[1] });
  }

  private _zoomTo(plot: uPlot): void {
    const { left, top, width, height } = plot.select;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (width < 6 || height < 6) return;
    this._zoom = {
      x: [plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x')],
      y: [plot.posToVal(top + height, 'y'), plot.posToVal(top, 'y')],
    };
    this._events.onZoom(true);
    this.update(this._input);
  }

  /** Which curve is under the pointer, if one is near. */
  private _point(event: PointerEvent): void {
    const plot = this._plot!;
    const box = plot.over.getBoundingClientRect();
    const [left, top] = [event.clientX - box.left, event.clientY - box.top];
    const x = plot.posToVal(left, 'x');
    let best: { trial: number; y: number; gap: number } | null = null;
    for (const { trial, curve } of this._input.lines) {
      const isPoint = curve.x.length === 1;
      if (isPoint && Math.abs(plot.valToPos(curve.x[0]!, 'x') - left) > 12) continue;
      const y = isPoint ? curve.y[0]! : valueAt(curve, x);
      if (!Number.isFinite(y)) continue;
      const gap = Math.abs(plot.valToPos(y, 'y') - top);
      if (gap <= NEAR_PX && (!best || gap < best.gap)) best = { trial, y, gap };
    }
    if (!best) {
      this._events.onHover(null, null);
      return;
    }
    const host = this._host.getBoundingClientRect();
    this._events.onHover(best.trial, {
      left: event.clientX - host.left,
      top: event.clientY - host.top,
      isRight: event.clientX - host.left > host.width / 2,
      x,
      y: best.y,
    });
  }

  private _drawSheet(): void {
    const plot = this._plot;
    if (!plot) return;
    const { lines, emphasized, palette } = this._input;
    const hovered = lines.find((line) => line.trial === this._hovered);
    const shown = [...emphasized];
    if (hovered && !shown.some(({ trial }) => trial === hovered.trial)) {
      shown.push({ trial: hovered.trial, curve: hovered.curve, colour: palette.text, isDashed: false });
    }
    drawSheet(this._sheet, plot, shown, palette, this._hovered);
  }
}
