// The chart's colours, as the style sheet states them: a canvas can't follow variables by itself.

import { N_COLOURS } from '../views/model';

export interface Palette {
  readonly text: string;
  readonly grid: string;
  readonly ground: string;
  readonly best: string;
  readonly running: string;
  /** From the worst trials to the best. */
  readonly levels: readonly string[];
  readonly picked: readonly string[];
  readonly font: string;
}

export const N_LEVELS = 5;

export function readPalette(node: Element): Palette {
  const style = getComputedStyle(node);
  const colour = (name: string) => style.getPropertyValue(`--nba-${name}`).trim() || '#888';
  const many = (name: string, n: number) => Array.from({ length: n }, (_, i) => colour(`${name}-${i}`));
  return {
    text: colour('chart-text'),
    grid: colour('grid'),
    ground: colour('ground'),
    best: colour('best'),
    running: colour('running'),
    levels: many('level', N_LEVELS),
    picked: many('colour', N_COLOURS),
    font: `11px ${style.fontFamily || 'sans-serif'}`,
  };
}

/** Whether the colours around are dark, whatever the page calls its theme. */
export function isDark(node: Element): boolean {
  // Asked of a canvas, which understands every way to write a colour.
  const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const ground = getComputedStyle(node).getPropertyValue('--nba-ground').trim();
  if (!pen || ground === '') return false;
  pen.canvas.width = 1;
  pen.canvas.height = 1;
  pen.fillStyle = ground;
  pen.fillRect(0, 0, 1, 1);
  const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data;
  return 0.299 * red! + 0.587 * green! + 0.114 * blue! < 128;
}
