import { describe, expect, it } from 'vitest';
import { PRESETS } from '../../src/defenses/pad-ft/options.js';
import { correctRows, selectRows } from '../../src/defenses/pad-ft/purify.js';
import { refineNearCuts } from '../../src/defenses/pad-ft/refine.js';
import type { Scores } from '../../src/native/contract.js';
import { Random } from '../../src/random.js';

const CLASSES = 4;
const random = new Random(7);

/** Scores whose log-odds are given; every row is classified as labelled where they are positive. */
function scoresOf(logOdds: Float32Array, labels: Int32Array): Scores {
  const other = labels.map((label) => (label + 1) % CLASSES);
  const predicted = labels.map((label, row) => ((logOdds[row] as number) > 0 ? label : (other[row] as number)));
  return { sce: logOdds.map((value) => Math.log1p(Math.exp(-value))), logOdds, predicted, alternative: other };
}

interface Made {
  /** Exact log-odds of a row. */
  readonly exact: (row: number) => number;
  /** What the fast arithmetic adds to it. */
  readonly error: (row: number, exact: number) => number;
  readonly rows?: number;
  readonly count?: number;
}

async function refined({ exact, error, rows = 4000, count = 400 }: Made) {
  const labels = Int32Array.from({ length: rows }, (_, row) => row % CLASSES);
  const truth = Float32Array.from(labels, (_, row) => exact(row));
  const settings = { ...PRESETS.paper.purify, count };
  const asked: Uint32Array[] = [];
  const result = await refineNearCuts(
    scoresOf(
      truth.map((value, row) => value + error(row, value)),
      labels,
    ),
    { labels, classes: CLASSES, settings },
    async (some) => {
      asked.push(some);
      return scoresOf(
        Float32Array.from(some, (row) => truth[row] as number),
        Int32Array.from(some, (row) => labels[row] as number),
      );
    },
  );
  const select = (scores: Scores) => {
    const score = scores.logOdds.map((value) => -value);
    const eligible = new Uint8Array(rows).fill(1);
    const judged = correctRows(scores, labels);
    const all = { score, eligible, judged, victim: scores, alternative: scores.alternative };
    return selectRows(all, labels, CLASSES, settings);
  };
  const exactly = await select(scoresOf(truth, labels));
  return { ...result, truth, asked, exactly, selected: await select(result.scores) };
}

const sorted = (rows: Uint32Array) => Array.from(rows).sort((a, b) => a - b);
const spread = () => 10 + 3 * random.normal();
const noise = (size: number) => size * (2 * random.uniform() - 1);

describe('scores refined near the cuts', () => {
  it('select the exact rows, from a small share scored again', async () => {
    const { selected, exactly, rescored, halfWidth, asked, scores, truth } = await refined({
      exact: spread,
      error: () => noise(0.1),
    });
    expect(sorted(selected.purified)).toEqual(sorted(exactly.purified));
    expect(rescored.length).toBeGreaterThan(32);
    expect(rescored.length).toBeLessThan(400);
    // Twice the largest difference that was seen, which is at most 0.1.
    expect(halfWidth).toBeGreaterThan(0.15);
    expect(halfWidth).toBeLessThan(0.2 + 1e-5);
    // Each row once, and its exact score in every array.
    expect(asked.flatMap((rows) => [...rows]).sort((a, b) => a - b)).toEqual([...rescored]);
    for (const row of rescored) expect(scores.logOdds[row]).toBe(truth[row]);
  });

  it('widen the band when rows near a cut differ more than the sample', async () => {
    // The cut lies near 13.8, where the fast arithmetic is five times worse than elsewhere.
    const error = (_: number, exact: number) => noise(Math.abs(exact - 13.8) < 0.4 ? 0.5 : 0.02);
    const { selected, exactly, halfWidth, asked } = await refined({ exact: spread, error });
    expect(sorted(selected.purified)).toEqual(sorted(exactly.purified));
    expect(halfWidth).toBeGreaterThan(0.8);
    expect(asked.length).toBeGreaterThan(2);
  });

  it('follow a cut that a common error has moved', async () => {
    const { selected, exactly } = await refined({ exact: spread, error: () => 0.3 + noise(0.05) });
    expect(sorted(selected.purified)).toEqual(sorted(exactly.purified));
  });

  it('break ties as exact scores do: by row', async () => {
    const { selected, exactly } = await refined({ exact: () => Math.round(spread()), error: () => noise(0.1) });
    expect(sorted(selected.purified)).toEqual(sorted(exactly.purified));
  });

  it('need nothing scored again where a label is taken whole', async () => {
    const { rescored, halfWidth, asked, selected } = await refined({
      exact: spread,
      error: () => noise(0.1),
      rows: 200,
      count: 200,
    });
    expect([rescored.length, halfWidth, asked.length]).toEqual([0, 0, 0]);
    expect(selected.purified.length).toBe(200);
  });
});
