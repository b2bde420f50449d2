// The sheet above the chart: the best, the picked and the hovered curve, each named at its end.

import type uPlot from 'uplot';
import type { Curve } from '../state/curves';
import type { Palette } from './palette';

export interface Emphasis {
  readonly trial: number;
  readonly curve: Curve;
  readonly colour: string;
  readonly isDashed: boolean;
}

interface Label {
  readonly text: string;
  readonly colour: string;
  readonly left: number;
  top: number;
}

const LABEL_PX = 13;

export function drawSheet(
  sheet: HTMLCanvasElement,
  plot: uPlot,
  shown: readonly Emphasis[],
  palette: Palette,
  hovered: number | null,
): void {
  const scale = window.devicePixelRatio || 1;
  // As the plot knows it: to ask the page would have it laid out in the middle of a drawing.
  const [width, height] = [plot.bbox.width / scale, plot.bbox.height / scale].map(Math.round) as [
    number,
    number,
  ];
  // The names stand to the right of the plot, where the sheet reaches out of it.
  const margin = 36;
  sheet.width = Math.round((width + margin) * scale);
  sheet.height = Math.round(height * scale);
  sheet.style.width = `${width + margin}px`;
  sheet.style.height = `${height}px`;
  const pen = sheet.getContext('2d');
  if (!pen) return;
  pen.scale(scale, scale);
  pen.lineJoin = 'round';
  const labels: Label[] = [];
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, width + 3, height);
  pen.clip();
  for (const emphasis of shown) {
    const end = drawCurve(pen, plot, emphasis, palette, emphasis.trial === hovered);
    if (end && end.left <= width + 1 && end.top >= 0 && end.top <= height) {
      labels.push({ text: `#${emphasis.trial}`, colour: emphasis.colour, ...end });
    }
  }
  pen.restore();
  drawLabels(pen, labels, palette, height);
}

/** Draws one curve; where it ends. */
function drawCurve(
  pen: CanvasRenderingContext2D,
  plot: uPlot,
  { curve, colour, isDashed }: Emphasis,
  palette: Palette,
  isHovered: boolean,
): { left: number; top: number } | null {
  const isLog = plot.scales.y!.distr === 3;
  const path = new Path2D();
  let end: { left: number; top: number } | null = null;
  for (let i = 0; i < curve.x.length; i++) {
    const y = curve.y[i]!;
    if (!Number.isFinite(y) || (isLog && y <= 0)) continue;
    const [left, top] = [plot.valToPos(curve.x[i]!, 'x'), plot.valToPos(y, 'y')];
    if (end) path.lineTo(left, top);
    else path.moveTo(left, top);
    end = { left, top };
  }
  if (!end) return null;
  // A rim in the colour of the ground lifts the curve off the others.
  pen.setLineDash([]);
  pen.strokeStyle = palette.ground;
  pen.lineWidth = isHovered ? 5.5 : 4;
  pen.stroke(path);
  pen.strokeStyle = colour;
  pen.lineWidth = isHovered ? 2.75 : 2;
  if (isDashed) pen.setLineDash([6, 3]);
  pen.stroke(path);
  pen.setLineDash([]);
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(end.left, end.top, 3, 0, 2 * Math.PI);
  pen.fill();
  return end;
}

/** Names at the ends of curves, moved apart where they would overlap. */
function drawLabels(pen: CanvasRenderingContext2D, labels: Label[], palette: Palette, height: number): void {
  labels.sort((a, b) => a.top - b.top);
  for (let i = 1; i < labels.length; i++) {
    labels[i]!.top = Math.max(labels[i]!.top, labels[i - 1]!.top + LABEL_PX);
  }
  let floor = height - 4;
  for (let i = labels.length - 1; i >= 0; i--) {
    labels[i]!.top = Math.min(labels[i]!.top, floor);
    floor = labels[i]!.top - LABEL_PX;
  }
  pen.font = palette.font;
  pen.textBaseline = 'middle';
  for (const { text, colour, left, top } of labels) {
    pen.strokeStyle = palette.ground;
    pen.lineWidth = 3;
    pen.strokeText(text, left + 6, top);
    pen.fillStyle = colour;
    pen.fillText(text, left + 6, top);
  }
}
