import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Dataset } from '../../src/dataset.js';
import { limitsFrom, scoreCrossLabel } from '../../src/defenses/pad-ft/purify.js';
import { judge } from '../../src/defenses/pad-ft/verdict.js';
import { type Model, type PadFtSettings, PRESETS } from '../../src/index.js';
import { Random } from '../../src/random.js';
import { quantile } from '../../src/statistics.js';

/** Channels of 4000 rows, about normal but for a tail of `planted` rows that lie far above. */
function channels(planted: number) {
  const random = new Random(3);
  const normal = () => Array.from({ length: 12 }, () => random.uniform()).reduce((sum, x) => sum + x, -6);
  const rows = 4000;
  const columns = [0, 5].map((centre) =>
    Float64Array.from({ length: rows }, (_, row) => centre + normal() + (row < planted * rows ? 50 : 0)),
  );
  return async (q: number) => Float32Array.from(columns, (column) => quantile(column, q));
}

test('observed limits are the quantile itself', async () => {
  const ranges = channels(0.1);
  expect(await limitsFrom(ranges, { quantile: 0.95, limits: 'observed' })).toEqual(await ranges(0.95));
});

test('extrapolated limits are near the quantile of clean rows, and stay there when a tenth of the rows is planted', async () => {
  const settings = { quantile: 0.95, limits: 'extrapolated' } as const;
  const clean = await limitsFrom(channels(0), settings);
  const planted = await limitsFrom(channels(0.1), settings);
  const seen = await channels(0.1)(0.95);
  // A normal distribution's 0.95-quantile is 1.645 deviations above its middle.
  for (const [i, centre] of [0, 5].entries()) {
    expect(clean[i]).toBeGreaterThan(centre + 1.5);
    expect(clean[i]).toBeLessThan(centre + 1.8);
    expect((planted[i] ?? 0) - (clean[i] ?? 0)).toBeLessThan(0.6);
    expect(seen[i]).toBeGreaterThan(45);
  }
  // By hand: 2 + (z(0.95) / z(0.75) = 2.43867) · (3 − 2), and never below zero.
  const made = async (q: number) => Float32Array.from(q === 0.5 ? [2, -9, 2] : q === 0.75 ? [3, -8, 3] : [9, 9, 4]);
  const [above, below, lower] = await limitsFrom(made, settings);
  expect(above).toBeCloseTo(4.43867, 4);
  expect(below).toBe(0);
  // Where the rows themselves stay lower, theirs: not every channel is anything like normal.
  expect(lower).toBe(4);
});

describe('either kind of limits', () => {
  const CLASSES = 10;
  const ROWS = 4000;
  const WIDTH = 4;
  const labels = Int32Array.from({ length: ROWS }, (_, row) => row % CLASSES);
  const data = {
    count: ROWS,
    classes: CLASSES,
    labels: () => labels,
    subset: async (rows: Uint32Array) => ({
      rows,
      disposed: false,
      dispose() {
        this.disposed = true;
      },
      [Symbol.dispose]() {
        this.disposed = true;
      },
    }),
  } as unknown as Dataset;

  interface Made {
    readonly tight: number;
    readonly planted: number;
    /** Median and third quartile on the second sample, of rows that look clean: 4 is extrapolated from 1.6 and 2.6. */
    readonly second?: readonly [number, number];
    /** So many labels lose theirs to the limits of the first sample already. */
    readonly early?: number;
    /** In so many labels those rows lose a little to the observed limits, and share their features. */
    readonly featured?: number;
  }

  /** A victim that loses, under limits below `tight`, the margin of a third of the rows of the labels below `planted`. */
  function victimOf({ tight, planted, second = [1.6, 2.6], early = 0, featured = 0 }: Made) {
    const kinds: number[] = [];
    const looks: string[] = [];
    const samples = new Set<Uint32Array>();
    const random = new Random(5);
    const noise = Float32Array.from({ length: ROWS }, () => 20 + random.normal());
    const features = Float32Array.from({ length: ROWS * WIDTH }, (_, i) => {
      const row = Math.floor(i / WIDTH);
      return random.normal() + ((labels[row] as number) < featured && row % 30 < CLASSES ? 6 : 0);
    });
    const victim = {
      device: 'cpu',
      featureCount: WIDTH,
      whitenedFeatures: async ({ rows }: { readonly rows: Uint32Array }) =>
        Float32Array.from({ length: rows.length * WIDTH }, (_, i) => {
          return features[(rows[Math.floor(i / WIDTH)] as number) * WIDTH + (i % WIDTH)] as number;
        }),
      // One channel: 2 in the middle, 3 at three quarters, so 4.4 is extrapolated; 9 is observed.
      activationRanges: async (
        sample: { readonly disposed: boolean; readonly rows: Uint32Array },
        { quantile: q }: { readonly quantile: number },
      ) => {
        await nextTurn();
        expect(sample.disposed).toBe(false);
        samples.add(sample.rows);
        looks.push(`${samples.size} ${q}`);
        const [middle, quartile] = samples.size === 2 ? second : [2, 3];
        return Float32Array.of(q === 0.5 ? middle : q === 0.75 ? quartile : 9);
      },
      score: async (_: unknown, options: { readonly limits?: { readonly values: Float32Array } }) => {
        const limit = options.limits?.values[0] ?? Number.POSITIVE_INFINITY;
        if (options.limits !== undefined) kinds.push(limit);
        const logOdds = noise.map((value, row) => {
          const label = labels[row] as number;
          const held = limit < tight || (limit < 5 && label < early);
          const marked = row % 30 < CLASSES;
          const loses = held && label < planted && marked;
          const hint = marked && label < featured ? 1 : 0;
          return limit === Number.POSITIVE_INFINITY ? value : (loses ? -20 : value) + random.normal() - hint;
        });
        return { logOdds, predicted: labels, alternative: labels, sce: logOdds };
      },
    } as unknown as Model;
    return { victim, kinds, looks, samples };
  }

  async function limitsUsed(made: Made, limits: PadFtSettings['purify']['limits'] = 'either') {
    const { victim, kinds, looks, samples } = victimOf(made);
    const { clip, purify } = PRESETS.default;
    const settings = { ...purify, limits, statistic: 'mean' as const };
    const scores = await scoreCrossLabel({ victim, data, settings, clip, seed: 0, holdout: 0, evaluation: {} });
    const { attacked, text, limits: used, unsure } = (await judge(scores, labels, CLASSES, settings)).verdict;
    expect(text.startsWith('by extrapolated limits: label 0')).toBe(used === 'extrapolated' && attacked.length > 0);
    expect(text.includes('extrapolated limits alone accuse')).toBe(unsure !== undefined);
    // Whatever is asked for, no range is measured twice.
    expect(new Set(looks).size).toBe(looks.length);
    // Of the rows that lose their margin the first sample has its share, the one that many labels make for none.
    const losers = [...samples].map(
      (rows) => rows.filter((row) => row % CLASSES < (made.early ?? made.planted) && row % 30 < CLASSES).length,
    );
    expect(losers[0]).toBeGreaterThan(100);
    expect(losers.slice(1)).toEqual(limits === 'either' && used === 'extrapolated' ? [0] : []);
    const named = kinds.map((limit) => (limit === 9 ? 'observed' : limit < 4.2 ? 'again' : 'extrapolated'));
    return { kinds: named, attacked, used, unsure };
  }

  test.each([
    [
      'observed ones find a label: extrapolated ones are not tried',
      { tight: 10, planted: 1 },
      ['observed'],
      [0],
      'observed',
    ],
    [
      'extrapolated ones find several labels',
      { tight: 5, planted: 4 },
      ['observed', 'extrapolated', 'again'],
      [0, 1, 2, 3],
      'extrapolated',
    ],
    [
      'extrapolated ones find three labels',
      { tight: 5, planted: 3 },
      ['observed', 'extrapolated', 'again'],
      [0, 1, 2],
      'extrapolated',
    ],
    [
      'extrapolated ones find two labels: no evidence',
      { tight: 5, planted: 2 },
      ['observed', 'extrapolated'],
      [],
      'observed',
      [0, 1],
    ],
    [
      'extrapolated ones find one label alone: no evidence',
      { tight: 5, planted: 1 },
      ['observed', 'extrapolated'],
      [],
      'observed',
      [0],
    ],
    [
      'what is measured again denies a fourth label its margin too',
      { tight: 4.2, planted: 4, early: 3 },
      ['observed', 'extrapolated', 'again'],
      [0, 1, 2, 3],
      'extrapolated',
    ],
    [
      'what is measured again misses a label: the first scores stay',
      { tight: 5, planted: 3, second: [8, 9] },
      ['observed', 'extrapolated', 'observed'],
      [0, 1, 2],
      'extrapolated',
    ],
    ['neither finds anything', { tight: 0, planted: 4 }, ['observed', 'extrapolated'], [], 'observed'],
    [
      'a label shows by its features alone: extrapolated ones are tried, and two labels do not overrule it',
      { tight: 5, planted: 2, featured: 1 },
      ['observed', 'extrapolated'],
      [0],
      'observed',
    ],
    [
      'two labels show by their features, and more by extrapolated ones',
      { tight: 5, planted: 4, featured: 2 },
      ['observed', 'extrapolated', 'again'],
      [0, 1, 2, 3],
      'extrapolated',
    ],
    [
      'a label that extrapolated ones miss shows by its features',
      { tight: 5, planted: 3, featured: 4 },
      ['observed', 'extrapolated', 'again'],
      [0, 1, 2, 3],
      'extrapolated',
    ],
    [
      'several labels show by observed ones: extrapolated ones are tried, and find the same',
      { tight: 10, planted: 4 },
      ['observed', 'extrapolated', 'again'],
      [0, 1, 2, 3],
      'extrapolated',
    ],
  ] as const)('%s', async (_, made, kinds, attacked, used, unsure = undefined) => {
    expect(await limitsUsed(made)).toEqual({ kinds, attacked, used, unsure });
  });

  test('the sample is there as long as limits are measured on it, whichever are asked for', async () => {
    expect((await limitsUsed({ tight: 5, planted: 4 }, 'observed')).kinds).toEqual(['observed']);
    expect((await limitsUsed({ tight: 10, planted: 1 }, 'extrapolated')).kinds).toEqual(['extrapolated']);
  });
});
