import { describe, expect, it } from 'vitest';
import { formatOf, longDuration, moment, plainNumber, shortDuration } from '../src/format';
import { isKey } from '../src/strings';

describe('numbers', () => {
  it.each([
    [0.95, '0.95'],
    [0.000123456, '1.23e-4'],
    [12345678, '1.23e+7'],
    [64, '64'],
    [Number.NaN, '–'],
  ])('%f alone is %s', (value, text) => expect(plainNumber(value)).toBe(text));

  it('of a column line up', () => {
    const format = formatOf([0.9, 0.91, 0.912]);
    expect([0.9, 0.91, 0.912].map(format)).toEqual(['0.900', '0.910', '0.912']);
  });

  it('of learning rates get powers of ten', () => {
    const format = formatOf([0.000123, 0.0456, 0.0011]);
    expect(format(0.000123)).toBe('1.23e-4');
  });

  it('that are missing are empty', () => expect(formatOf([1.5])(Number.NaN)).toBe(''));
});

describe('durations', () => {
  it.each([
    [0.421, '0.42 s'],
    [12.34, '12.3 s'],
    [65, '1:05'],
    [7390, '2:03:10'],
  ])('%f s in a table is %s', (seconds, text) => expect(shortDuration(seconds)).toBe(text));

  it.each([
    [4, '4 s'],
    [72, '1 min 12 s'],
    [7380, '2 h 3 min'],
    [273600, '3 d 4 h'],
  ])('%i s in a sentence is %s', (seconds, text) => expect(longDuration(seconds)).toBe(text));
});

it('a moment of another day says the day', () => {
  const now = Date.UTC(2026, 0, 2, 12);
  expect(moment(now / 1000 - 3 * 86_400, 'en', now)).toContain('2025');
  expect(moment(now / 1000, 'en', now)).not.toContain('2026');
});

it('texts are known by their keys alone', () => {
  expect(isKey('run.finished')).toBe(true);
  expect(isKey('constructor')).toBe(false);
});
