// Numbers, durations and moments as text. A column of numbers shares one format, so that digits line up.

export type Format = (value: number) => string;

/** How many values are looked at to choose a column's format. */
const SAMPLE = 400;

/** The decimals that `value` needs, as it was rounded to six significant digits by the kernel. */
function decimalsOf(value: number): number {
  const text = String(Number(value.toPrecision(6)));
  if (text.includes('e')) return 9;
  const dot = text.indexOf('.');
  return dot < 0 ? 0 : text.length - dot - 1;
}

function sampleOf(values: ArrayLike<number>): number[] {
  const step = Math.max(1, Math.floor(values.length / SAMPLE));
  const found: number[] = [];
  for (let i = 0; i < values.length; i += step) {
    const size = Math.abs(values[i]!);
    if (Number.isFinite(size) && size > 0) found.push(size);
  }
  return found.sort((a, b) => a - b);
}

/**
 * One format for a column of numbers.
 *
 * About four digits; powers of ten where the values span several orders of magnitude below one
 * (learning rates); single values out of the common range get powers of ten of their own.
 */
export function formatOf(values: ArrayLike<number>, kind: 'float' | 'int' = 'float'): Format {
  if (kind === 'int') return (value) => (Number.isNaN(value) ? '' : String(value));
  const sample = sampleOf(values);
  if (sample.length === 0) return (value) => (Number.isNaN(value) ? '' : String(value));
  const low = sample[Math.floor(sample.length * 0.05)]!;
  const high = sample[Math.floor((sample.length - 1) * 0.95)]!;
  const needed = sample.reduce((most, value) => Math.max(most, decimalsOf(value)), 0);
  const isSpread = (low < 1e-3 && needed > 4) || (high < 1 && high / low > 50 && needed > 3);
  if (isSpread || high >= 1e6) return (value) => scientific(value);
  const digits = Math.min(5, Math.max(0, 3 - Math.floor(Math.log10(high))));
  const decimals = Math.min(needed, high / low > 50 ? digits + 1 : digits);
  const least = 0.5 * 10 ** -decimals;
  return (value) => {
    if (Number.isNaN(value)) return '';
    const size = Math.abs(value);
    if (size >= 1e6 || (size < least && size > 0)) return scientific(value);
    return value.toFixed(decimals);
  };
}

function scientific(value: number): string {
  if (Number.isNaN(value)) return '';
  if (value === 0) return '0';
  return Number.isFinite(value) ? value.toExponential(2) : String(value);
}

/** A number that stands alone: four or five digits, no trailing zeros. */
export function plainNumber(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return String(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    return value.toExponential(2).replace(/\.?0+e/, 'e');
  }
  return String(Number(value.toPrecision(size >= 1000 ? 5 : 4)));
}

export type Unit = '' | 'ms' | 'bytes' | 'mWh';

const BYTES = ['B', 'KB', 'MB', 'GB'] as const;

/** In which step of a thousand a number of bytes is told. */
function powerOf(bytes: number): number {
  return Math.min(BYTES.length - 1, Math.floor(Math.log10(Math.max(Math.abs(bytes), 1)) / 3 + 1e-9));
}

/** A number that stands alone, with its unit. */
export function plainQuantity(value: number, unit: Unit = ''): string {
  if (unit === '' || !Number.isFinite(value)) return plainNumber(value);
  if (unit !== 'bytes') return `${plainNumber(value)} ${unit}`;
  const power = powerOf(value);
  return `${plainNumber(value / 1000 ** power)} ${BYTES[power]}`;
}

/** One format for a column of quantities: all in the unit that suits the middle one. */
export function quantityFormat(values: ArrayLike<number>, unit: Unit = ''): Format {
  if (unit === '') return formatOf(values);
  const sample = sampleOf(values);
  const power = unit === 'bytes' ? powerOf(sample[sample.length >> 1] ?? 0) : 0;
  const name = unit === 'bytes' ? BYTES[power] : unit;
  const format = formatOf(sample.map((value) => value / 1000 ** power));
  return (value) => (Number.isNaN(value) ? '' : `${format(value / 1000 ** power)} ${name}`);
}

/** What a person typed for a quantity, as a number: `20KB`, `1.5 ms`; NaN for anything else. */
export function parseQuantity(text: string, unit: Unit = ''): number {
  const bare = text.trim();
  if (bare === '') return Number.NaN;
  const found = /^([-+.\de]*\d)\s*(B|KB|MB|GB|ms|mWh)$/iu.exec(bare);
  if (!found || unit === '') return Number(bare);
  const [, number, name] = found;
  const power = (BYTES as readonly string[]).indexOf(name!.toUpperCase());
  const fits = unit === 'bytes' ? power >= 0 : name!.toLowerCase() === unit.toLowerCase();
  return fits ? Number(number) * (unit === 'bytes' ? 1000 ** power : 1) : Number.NaN;
}

/** A parameter's value of any type. */
export function plainValue(value: unknown): string {
  if (typeof value === 'number') return plainNumber(value);
  return textOf(value) ?? '–';
}

/** A value of any type as the text of a cell, null for none. */
export function textOf(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return String(value);
  return JSON.stringify(value);
}

const pad = (value: number): string => String(value).padStart(2, '0');

/** Seconds for a table: `0.42 s`, `12.3 s`, `1:05`, `2:03:10`. */
export function shortDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '';
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

/** Seconds for a sentence, two units at most: `4 s`, `1 min 12 s`, `2 h 3 min`, `3 d 4 h`. */
export function longDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const [days, hours] = [Math.floor(whole / 86400), Math.floor((whole % 86400) / 3600)];
  const minutes = Math.floor((whole % 3600) / 60);
  if (days > 0) return hours > 0 ? `${days} d ${hours} h` : `${days} d`;
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`;
  return whole % 60 > 0 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
}

/** A moment (seconds since 1970) in the reader's zone: the time alone for today. */
export function moment(seconds: number, language: string, now: number = Date.now()): string {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date(now).toDateString();
  const time = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } as const;
  const day = { year: 'numeric', month: 'short', day: 'numeric' } as const;
  return new Intl.DateTimeFormat(language, isToday ? time : { ...day, ...time }).format(date);
}

/** A count with separators of thousands. */
export function count(value: number): string {
  return value.toLocaleString('en-US');
}
