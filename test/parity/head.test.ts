import { expect, test } from 'vitest';
import { Dataset } from '../../src/dataset.js';
import { LOG_ZERO, type Model } from '../../src/model.js';
import { loadModel } from '../../src/model-file.js';
import { loadAddon } from '../../src/native/load.js';
import { Fixture } from './fixtures.js';
import {
  consistency,
  type Head,
  type HeadOptions,
  type Loss,
  logOdds,
  rowsOf,
  sce,
  suspicion,
  tuneHead,
} from './head.js';

test('losses: head.ts gives what PyTorch gives', async () => {
  const fixture = await Fixture.open('losses');
  const logits = rowsOf(fixture.floats('logits'), 10);
  const other = rowsOf(fixture.floats('logits.augmented'), 10);
  const labels = fixture.integers('labels');
  const over = (loss: (z: readonly number[], label: number) => Loss) =>
    logits.map((z, row) => loss(z, labels[row] ?? 0));
  const values = (losses: readonly Loss[]) => losses.map(({ value }) => value);
  const mean = (numbers: readonly number[]) => [numbers.reduce((sum, value) => sum + value, 0) / numbers.length];
  const gradients = (rows: readonly (readonly number[])[]) => rows.flatMap((row) => row.map((g) => g / logits.length));

  const entropies = over((z, label) => sce(z, label, fixture.number('alpha'), fixture.number('logZero')));
  fixture.expect('sce', values(entropies));
  fixture.expect('sce.gradient', gradients(entropies.map(({ gradient }) => gradient)));
  const odds = over(logOdds);
  fixture.expect('logodds', values(odds));
  fixture.expect('logodds.gradient', gradients(odds.map(({ gradient }) => gradient)));
  const terms = over((z, label) => suspicion(z, label, fixture.number('margin')));
  fixture.expect('suspects', mean(values(terms)));
  fixture.expect('suspects.gradient', gradients(terms.map(({ gradient }) => gradient)));
  const agreements = logits.map((z, row) => consistency(z, other[row] ?? []));
  fixture.expect('consistency', mean(values(agreements)));
  fixture.expect('consistency.gradient', gradients(agreements.map(({ gradient }) => gradient)));
  fixture.expect('consistency.gradient.augmented', gradients(agreements.map((loss) => loss.other)));
  // The core's own tests (native/test/parity_test.cpp) compare all of these with the core, these two as well.
  fixture.expectComplete('mse', 'mse.gradient');
});

test.each(['paper', 'suspects'] as const)('tune: head.ts gives what PyTorch gives (%s)', async (name) => {
  const fixture = await Fixture.open('tune');
  const [, width = 0] = fixture.shape('features');
  const data = {
    features: rowsOf(fixture.floats('features'), width),
    augmented: rowsOf(fixture.floats('features.augmented'), width),
    labels: Array.from(fixture.integers('labels')),
    suspects: rowsOf(fixture.floats('suspect_features'), width),
    suspectLabels: Array.from(fixture.integers('suspect_labels')),
  };
  const options = {
    learningRate: fixture.number('learningRate'),
    momentum: fixture.number('momentum'),
    weightDecay: fixture.number('weightDecay'),
    alpha: fixture.number('alpha'),
    logZero: fixture.number('logZero'),
    beta: fixture.number('beta'),
    margin: fixture.number('margin'),
    nu: name === 'paper' ? 0 : 0.2,
  };
  const start = { weight: rowsOf(fixture.floats('weight'), width), bias: Array.from(fixture.floats('bias')) };
  const { weight, bias, losses } = tuneHead(start, data, options, fixture.number('epochs'));
  fixture.expect(`${name}.loss`, losses);
  fixture.expect(`${name}.weight`, weight.flat());
  fixture.expect(`${name}.bias`, bias);
});

const OPTIONS: HeadOptions = {
  learningRate: 0.05,
  momentum: 0.9,
  weightDecay: 5e-4,
  alpha: 0.1,
  logZero: LOG_ZERO,
  beta: 0.5,
  nu: 0.2,
  margin: 2,
};
const EPOCHS = 5;
const RUN = { precision: 'fp32', batchSize: 8 } as const;

async function headOf(model: Model): Promise<Head> {
  const state = new Map((await model.state()).map(({ name, data }) => [name, new Uint8Array(data).buffer]));
  const floats = (name: string) => new Float32Array(state.get(name) ?? new ArrayBuffer(0));
  return { weight: rowsOf(floats('linear.weight'), model.featureCount), bias: Array.from(floats('linear.bias')) };
}

async function modelAndImages() {
  const fixture = await Fixture.open('forward-w4');
  const { mean = [], std = [] } = fixture.entry.model ?? {};
  const { model } = await loadModel(fixture.statePath, { mean, std, device: 'cpu' });
  model.bounds = { max: fixture.floats('bounds.max'), mean: fixture.floats('bounds.mean') };
  return { model, images: fixture.bytes('images'), labels: fixture.integers('labels') };
}

const SIZE = 3 * 32 * 32;

function datasetOf(images: Uint8Array, labels: Int32Array): Dataset {
  return Dataset.from(
    { images, labels, shape: { count: labels.length, channels: 3, height: 32, width: 32, classes: 10 } },
    'cpu',
  );
}

function mirrored(images: Uint8Array): Uint8Array {
  return images.map((_, i) => images[i - (i % 32) + 31 - (i % 32)] ?? 0);
}

function closeTo(got: readonly number[], expected: readonly number[]): void {
  expect(got).toHaveLength(expected.length);
  const worst = Math.max(
    ...got.map((value, i) => Math.abs(value - (expected[i] ?? 0)) / (1e-5 + 1e-4 * Math.abs(expected[i] ?? 0))),
  );
  expect(worst).toBeLessThanOrEqual(1);
}

test.each([0, 1])(
  'the classifier tuner, %i draws: whole batches without augmentation, suspects as evidence',
  async (draws) => {
    const { model: loaded, images, labels } = await modelAndImages();
    using model = loaded;
    using data = datasetOf(images.subarray(0, 10 * SIZE), labels.slice(0, 10));
    using suspects = datasetOf(images.subarray(10 * SIZE), labels.slice(10));
    const features = rowsOf(await model.features(data, RUN), model.featureCount);
    const given = {
      features,
      augmented: features,
      labels: Array.from(labels.slice(0, 10)),
      suspects: rowsOf(await model.features(suspects, RUN), model.featureCount),
      suspectLabels: Array.from(labels.slice(10)),
    };
    const expected = tuneHead(await headOf(model), given, OPTIONS, EPOCHS);
    const { learningRate, ...options } = OPTIONS;
    const tuner = loadAddon().createClassifierTuner(model.native, data.native, suspects.native, {
      ...options,
      draws,
      jitter: 0,
      flip: false,
      seed: 0,
      precision: 'fp32',
      featureBatchSize: 4,
    });
    const losses: number[] = [];
    for (let epoch = 0; epoch < EPOCHS; epoch++)
      losses.push((await tuner.epoch({ learningRate, batchSize: 16 }).promise).loss);
    tuner.dispose();
    closeTo(losses, expected.losses);
    const { weight, bias } = await headOf(model);
    closeTo(weight.flat(), expected.weight.flat());
    closeTo([...bias], [...expected.bias]);
  },
);

test('the classifier tuner: consistency with a mirrored copy', async () => {
  // One row and one draw: the copy is either the image itself or its mirror image, and the seed decides which.
  const { model: loaded, images, labels } = await modelAndImages();
  using model = loaded;
  const label = labels.slice(3, 4);
  const image = images.slice(3 * SIZE, 4 * SIZE);
  using data = datasetOf(image, label);
  using mirror = datasetOf(mirrored(image), label);
  const features = rowsOf(await model.features(data, RUN), model.featureCount);
  const flipped = rowsOf(await model.features(mirror, RUN), model.featureCount);
  const start = await headOf(model);
  const { learningRate, ...options } = { ...OPTIONS, nu: 0 };
  const seen = new Set<boolean>();
  for (let seed = 0; seed < 8; seed++) {
    using copy = await model.clone();
    const tuner = loadAddon().createClassifierTuner(copy.native, data.native, null, {
      ...options,
      draws: 1,
      jitter: 0,
      flip: true,
      seed,
      precision: 'fp32',
      featureBatchSize: 4,
    });
    const results = [];
    for (let epoch = 0; epoch < EPOCHS; epoch++)
      results.push(await tuner.epoch({ learningRate, batchSize: 1 }).promise);
    tuner.dispose();
    const isFlipped = (results[0]?.consistency ?? 0) > 0;
    seen.add(isFlipped);
    const given = {
      features,
      augmented: isFlipped ? flipped : features,
      labels: Array.from(label),
      suspects: [],
      suspectLabels: [],
    };
    const expected = tuneHead(start, given, { ...options, learningRate }, EPOCHS);
    closeTo(
      results.map(({ loss }) => loss),
      expected.losses,
    );
    const head = await headOf(copy);
    closeTo(head.weight.flat(), expected.weight.flat());
    closeTo([...head.bias], [...expected.bias]);
  }
  expect(seen).toEqual(new Set([true, false]));
});
