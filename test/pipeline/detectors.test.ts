import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dataset } from '../../src/dataset.js';
import { loadDatasetPair } from '../../src/datasets/index.js';
import { drawOverlays, entropyOf, liesOver, scoreByStrip } from '../../src/defenses/detectors/strip.js';
import { Model, type PoisonedSet, padFtSettings, poison, purify, train } from '../../src/index.js';
import { loadAddon } from '../../src/native/load.js';
import { Random, streamSeed } from '../../src/random.js';
import { aurocFromIndices } from '../../src/statistics.js';

/** Everywhere the same, where processors differ in what they are quick at. */
const FP32 = { precision: 'fp32' } as const;
/** A busy machine takes several times as long. */
const PATIENCE = 15 * 60_000;

describe('STRIP', () => {
  const SHAPE = { count: 12, channels: 3, height: 32, width: 32, classes: 4 };
  const PIXELS = 3 * 32 * 32;
  const SEED = 5;

  test.each([
    ['some of the others', 5, 5],
    ['all the others where there are no more', 16, 11],
  ])('adds and clamps %s and averages the entropy over them', async (_, overlays, expected) => {
    const random = new Random(1);
    // Half of the sums are above 255: what clamps, wraps round or averages gives other pictures.
    const images = Uint8Array.from({ length: SHAPE.count * PIXELS }, () => random.below(256));
    const labels = Int32Array.from({ length: SHAPE.count }, (_, row) => row % SHAPE.classes);
    // Pixels weigh much, so that the answers are far from even and the entropies far from each other.
    using victim = Model.create({
      classes: 4,
      width: 8,
      mean: [0.5, 0.5, 0.5],
      std: [0.02, 0.02, 0.02],
      device: 'cpu',
    });
    using data = Dataset.from({ images, labels, shape: SHAPE }, 'cpu');
    const settings = padFtSettings({ purify: { purifier: 'strip', overlays } });
    const input = { ...settings, settings: settings.purify, victim, data, seed: SEED, evaluation: FP32 };
    const found = await scoreByStrip(input);

    const drawn = drawOverlays(SHAPE.count, overlays, streamSeed(SEED, 'strip'));
    const pixel = (row: number, i: number) => images[row * PIXELS + i] as number;
    const sums = new Float64Array(SHAPE.count);
    const counts = new Uint32Array(SHAPE.count);
    for (const [i, overlay] of drawn.entries()) {
      const laid = images.map((value, at) => Math.min(255, value + pixel(overlay, at % PIXELS)));
      using composites = Dataset.from({ images: laid, labels, shape: SHAPE }, 'cpu');
      const logits = await victim.logits(composites, FP32);
      for (let row = 0; row < SHAPE.count; row++) {
        if (!liesOver(drawn, i, row)) continue;
        sums[row]! += entropyOf(logits, row * SHAPE.classes, SHAPE.classes);
        counts[row]! += 1;
      }
    }
    expect([...counts]).toEqual(new Array(SHAPE.count).fill(expected));
    expect([...found.score]).toEqual(Array.from(sums, (sum) => expect.closeTo(-sum / expected, 4)));
    expect([...found.eligible]).toEqual(
      Array.from(await victim.predict(data, FP32), (label, row) => Number(label === labels[row])),
    );
  });

  test('scores every row of a set that is taken in pieces', async () => {
    // Two pieces: the second starts at row 10 000. One colour, 8×8 and a thin network: 40 000 answers in seconds.
    const shape = { count: 10_003, channels: 1, height: 8, width: 8, classes: 2 };
    const random = new Random(2);
    const images = Uint8Array.from({ length: shape.count * 64 }, () => random.below(256));
    const labels = new Int32Array(shape.count);
    using victim = Model.create({ classes: 2, width: 4, mean: [0.5], std: [0.02], device: 'cpu' });
    using data = Dataset.from({ images, labels, shape }, 'cpu');
    const settings = padFtSettings({ purify: { purifier: 'strip', overlays: 1 } });
    const ticks: number[][] = [];
    const onProgress = (done: number, total: number) => ticks.push([done, total]);
    const evaluation = { ...FP32, onProgress };
    const found = await scoreByStrip({ ...settings, settings: settings.purify, victim, data, seed: SEED, evaluation });
    expect(ticks).toEqual([1, 2, 3, 4].map((done) => [done, 4]));

    const drawn = drawOverlays(shape.count, 1, streamSeed(SEED, 'strip'));
    const entropies: Float64Array[] = [];
    for (const overlay of drawn) {
      const laid = images.map((value, at) => Math.min(255, value + (images[overlay * 64 + (at % 64)] as number)));
      using composites = Dataset.from({ images: laid, labels, shape }, 'cpu');
      const logits = await victim.logits(composites, FP32);
      entropies.push(Float64Array.from(labels, (_, row) => entropyOf(logits, 2 * row, 2)));
    }
    const off = Array.from(found.score.keys()).filter((row) => {
      const [i] = [0, 1].filter((at) => liesOver(drawn, at, row)) as [number];
      return !(Math.abs((found.score[row] as number) + (entropies[i]?.[row] as number)) < 1e-4);
    });
    expect(off).toEqual([]);
  });
});

describe('where poison is the smaller part of its label', () => {
  const TARGET = 0;
  let set: PoisonedSet;
  let victim: Model;

  beforeAll(async () => {
    // The same sums, hence the same network, whatever the number of processors.
    loadAddon().setThreads(1);
    const pair = await loadDatasetPair('synthetic', { classes: 4, train: 800, test: 200 });
    const attack = {
      attack: 'badnets',
      attackOptions: { patchSize: 16 },
      rate: 0.07,
      target: TARGET,
      seed: 1,
    } as const;
    set = await poison(pair, attack, { device: 'cpu' });
    // Twice the width of the other tests' networks: in those the widest spread of a label is often another than the
    // poison's.
    const training = await train(set.train, set, {
      width: 16,
      epochs: 5,
      batchSize: 32,
      learningRate: 0.05,
      schedule: 'triangular',
      cropPadding: 0,
      flip: false,
      seed: 1,
      ...FP32,
    });
    victim = training.model;
  }, PATIENCE);

  afterAll(() => {
    for (const handle of [victim, set]) handle?.dispose();
  });

  // Seed 1 was taken: its network learnt most, ACC 90 % and ASR 100 %, 36 of 204 rows planted. AUROC within the label and
  // among all rows, on the machine this was written on, at seeds 0, 1 and 2:
  test.each([
    // 1.00, 0.99, 0.98 and 0.98, 0.99, 0.98.
    ['spectral-signatures', 0.85, 0.85],
    // 1.00, 1.00, 0.99 and 0.91, 0.96, 0.82: each label's smaller part scores high.
    ['activation-clustering', 0.9, 0.7],
    // 0.91, 0.99, 0.92 and 0.86, 1.00, 0.77.
    ['strip', 0.8, 0.65],
  ] as const)('%s ranks planted rows above clean ones', async (purifier, withinLabel, overall) => {
    const settings = padFtSettings({ purify: { purifier, overlays: 4, count: 200 } });
    const found = await purify(victim, set.train, settings, FP32);
    const { poisoned, originalLabels } = set.truth;
    const marks = new Map(Array.from(poisoned, (row, i) => [row, originalLabels[i] !== TARGET]));
    // Of the rows that the victim classifies so; self-labelled poison left out.
    const labels = set.train.labels();
    const all = Uint32Array.from(labels.keys()).filter((row) => found.eligible[row] === 1 && marks.get(row) !== false);
    const planted = all.filter((row) => marks.has(row));
    const own = all.filter((row) => labels[row] === TARGET);
    expect(planted.length).toBeGreaterThan(20);
    expect(planted.length / own.length).toBeLessThan(0.5);
    expect(aurocFromIndices(found.score, planted, own)).toBeGreaterThan(withinLabel);
    expect(aurocFromIndices(found.score, planted, all)).toBeGreaterThan(overall);
  });
});
