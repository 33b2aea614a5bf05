import { describe, expect, it } from 'vitest';
import { Random } from '../../src/random.js';
import {
  auroc,
  aurocFromIndices,
  interquartileRange,
  median,
  normalQuantile,
  quantile,
  rankAscending,
  robustZ,
  smallestPerLabel,
  winsorised,
} from '../../src/statistics.js';

const dataError = expect.objectContaining({ code: 'ERR_DATA' });
const numericError = expect.objectContaining({ code: 'ERR_NUMERIC' });

/** v = [3.5, -1.25, 7, 0.5, 2, 2, 9.75, -4] in the Python lines below. */
const V = [3.5, -1.25, 7, 0.5, 2, 2, 9.75, -4];

describe('the normal quantile', () => {
  // Python's statistics.NormalDist().inv_cdf(p)
  it.each([
    [0.5, 0],
    [0.75, 0.6744897501960817],
    [0.95, 1.6448536269514715],
    [0.05, -1.6448536269514715],
    [0.999999, 4.753424308817087],
    [1e-12, -7.034483825301132],
  ])("is Python's: p = %d", (p, expected) => {
    expect(normalQuantile(p)).toBeCloseTo(expected, 10);
  });

  it.each([0, 1, -1, Number.NaN])('refuses %d', (p) => {
    expect(() => normalQuantile(p)).toThrow(expect.objectContaining({ code: 'ERR_OPTION' }));
  });
});

describe('quantiles', () => {
  it.each([
    // [np.quantile(v, q) for q in (0, .05, .25, .5, .9, 1)]
    [0, -4],
    [0.05, -3.0375],
    [0.25, 0.0625],
    [0.5, 2],
    [0.9, 7.825],
    [1, 9.75],
  ])("are NumPy's: q = %d", (q, expected) => {
    expect(quantile(V, q)).toBeCloseTo(expected, 12);
  });

  it('median of odd and even counts, interquartile range', () => {
    expect(median([5, 1, 3])).toBe(3);
    expect(median(Float32Array.of(4, 1, 3, 2))).toBe(2.5);
    expect(median([7])).toBe(7);
    // scipy.stats.iqr(v)
    expect(interquartileRange(V)).toBeCloseTo(4.3125, 12);
  });

  it('leave their input as it was', () => {
    const values = Float32Array.of(3, 1, 2);
    median(values);
    quantile(values, 0.5);
    expect(Array.from(values)).toEqual([3, 1, 2]);
  });

  it('sort numbers as numbers', () => {
    expect(median([10, 9, 100])).toBe(10);
  });

  it('winsorised pulls both tails in', () => {
    expect(Array.from(winsorised([0, 1, 2, 3, 100], 0.25))).toEqual([1, 1, 2, 3, 3]);
    expect(Array.from(winsorised([5, 1], 0))).toEqual([5, 1]);
  });

  it('refuse nothing at all, NaN, infinities and shares out of range', () => {
    expect(() => median([])).toThrow(dataError);
    expect(() => quantile([1, Number.NaN], 0.5)).toThrow(numericError);
    expect(() => interquartileRange([1, Number.POSITIVE_INFINITY])).toThrow('got Infinity at 1');
    expect(() => quantile([1], 1.1)).toThrow('q: expected a number in [0, 1], got 1.1');
    expect(() => winsorised([1], 0.5)).toThrow('tail');
  });
});

describe('robust z', () => {
  it('is (x − median) / (1.4826 · MAD)', () => {
    // (v - np.median(v)) / (1.4826 * scipy.stats.median_abs_deviation(v))
    const expected = [0.425994164, -0.922987355, 1.419980546, -0.425994164, 0, 0, 2.200969847, -1.703976656];
    robustZ(V).forEach((z, i) => {
      expect(z).toBeCloseTo(expected[i]!, 8);
    });
  });

  it('names the one label that stands out', () => {
    // The same Python line for ten interquartile ranges, the sixth of them 2.4.
    const z = robustZ([0.51, 0.49, 0.55, 0.47, 0.5, 2.4, 0.53, 0.52, 0.46, 0.48]);
    expect(z[5]).toBeCloseTo(51.12639957, 6);
    expect(z.filter((value) => Math.abs(value) > 2)).toHaveLength(1);
  });

  it('falls back on the mean distance when most values are equal, and is 0 when all are', () => {
    // Median 1, MAD 0, mean distance 4/5: z = 4 / (1.2533 · 0.8)
    expect(robustZ([1, 1, 5, 1, 1])[2]).toBeCloseTo(4 / (1.2533 * 0.8), 12);
    expect(Array.from(robustZ([2, 2, 2]))).toEqual([0, 0, 0]);
    expect(() => robustZ([])).toThrow(dataError);
  });
});

describe('AUROC', () => {
  it('counts ties half', () => {
    // stats.mannwhitneyu(s[y == 1], s[y == 0]).statistic / (y.sum() * (1 - y).sum()), s and y as below
    expect(auroc([0.1, 0.4, 0.35, 0.8, 0.4, 0.4, 0.9, 0.2], [0, 0, 1, 1, 1, 0, 1, 0])).toBe(0.8125);
    expect(auroc([3, 3, 3, 3], [true, false, false, true])).toBe(0.5);
  });

  it('is 1, 0 or 1 − AUROC where it must be', () => {
    expect(auroc([1, 2, 3, 4], [0, 0, 1, 1])).toBe(1);
    expect(auroc([1, 2, 3, 4], [1, 1, 0, 0])).toBe(0);
    expect(auroc([Number.NEGATIVE_INFINITY, 0, Number.POSITIVE_INFINITY], [0, 0, 1])).toBe(1);
  });

  it('agrees with counting every pair', () => {
    const random = new Random(3);
    const scores = Array.from({ length: 200 }, () => random.below(20));
    const marks = scores.map((score) => random.below(30) < score);
    let wins = 0;
    let pairs = 0;
    scores.forEach((p, i) => {
      scores.forEach((n, j) => {
        if (!marks[i] || marks[j]) return;
        pairs++;
        wins += p > n ? 1 : p === n ? 0.5 : 0;
      });
    });
    expect(auroc(scores, marks)).toBeCloseTo(wins / pairs, 12);
  });

  it('is null when one side is empty', () => {
    expect(auroc([1, 2], [0, 0])).toBeNull();
    expect(auroc([1, 2], [1, 1])).toBeNull();
  });

  it('takes its positives by row, within a population', () => {
    const scores = [9, 1, 2, 3, 4, -5];
    expect(aurocFromIndices(scores, Uint32Array.of(3, 4))).toBe(6 / 8);
    expect(aurocFromIndices(scores, Uint32Array.of(3, 4, 5), Uint32Array.of(1, 2, 3, 4))).toBe(1);
    expect(aurocFromIndices(scores, new Uint32Array(0))).toBeNull();
  });

  it('refuses lengths that differ, no scores, NaN and rows that are not there', () => {
    expect(() => auroc([1], [0, 1])).toThrow('AUROC: expected a mark per score, got 2 for 1');
    expect(() => auroc([], [])).toThrow(dataError);
    expect(() => auroc([1, Number.NaN], [0, 1])).toThrow(numericError);
    expect(() => aurocFromIndices([1, 2], Uint32Array.of(2))).toThrow('AUROC: expected rows below 2, got 2');
    expect(() => aurocFromIndices([1, 2], Uint32Array.of(1), Uint32Array.of(0, 7))).toThrow(dataError);
  });
});

describe('ranking', () => {
  it('is stable: ties in order of index', () => {
    // np.argsort([2, -1, 2, 0, -1.5, 2], kind='stable')
    expect(Array.from(rankAscending([2, -1, 2, 0, -1.5, 2]))).toEqual([4, 1, 3, 0, 2, 5]);
  });

  it('places infinities, refuses NaN, ranks nothing', () => {
    const inf = Number.POSITIVE_INFINITY;
    expect(Array.from(rankAscending([inf, 0, -inf, inf]))).toEqual([2, 1, 0, 3]);
    expect(() => rankAscending([0, Number.NaN])).toThrow('ranking: expected finite numbers, got NaN at 1');
    expect(rankAscending([])).toHaveLength(0);
  });
});

describe('the smallest of each label', () => {
  const scores = Float32Array.of(5, 1, 3, 1, 9, 0, 2);
  const labels = Int32Array.of(0, 1, 0, 1, 0, 1, 0);

  it('are grouped by label, smallest first, ties by index', () => {
    expect(Array.from(smallestPerLabel(scores, labels, 2, 2))).toEqual([6, 2, 5, 1]);
    expect(Array.from(smallestPerLabel(scores, labels, 2, 3))).toEqual([6, 2, 0, 5, 1, 3]);
  });

  it('are all there are where a label has too few', () => {
    expect(Array.from(smallestPerLabel(scores, labels, 3, 4))).toEqual([6, 2, 0, 4, 5, 1, 3]);
    expect(smallestPerLabel(scores, labels, 2, 0)).toHaveLength(0);
  });

  it('take eligible rows only, and never look at the scores of others', () => {
    const marks = [true, true, true, true, true, false, false];
    const broken = Float32Array.of(5, 1, 3, 1, 9, Number.NaN, Number.NaN);
    expect(Array.from(smallestPerLabel(broken, labels, 2, 2, marks))).toEqual([2, 0, 1, 3]);
    expect(() => smallestPerLabel(broken, labels, 2, 2)).toThrow('selection: expected finite numbers, got NaN at 5');
  });

  it('take a quota for each label', () => {
    expect(Array.from(smallestPerLabel(scores, labels, 2, [1, 2]))).toEqual([6, 5, 1]);
  });

  it('refuse quotas, lengths and labels that do not fit', () => {
    expect(() => smallestPerLabel(scores, labels, 2, -1)).toThrow('perLabel: expected an integer ≥ 0');
    expect(() => smallestPerLabel(scores, labels, 2, [1])).toThrow('perLabel');
    expect(() => smallestPerLabel([1], labels, 2, 1)).toThrow(dataError);
    expect(() => smallestPerLabel(scores, labels, 2, 1, [true])).toThrow(dataError);
    expect(() => smallestPerLabel(scores, labels, 1 + 1, 1.5)).toThrow('perLabel');
    expect(() => smallestPerLabel(scores, Int32Array.of(0, 2, 0, 0, 0, 0, 0), 2, 1)).toThrow('labels[1]');
  });
});
