import { checkLabels } from './attacks/labels.js';
import { invalidOption, PadFtError } from './errors.js';
import { gammaUpperTail } from './gamma.js';
import { interquartileRange, median, notNumeric, type Values } from './quantiles.js';

export * from './mixture.js';
export { interquartileRange, median, quantile, quantileOfSorted, type Values, winsorised } from './quantiles.js';

/**
 * Robust z-scores, AUROC and rankings, beside quantiles and mixtures: pure functions, in double, deterministic.
 * Inputs are plain or typed arrays of numbers and are never changed. ERR_DATA for an empty input, ERR_NUMERIC for NaN
 * (and for infinities, except where only the order counts).
 */

/** Makes the median absolute deviation of a Gaussian its standard deviation: 1 / Φ⁻¹(3/4). */
const MAD_TO_SD = 1.4826;
/** The same for the mean absolute deviation: √(π/2). */
const MEAN_DEVIATION_TO_SD = 1.2533;

/**
 * Robust z-scores, (x − median) / (1.4826 · MAD), MAD the median distance from the median.
 *
 * When more than half of the values are equal, MAD is 0 and every other value would be infinitely far out; the scale is
 * then 1.2533 · the mean distance from the median (Iglewicz and Hoaglin, 1993). When all values are equal, every z is 0.
 */
export function robustZ(values: Values): Float64Array<ArrayBuffer> {
  const centre = median(values);
  const distances = Float64Array.from(values, (value) => Math.abs(value - centre));
  const deviation = median(distances);
  const mean = distances.reduce((sum, distance) => sum + distance, 0) / distances.length;
  const scale = deviation > 0 ? MAD_TO_SD * deviation : MEAN_DEVIATION_TO_SD * mean;
  return Float64Array.from(values, (value) => (scale > 0 ? (value - centre) / scale : 0));
}

/** Where the values of a group lie, and how wide. */
export interface Scale {
  readonly centre: number;
  /** > 0. */
  readonly spread: number;
}

/**
 * The scale that groups have in common: the median of their medians and of their interquartile ranges, which a group or two
 * with outliers does not move. Empty groups do not count; centre 0 and spread 1 where all are.
 */
export function commonScale(groups: readonly Values[]): Scale {
  const filled = groups.filter((group) => group.length > 0);
  if (filled.length === 0) return { centre: 0, spread: 1 };
  return {
    centre: median(filled.map(median)),
    spread: Math.max(median(filled.map(interquartileRange)), Number.EPSILON),
  };
}

/** The rows of each label in ascending order; of those marked by `chosen` (non-zero), where it is given. */
export function rowsByLabel(labels: Int32Array, classes: number, chosen?: ArrayLike<number>): number[][] {
  const groups: number[][] = Array.from({ length: classes }, () => []);
  labels.forEach((label, row) => {
    if (chosen === undefined || chosen[row]) groups[label]?.push(row);
  });
  return groups;
}

/**
 * The p-quantile of the standard normal distribution, p in (0, 1): bisection of its distribution function, to 1e-12.
 * ERR_OPTION for another p.
 */
export function normalQuantile(p: number): number {
  if (!(p > 0 && p < 1)) throw invalidOption('p', 'a number in (0, 1)', p);
  const tail = Math.min(p, 1 - p);
  let [low, high] = [0, 40];
  while (high - low > 1e-13 * Math.max(1, high)) {
    const middle = (low + high) / 2;
    if (upperTail(middle) > tail) low = middle;
    else high = middle;
  }
  const distance = (low + high) / 2;
  return p < 0.5 ? -distance : distance;
}

/** P(Z > x) for x ≥ 0: half of what a Gamma(1/2) has above x² / 2. */
function upperTail(x: number): number {
  return gammaUpperTail({ shape: 0.5, location: 0, scale: 1 }, (x * x) / 2) / 2;
}

/**
 * AUROC: the probability that a positive scores above a negative, ties counted half (Mann–Whitney with midranks).
 * `positive[i]` non-zero or true marks a positive. Scores may be infinite. Null when either side is empty: there is
 * nothing to tell apart. ERR_DATA when the lengths differ or there are no scores.
 */
export function auroc(scores: Values, positive: ArrayLike<number | boolean>): number | null {
  if (scores.length !== positive.length) {
    throw new PadFtError('ERR_DATA', `AUROC: expected a mark per score, got ${positive.length} for ${scores.length}`);
  }
  if (scores.length === 0) throw new PadFtError('ERR_DATA', 'AUROC: expected at least one score, got none');
  const order = rankAscending(scores);
  let positives = 0;
  let rankSum = 0;
  for (let start = 0; start < order.length; ) {
    let end = start;
    let here = 0;
    while (end < order.length && scores[order[end]!] === scores[order[start]!]) {
      if (positive[order[end]!]) here++;
      end++;
    }
    // Ranks start + 1 … end share their mean.
    rankSum += (here * (start + 1 + end)) / 2;
    positives += here;
    start = end;
  }
  const negatives = scores.length - positives;
  if (positives === 0 || negatives === 0) return null;
  return (rankSum - (positives * (positives + 1)) / 2) / (positives * negatives);
}

/**
 * AUROC with the positives named by row, over the rows of `population` (default: all). Positives outside the population
 * are ignored. Null when either side is empty. ERR_DATA for a row that has no score.
 */
export function aurocFromIndices(scores: Values, positives: Uint32Array, population?: Uint32Array): number | null {
  const marks = new Uint8Array(scores.length);
  for (const row of positives) {
    checkRow('AUROC', row, scores.length);
    marks[row] = 1;
  }
  if (population === undefined) return auroc(scores, marks);
  for (const row of population) checkRow('AUROC', row, scores.length);
  return auroc(
    Float64Array.from(population, (row) => scores[row]!),
    Uint8Array.from(population, (row) => marks[row]!),
  );
}

/** The indices in ascending order of their score, ties in order of index. ERR_NUMERIC for NaN; infinities have their place. */
export function rankAscending(scores: Values): Uint32Array<ArrayBuffer> {
  for (let i = 0; i < scores.length; i++) {
    if (Number.isNaN(scores[i])) throw notNumeric('ranking', i, scores[i]);
  }
  return Uint32Array.from({ length: scores.length }, (_, i) => i).sort((a, b) => {
    const x = scores[a]!;
    const y = scores[b]!;
    // Compared, not subtracted: the difference of two infinities is NaN.
    return x < y ? -1 : x > y ? 1 : a - b;
  });
}

/**
 * For each label its `perLabel` rows of smallest score, ties by index: grouped by label in ascending order, each group
 * in ascending order of score. A label with fewer (eligible) rows gives all it has.
 *
 * `perLabel`: one quota for all, or one per label; integers ≥ 0. `eligible`: non-zero or true where a row may be taken
 * (default: everywhere); scores of other rows may be anything, NaN included.
 */
export function smallestPerLabel(
  scores: Values,
  labels: Int32Array,
  classes: number,
  perLabel: number | readonly number[],
  eligible?: ArrayLike<number | boolean>,
): Uint32Array<ArrayBuffer> {
  checkLabels(labels, classes);
  if (scores.length !== labels.length || (eligible !== undefined && eligible.length !== labels.length)) {
    const marks = eligible === undefined ? '' : ` and ${eligible.length} marks`;
    throw new PadFtError(
      'ERR_DATA',
      `expected a score per label, got ${scores.length} scores${marks} for ${labels.length}`,
    );
  }
  const quotas = typeof perLabel === 'number' ? new Array<number>(classes).fill(perLabel) : perLabel;
  if (quotas.length !== classes || !quotas.every((quota) => Number.isInteger(quota) && quota >= 0)) {
    throw invalidOption('perLabel', `an integer ≥ 0, or one for each of ${classes} labels`, perLabel);
  }
  const groups: number[][] = Array.from({ length: classes }, () => []);
  labels.forEach((label, row) => {
    if (eligible !== undefined && !eligible[row]) return;
    if (Number.isNaN(scores[row])) throw notNumeric('selection', row, scores[row]);
    groups[label]!.push(row);
  });
  const chosen = groups.flatMap((rows, label) => {
    const order = rankAscending(rows.map((row) => scores[row]!));
    return Array.from(order.subarray(0, quotas[label]), (position) => rows[position]!);
  });
  return Uint32Array.from(chosen);
}

function checkRow(what: string, row: number, count: number): void {
  if (row >= count) {
    throw new PadFtError('ERR_DATA', `${what}: expected rows below ${count}, got ${row}`, { details: { row, count } });
  }
}
