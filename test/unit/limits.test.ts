import { expect, test } from 'vitest';
import { limitsFrom } from '../../src/defenses/pad-ft/purify.js';
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
