import { describe, expect, test } from 'vitest';
import { ATTACKS } from '../../src/attacks/index.js';
import { numpyPermutation } from '../../src/attacks/mt19937.js';
import { applyTrigger } from '../../src/attacks/trigger.js';
import { warpGrid } from '../../src/attacks/warp-grid.js';
import { Dataset } from '../../src/dataset.js';
import { type Model, NO_BOUNDS } from '../../src/model.js';
import { loadModel } from '../../src/model-file.js';
import type { NativeBounds, NativeTrigger } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { Fixture, INDEX } from './fixtures.js';

const PRECISION = 'fp32';
const RUN = { precision: PRECISION, batchSize: 5 } as const;

function dataOf(
  fixture: Fixture,
  images: string,
  labels: Int32Array,
  classes = fixture.entry.model?.classes ?? 10,
): Dataset {
  const [count = 0, channels = 0, height = 0, width = 0] = fixture.shape(images);
  return Dataset.from(
    { images: fixture.bytes(images), labels, shape: { count, channels, height, width, classes } },
    'cpu',
  );
}

async function modelOf(fixture: Fixture): Promise<Model> {
  const { mean = [], std = [] } = fixture.entry.model ?? {};
  return (await loadModel(fixture.statePath, { mean, std, device: 'cpu' })).model;
}

const noLabels = (fixture: Fixture, images: string) => new Int32Array(fixture.shape(images)[0] ?? 0);

test('every fixture is known here; losses and tune are compared in head.test.ts', () => {
  // `augment` and `anew` by the core's own tests: no entry of the border takes factors of brightness and contrast, or shows
  // these losses alone.
  expect(Object.keys(INDEX.fixtures).sort()).toEqual(
    [
      'forward-w4',
      'forward-w8-c7',
      'bounds-gradient',
      'train',
      'bounds-absolute-published',
      'bounds-absolute-ranges',
      'bounds-fraction-max',
      'bounds-fraction-mean',
      'bounds-fraction-both',
      'bounds-layer-absolute',
      'bounds-layer-fraction',
      'triggers',
      'warp-square',
      'warp-wide',
      'numpy-random',
      'losses',
      'tune',
      'augment',
      'anew',
    ].sort(),
  );
});

describe.each(['forward-w4', 'forward-w8-c7'])('%s', (name) => {
  test('logits, features, scores and ranges', async () => {
    const fixture = await Fixture.open(name);
    using model = await modelOf(fixture);
    if (name === 'forward-w4')
      expect(model.sites.map(({ name, channels }) => [name, channels])).toEqual(INDEX.sites_w4);
    using data = dataOf(fixture, 'images', fixture.integers('labels'));
    const bounds = { max: fixture.floats('bounds.max'), mean: fixture.floats('bounds.mean') };
    const under = async (set: NativeBounds, answers: { logits?: string; features?: string }) => {
      model.bounds = set;
      if (answers.logits) fixture.expect(answers.logits, await model.logits(data, RUN));
      if (answers.features) fixture.expect(answers.features, await model.features(data, RUN));
    };
    await under({ ...bounds, mean: null }, { logits: 'logits.max' });
    await under({ ...bounds, max: null }, { logits: 'logits.mean' });
    await under(bounds, { logits: 'logits.both', features: 'features.both' });
    await under(NO_BOUNDS, { logits: 'logits', features: 'features' });
    fixture.expect('predicted', await model.predict(data, RUN));

    const free = await model.score(data, { ...RUN, alpha: fixture.number('alpha') });
    fixture.expect('sce', free.sce);
    fixture.expect('logodds', free.logOdds);
    fixture.expect('predicted', free.predicted);
    fixture.expect('alternative', free.alternative);
    for (const statistic of ['mean', 'max'] as const) {
      const values = fixture.floats(`ranges.${statistic}`);
      const limited = await model.score(data, { ...RUN, limits: { statistic, values } });
      fixture.expect(`limited.${statistic}.sce`, limited.sce);
      fixture.expect(`limited.${statistic}.logodds`, limited.logOdds);
      if (statistic === 'max') continue;
      fixture.expect('limited.mean.predicted', limited.predicted);
      fixture.expect('limited.mean.alternative', limited.alternative);
    }

    const ranges = { ...RUN, leaveOneLabelOut: true };
    fixture.expect('ranges.mean', await model.activationRanges(data, { ...ranges, statistic: 'mean', quantile: 0.95 }));
    fixture.expect('ranges.max', await model.activationRanges(data, { ...ranges, statistic: 'max', quantile: 0.99 }));
    const all = { ...RUN, statistic: 'mean', quantile: 0.95, leaveOneLabelOut: false } as const;
    fixture.expect('ranges.mean.all', await model.activationRanges(data, all));
    // One image at a time, the whole range is the image's own statistic.
    for (const statistic of ['mean', 'max'] as const) {
      const each = await eachRow(data, (row) =>
        model.activationRanges(row, { ...RUN, statistic, quantile: 1, leaveOneLabelOut: false }),
      );
      fixture.expect(`statistic.${statistic}`, each);
    }
    fixture.expectComplete();
  });
});

async function eachRow(data: Dataset, compute: (row: Dataset) => Promise<Float32Array>): Promise<number[]> {
  const all: number[] = [];
  for (let row = 0; row < data.count; row++) {
    using one = await data.subset(Uint32Array.of(row));
    all.push(...(await compute(one)));
  }
  return all;
}

test('train: ten steps of SGD', async () => {
  const fixture = await Fixture.open('train');
  using model = await modelOf(fixture);
  using data = dataOf(fixture, 'images', fixture.integers('labels'));
  const rate = fixture.number('learningRate');
  const trainer = loadAddon().createTrainer(model.native, {
    momentum: fixture.number('momentum'),
    weightDecay: fixture.number('weightDecay'),
  });
  const before = new Map((await model.state()).map((entry) => [entry.name, entry]));
  const losses: number[] = [];
  for (let step = 0; step < fixture.number('steps'); step++) {
    // All rows in one batch: the order that the seed draws does not matter.
    const options = {
      batchSize: fixture.number('batchSize'),
      dropLast: false,
      learningRate: [rate, rate],
      cropPadding: 0,
      flip: false,
      seed: step,
      precision: PRECISION,
      recipe: null,
      objective: null,
    } as const;
    losses.push((await trainer.epoch(data.native, options).promise).loss);
  }
  trainer.dispose();
  fixture.expect('loss', losses);
  for (const { name, dtype, data: bytes } of await model.state()) {
    if (dtype === 'F32') fixture.expect(`final.${name}`, new Float32Array(new Uint8Array(bytes).buffer));
    else expect(stepsOf(bytes) - stepsOf(before.get(name)?.data)).toBe(10);
  }
  fixture.expectComplete();
});

function stepsOf(bytes: Uint8Array | undefined): number {
  return Number(new BigInt64Array(new Uint8Array(bytes ?? new Uint8Array(8)).buffer)[0]);
}

interface Fit {
  readonly losses: number[];
  readonly mses: number[];
  readonly suspectLosses: number[];
  readonly bounds: NativeBounds;
}

/** Single steps on all rows at once, from `start`. */
async function fitBounds(
  fixture: Fixture,
  parameters: 'absolute' | 'fraction',
  start: NativeBounds,
  steps: number,
  learningRate: number,
): Promise<Fit> {
  using model = await modelOf(fixture);
  const fraction = parameters === 'fraction';
  using data = dataOf(fixture, 'images', fraction ? fixture.integers('labels') : noLabels(fixture, 'images'));
  using suspects = fraction ? dataOf(fixture, 'suspects', fixture.integers('suspect_labels')) : null;
  const fitter = loadAddon().createBoundsFitter(model.native, data.native, suspects?.native ?? null, {
    ...start,
    parameters,
    granularity: 'per-channel',
    scale: fraction ? 'variance' : 'plain',
    margin: fraction ? fixture.number('margin') : 0,
    precision: PRECISION,
    seed: 0,
  });
  const options = {
    steps: 1,
    learningRate,
    lambda: fixture.number('lambda'),
    mu: fraction ? fixture.number('mu') : 0,
    batchSize: 8,
    suspectBatchSize: 8,
  };
  const result: { losses: number[]; mses: number[]; suspectLosses: number[] } = {
    losses: [],
    mses: [],
    suspectLosses: [],
  };
  for (let step = 0; step < steps; step++) {
    const { loss, mse, suspectLoss } = await fitter.steps(options).promise;
    result.losses.push(loss);
    result.mses.push(mse);
    result.suspectLosses.push(suspectLoss);
  }
  const bounds = fitter.bounds();
  fitter.dispose();
  return { ...result, bounds };
}

test.each(['published', 'ranges'])('bounds-absolute-%s', async (name) => {
  const fixture = await Fixture.open(`bounds-absolute-${name}`);
  const mean = name === 'ranges' ? fixture.floats('start.mean') : null;
  const { losses, mses, bounds } = await fitBounds(
    fixture,
    'absolute',
    { max: fixture.floats('start.max'), mean },
    10,
    fixture.number('learningRate'),
  );
  fixture.expect('loss', losses);
  fixture.expect('mse', mses);
  fixture.expect('final.max', bounds.max ?? []);
  if (mean !== null) fixture.expect('final.mean', bounds.mean ?? []);
  fixture.expectComplete();
});

test.each(['max', 'mean', 'both'])('bounds-fraction-%s', async (name) => {
  const fixture = await Fixture.open(`bounds-fraction-${name}`);
  const start = {
    max: name === 'mean' ? null : fixture.floats('reference.max'),
    mean: name === 'max' ? null : fixture.floats('reference.mean'),
  };
  const { losses, mses, suspectLosses, bounds } = await fitBounds(
    fixture,
    'fraction',
    start,
    10,
    fixture.number('learningRate'),
  );
  fixture.expect('loss', losses);
  fixture.expect('suspects_loss', suspectLosses);
  // The core reports the error as it enters the loss, divided by the variance.
  const variance = fixture.floats('variance')[0] ?? 0;
  fixture.expect(
    'mse',
    mses.map((mse) => mse * variance),
  );
  fixture.expect('variance', [await variancesOfLogits(fixture)]);
  for (const kind of ['max', 'mean'] as const) {
    const reference = start[kind];
    if (reference === null) continue;
    fixture.expect(`final.${kind}`, bounds[kind] ?? []);
    // A channel whose reference is 0 has bound 0 whatever its fraction: only PyTorch's own is known there.
    const expected = fixture.floats(`fraction.${kind}`);
    fixture.expect(
      `fraction.${kind}`,
      reference.map((range, i) => (range === 0 ? (expected[i] ?? 0) : (bounds[kind]?.[i] ?? 0) / range)),
    );
  }
  fixture.expectComplete();
});

async function variancesOfLogits(fixture: Fixture): Promise<number> {
  using model = await modelOf(fixture);
  using data = dataOf(fixture, 'images', noLabels(fixture, 'images'));
  const logits = Array.from(await model.logits(data, RUN));
  const mean = logits.reduce((sum, z) => sum + z, 0) / logits.length;
  return logits.reduce((sum, z) => sum + (z - mean) ** 2, 0) / logits.length;
}

test.each(['absolute', 'fraction'] as const)('bounds-layer-%s: one parameter a layer', async (parameters) => {
  const fixture = await Fixture.open(`bounds-layer-${parameters}`);
  using model = await modelOf(fixture);
  using data = dataOf(fixture, 'images', noLabels(fixture, 'images'));
  const fitter = loadAddon().createBoundsFitter(model.native, data.native, null, {
    max: fixture.floats('ranges.max'),
    mean: fixture.floats('ranges.mean'),
    parameters,
    granularity: 'per-layer',
    scale: parameters === 'fraction' ? 'variance' : 'plain',
    margin: 0,
    precision: PRECISION,
    seed: 0,
  });
  const options = {
    steps: 1,
    learningRate: fixture.number('learningRate'),
    lambda: fixture.number('lambda'),
    mu: 0,
    batchSize: 8,
    suspectBatchSize: 8,
  };
  const losses: number[] = [];
  const mses: number[] = [];
  for (let step = 0; step < fixture.number('steps'); step++) {
    const { loss, mse } = await fitter.steps(options).promise;
    losses.push(loss);
    mses.push(mse);
  }
  const { max, mean } = fitter.bounds();
  fitter.dispose();
  fixture.expect('loss', losses);
  fixture.expect('mse', mses);
  fixture.expect('final.max', max ?? []);
  fixture.expect('final.mean', mean ?? []);
  fixture.expectComplete();
});

test.each([['max'], ['mean'], ['both']])('bounds-gradient: %s', async (name) => {
  const fixture = await Fixture.open('bounds-gradient');
  const start = {
    max: name === 'mean' ? null : fixture.floats('bounds.max'),
    mean: name === 'max' ? null : fixture.floats('bounds.mean'),
  };
  const rate = 1e-3;
  const { losses, mses, bounds } = await fitBounds(fixture, 'absolute', start, 1, rate);
  fixture.expect(`${name}.loss`, losses);
  fixture.expect(`${name}.mse`, mses);
  // Adam's first step is rate · g / (|g| + 1e-8): it shows the sign of every gradient beyond rounding, and that the
  // rest is small. The core's own tests compare the sizes, the ten steps above what comes of them.
  for (const kind of ['max', 'mean'] as const) {
    const before = start[kind];
    if (before === null) continue;
    const wrong = Array.from(fixture.floats(`${name}.gradient.${kind}`)).flatMap((gradient, i) => {
      const step = ((before[i] ?? 0) - (bounds[kind]?.[i] ?? 0)) / rate;
      return Math.abs(gradient) > 1e-5 && Math.abs(step - Math.sign(gradient)) > 0.01 ? [{ i, gradient, step }] : [];
    });
    expect(wrong).toEqual([]);
  }
});

test('triggers: the core, and the preview in TypeScript', async () => {
  const fixture = await Fixture.open('triggers');
  using data = dataOf(fixture, 'images', noLabels(fixture, 'images'));
  const [pattern, mask] = [fixture.bytes('pattern'), fixture.bytes('mask')];
  const rows = Uint32Array.from({ length: data.count }, (_, row) => row);
  const size = pattern.length;
  const shape = { channels: 3, height: 32, width: 32 };
  const draw = async (answer: string, trigger: NativeTrigger) => {
    using drawn = await data.withTrigger(rows, trigger, data.labels());
    fixture.expect(answer, drawn.images(rows));
    const images = fixture.bytes('images');
    const previews = Array.from(rows, (row) =>
      applyTrigger(images.subarray(row * size, (row + 1) * size), trigger, shape),
    );
    fixture.expect(
      answer,
      previews.flatMap((preview) => Array.from(preview)),
    );
  };
  await draw('replaced', { kind: 'replace', mask, pattern });
  await draw('blended.0.2', { kind: 'blend', alpha: 0.2, pattern });
  await draw('blended.0.1', { kind: 'blend', alpha: 0.1, pattern });
  await draw('added', { kind: 'add', pattern: fixture.floats('add.pattern') });
  fixture.expectComplete();
});

test("SIG's wave is NumPy's, bit for bit", async () => {
  const fixture = await Fixture.open('triggers');
  const { trigger } = ATTACKS.sig.build({}, { channels: 3, height: 32, width: 32 });
  expect(trigger).toEqual({ kind: 'add', pattern: fixture.floats('add.pattern') });
});

test.each(['square', 'wide'])("WaNet's grid and warped images are PyTorch's: %s", async (name) => {
  const fixture = await Fixture.open(`warp-${name}`);
  const [count = 0, channels = 0, height = 0, width = 0] = fixture.shape('images');
  const [strength, rescale] = [fixture.number('strength'), fixture.number('rescale')];
  fixture.expect('grid', warpGrid(fixture.floats('field'), { strength, rescale }, { height, width }));

  using data = dataOf(fixture, 'images', noLabels(fixture, 'images'));
  const rows = Uint32Array.from({ length: count }, (_, row) => row);
  const trigger: NativeTrigger = { kind: 'warp', grid: fixture.floats('grid') };
  using drawn = await data.withTrigger(rows, trigger, data.labels());
  const warped = drawn.images(rows);
  fixture.expect('warped', warped);
  const [images, size] = [fixture.bytes('images'), channels * height * width];
  const shape = { channels, height, width };
  const previews = Array.from(rows, (row) =>
    applyTrigger(images.subarray(row * size, (row + 1) * size), trigger, shape),
  );
  fixture.expect(
    'warped',
    previews.flatMap((preview) => Array.from(preview)),
  );
  // As published: in float32 on [0, 1], truncated. Rounding then decides where a value is close to a whole level.
  fixture.expect('warped.float32', warped);
  const published = fixture.bytes('warped.float32');
  const different = warped.filter((value, i) => value !== published[i]).length;
  expect(different / warped.length).toBeLessThan(fixture.number('share'));
  fixture.expectComplete();
});

test("numpy-random: NumPy's legacy permutation", async () => {
  const fixture = await Fixture.open('numpy-random');
  fixture.expect('permutation', numpyPermutation(fixture.number('count'), fixture.number('seed')).slice(0, 10));
  fixture.expectComplete();
});
