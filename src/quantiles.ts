import { describe, invalidOption, PadFtError } from './errors.js';

/**
 * Order statistics: pure functions, computed in double. Inputs are plain or typed arrays and are never changed.
 * ERR_DATA for an empty input, ERR_NUMERIC for NaN and infinities.
 */

/** Any array of numbers, typed or plain. */
export type Values = ArrayLike<number>;

/** The q-quantile, q in [0, 1], with linear interpolation between order statistics: NumPy's default (type 7). */
export function quantile(values: Values, q: number): number {
  return quantileOfSorted(sortedCopy('quantile', values), q);
}

/** The same for values already in ascending order; for several quantiles of one array. */
export function quantileOfSorted(sorted: Float64Array, q: number): number {
  if (!(q >= 0 && q <= 1)) throw invalidOption('q', 'a number in [0, 1]', q);
  const position = q * (sorted.length - 1);
  const below = Math.floor(position);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (position - below) * (high - low);
}

/** The middle value, or the mean of the middle two. */
export function median(values: Values): number {
  const sorted = sortedCopy('median', values);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** The distance between the quartiles. */
export function interquartileRange(values: Values): number {
  const sorted = sortedCopy('interquartile range', values);
  return quantileOfSorted(sorted, 0.75) - quantileOfSorted(sorted, 0.25);
}

/** The values with both tails pulled in to the `tail`- and (1 − tail)-quantile; `tail` in [0, 0.5). */
export function winsorised(values: Values, tail: number): Float64Array<ArrayBuffer> {
  if (!(tail >= 0 && tail < 0.5)) throw invalidOption('tail', 'a number in [0, 0.5)', tail);
  const sorted = sortedCopy('winsorised values', values);
  const low = quantileOfSorted(sorted, tail);
  const high = quantileOfSorted(sorted, 1 - tail);
  return Float64Array.from(values, (value) => Math.min(high, Math.max(low, value)));
}

/** A sorted float64 copy. ERR_DATA when empty, ERR_NUMERIC when a value is not finite. */
export function sortedCopy(what: string, values: Values): Float64Array<ArrayBuffer> {
  if (values.length === 0) throw new PadFtError('ERR_DATA', `${what}: expected at least one value, got none`);
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) throw notNumeric(what, i, values[i]);
  }
  return Float64Array.from(values).sort();
}

/** The ERR_NUMERIC of a value that is no finite number, and where it was. */
export function notNumeric(what: string, index: number, value: unknown): PadFtError {
  return new PadFtError('ERR_NUMERIC', `${what}: expected finite numbers, got ${describe(value)} at ${index}`, {
    details: { index, got: describe(value) },
  });
}
