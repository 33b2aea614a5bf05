// Compares this machine's CUDA device with its CPU, on made data, in strict float32: the same trigger bytes, logits,
// scores, ranges, training steps, bounds and classifier. For machines that cannot run the test suite; needs a built
// addon and dist/. Prints a line a comparison, exits 1 when one is out of tolerance.

import { Dataset } from '../dist/dataset.js';
import { loadDatasetPair } from '../dist/datasets/index.js';
import { Model } from '../dist/model.js';
import { loadAddon } from '../dist/native/load.js';

const addon = loadAddon();
const runtime = addon.runtime();
if (runtime.cudaDevices.length === 0) {
  console.error(`no CUDA device: ${runtime.cudaProblem}`);
  process.exit(3);
}
const pair = await loadDatasetPair('synthetic', { train: 512, test: 64 });
const normalisation = { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.243, 0.261] };
const EVAL = { batchSize: 128, precision: 'fp32' };

/** One of several epochs by one trainer: recorded steps alone, after weights were put back, and with a last, smaller batch. */
async function continued(out, model, trainer, data, epoch) {
  const loss = async (options) => (await trainer.epoch(data.native, { ...epoch, ...options }).promise).loss;
  await loss({ seed: 4 });
  const weights = await model.state();
  const momentum = await trainer.state().promise;
  out.replayed = [await loss({ seed: 5 })];
  await model.loadState(weights);
  await trainer.loadState(momentum).promise;
  out.restored = [await loss({ seed: 5 })];
  out.tail = [await loss({ batchSize: 60, dropLast: false, seed: 6 })];
}

/** What the methods to compare with train by: each once. */
async function objectives(out, model, trainer, data, epoch) {
  const plain = {
    ...{ labelSmoothing: 0, ascentBelow: null },
    ...{ radius: 0, teacher: null, attention: [] },
  };
  const teacher = Model.create({ classes: 10, width: 16, ...normalisation, seed: 11, device: data.device });
  const loss = async (objective) => {
    const options = { ...epoch, learningRate: [1e-4, 1e-4], objective: { ...plain, ...objective } };
    return (await trainer.epoch(data.native, options).promise).loss;
  };
  out.objectives = [
    await loss({ radius: 0.5, labelSmoothing: 0.1 }),
    await loss({ teacher: teacher.native, attention: [5, 10] }),
    await loss({ ascentBelow: 2 }),
  ];
  const masking = { epsilon: 0.4, alpha: 0.2, learningRate: 0.2, momentum: 0.9, cropPadding: 0, flip: false };
  const common = { batchSize: 128, seed: 3, precision: 'fp32' };
  const masker = addon.createNeuronMasker(model.native, data.native, { ...masking, ...common });
  out.masks = [(await masker.steps({ steps: 2 }).promise).robustLoss];
  masker.dispose();
  teacher.dispose();
}

/** Training in bfloat16, where the device's convolutions are done in it. */
async function low(device, data, epoch) {
  const model = Model.create({ classes: 10, width: 16, ...normalisation, seed: 8, device });
  const losses = [];
  for (const seed of [1, 2]) {
    const trainer = addon.createTrainer(model.native, { momentum: 0.9, weightDecay: 5e-4 });
    for (const more of [0, 2]) {
      const options = { ...epoch, precision: device === 'cpu' ? 'fp32' : 'bf16', seed: seed + more };
      losses.push((await trainer.epoch(data.native, options).promise).loss);
    }
    trainer.dispose();
  }
  return losses;
}

/** The stages of training anew, an epoch each. */
async function anew(device, data) {
  const model = Model.create({ classes: 10, width: 16, ...normalisation, seed: 9, device });
  const views = { smallestCrop: 0.2, jitter: 0.4, hue: 0.1, jitterProbability: 0.8, greyProbability: 0.2, flip: true };
  const head = { projection: 32, temperature: 0.5, momentum: 0.9, weightDecay: 1e-4, seed: 2 };
  const contrastive = addon.createContrastiveTrainer(model.native, { ...views, ...head });
  const stage = { batchSize: 128, learningRate: 0.05, seed: 4, precision: 'fp32' };
  const first = (await contrastive.epoch(data.native, stage).promise).loss;
  contrastive.dispose();
  const mixmatch = addon.createMixMatchTrainer(model.native);
  const labelled = Uint32Array.from({ length: 256 }, (_, i) => 2 * i);
  const mixing = { sharpening: 0.5, mixAlpha: 0.75, unlabelledWeight: [0, 1], cropPadding: 4, flip: true };
  const steps = { steps: 3, batchSize: 32, learningRate: 1e-4, seed: 5, precision: 'fp32' };
  const last = (await mixmatch.epoch(data.native, labelled, { ...mixing, ...steps }).promise).loss;
  mixmatch.dispose();
  return [first, last];
}

/** Bounds of a few sites alone, as MM-BM fits them, and what clean images use of a channel, as FP orders by. */
async function partlyBounded(out, model, data) {
  const means = await model.activationRanges(data, {
    ...EVAL,
    statistic: 'mean',
    quantile: null,
    leaveOneLabelOut: false,
  });
  out.means = means;
  const own = model.bounds;
  model.bounds = { max: null, mean: null };
  const free = model.sites[0].channels;
  const max = Float32Array.from(means, (_, channel) => (channel < free ? 8 : Number.POSITIVE_INFINITY));
  const fitter = addon.createBoundsFitter(model.native, data.native, null, {
    ...{ parameters: 'absolute', granularity: 'per-channel', max, mean: null, scale: 'plain', margin: 2 },
    ...{ precision: 'fp32', seed: 6 },
  });
  await fitter.steps({ steps: 4, learningRate: 0.1, lambda: 0.5, mu: 0, batchSize: 128, suspectBatchSize: 64 }).promise;
  model.bounds = fitter.bounds();
  fitter.dispose();
  out.partlyBounded = await model.logits(data, EVAL);
  model.bounds = own;
}

/** The warm-up of a new classifier on a frozen backbone. */
async function warmed(device, data) {
  const model = Model.create({ classes: 10, width: 16, ...normalisation, seed: 10, device });
  const options = { epochs: 2, batchSize: 64, learningRate: 0.002, alpha: 0.1, logZero: Math.log(1e-4), seed: 3 };
  const more = { precision: 'fp32', featureBatchSize: 128 };
  return [(await model.native.warmUpClassifier(data.native, { ...options, ...more }).promise).loss];
}

async function results(device) {
  const data = Dataset.from(pair.train, device);
  const model = Model.create({ classes: 10, width: 16, ...normalisation, seed: 7, device });
  const out = {};
  // Of an untrained model: whitening divides by what is small, and trained weights are a little apart on two devices.
  out.whitened = await model.whitenedFeatures(data, EVAL);
  const pattern = Uint8Array.from({ length: 3072 }, (_, i) => (i * 37) % 256);
  const rows = Uint32Array.from({ length: 100 }, (_, i) => i * 3);
  const blended = await data.withTrigger(rows, { kind: 'blend', alpha: 0.2, pattern }, new Int32Array(100));
  out.trigger = blended.images(rows);
  const grid = Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i * i));
  const warped = await data.withTrigger(rows, { kind: 'warp', grid }, new Int32Array(100));
  out.warp = warped.images(rows);
  out.noise = (await data.withNoiseWarp(rows, { grid, seed: 9 })).images(rows);
  const trainer = addon.createTrainer(model.native, { momentum: 0.9, weightDecay: 5e-4 });
  const epoch = {
    batchSize: 64,
    dropLast: true,
    learningRate: [0.01, 0.01],
    cropPadding: 4,
    flip: true,
    seed: 3,
    precision: 'fp32',
    recipe: null,
    objective: null,
  };
  out.loss = [(await trainer.epoch(data.native, epoch).promise).loss];
  const recipe = { rate: 0.1, crossRatio: 2, rotation: 10, target: 0, grid };
  out.recipeLoss = [(await trainer.epoch(data.native, { ...epoch, recipe }).promise).loss];
  await continued(out, model, trainer, data, epoch);
  await objectives(out, model, trainer, data, epoch);
  out.logits = await model.logits(data, EVAL);
  out.logOdds = (await model.score(data, EVAL)).logOdds;
  const ranges = { ...EVAL, quantile: 0.95, leaveOneLabelOut: true };
  out.ranges = await model.activationRanges(data, { ...ranges, statistic: 'mean' });
  const limits = { statistic: 'mean', values: out.ranges };
  out.limited = (await model.score(data, { ...EVAL, limits })).logOdds;
  const largest = await model.activationRanges(data, {
    ...ranges,
    statistic: 'max',
    quantile: 1,
    leaveOneLabelOut: false,
  });
  const mean = await model.activationRanges(data, {
    ...ranges,
    statistic: 'mean',
    quantile: 1,
    leaveOneLabelOut: false,
  });
  const options = {
    parameters: 'fraction',
    granularity: 'per-channel',
    max: largest,
    mean,
    scale: 'variance',
    margin: 2,
    precision: 'fp32',
    seed: 5,
  };
  const fitter = addon.createBoundsFitter(model.native, data.native, blended.native, options);
  await fitter.steps({ steps: 5, learningRate: 0.05, lambda: 0.02, mu: 0.1, batchSize: 128, suspectBatchSize: 64 })
    .promise;
  model.bounds = fitter.bounds();
  out.boundedLogits = await model.logits(data, EVAL);
  const tuner = addon.createClassifierTuner(model.native, data.native, blended.native, {
    ...{
      draws: 2,
      jitter: 0.4,
      flip: true,
      momentum: 0.9,
      weightDecay: 5e-4,
      alpha: 0.1,
      beta: 0.5,
      nu: 0.2,
      margin: 2,
    },
    ...{ logZero: Math.log(1e-4), seed: 7, precision: 'fp32', featureBatchSize: 128 },
  });
  await tuner.epoch({ learningRate: 0.01, batchSize: 128 }).promise;
  tuner.dispose();
  out.tunedLogits = await model.logits(data, EVAL);
  trainer.dispose();
  out.low = await low(device, data, epoch);
  out.anew = await anew(device, data);
  out.warmUp = await warmed(device, data);
  await partlyBounded(out, model, data);
  const margins = { images: 4, height: 32, width: 32, steps: 5, learningRate: 0.01, tolerance: 0 };
  out.margins = (await model.native.maximumMargins({ ...margins, seed: 3, precision: 'fp32' }).promise).margins;
  return out;
}

// Training amplifies rounding; everything after the epochs inherits it.
const TOLERANCE = {
  trigger: 0,
  warp: 0,
  noise: 0,
  loss: 1e-3,
  recipeLoss: 1e-2,
  replayed: 1e-2,
  restored: 1e-2,
  tail: 1e-2,
  objectives: 5e-2,
  masks: 5e-2,
  logits: 2e-2,
  whitened: 5e-2,
  logOdds: 2e-2,
  ranges: 2e-2,
  limited: 5e-2,
  boundedLogits: 5e-2,
  tunedLogits: 5e-2,
  low: 5e-2,
  anew: 2e-2,
  warmUp: 2e-2,
  means: 2e-2,
  partlyBounded: 5e-2,
  margins: 5e-2,
};
const cpu = await results('cpu');
const cuda = await results(process.argv[2] ?? 'cuda:0');
let failed = 0;
for (const [name, tolerance] of Object.entries(TOLERANCE)) {
  let largest = 0;
  cpu[name].forEach((value, i) => {
    largest = Math.max(largest, Math.abs(value - cuda[name][i]));
  });
  const ok = largest <= tolerance;
  if (!ok) failed++;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name}: largest difference ${largest} (tolerance ${tolerance})`);
}
console.log(
  `cuda-check on ${runtime.cudaDevices[0].name}, torch ${runtime.torch}: ${Object.keys(TOLERANCE).length - failed} passed, ${failed} failed`,
);
process.exitCode = failed === 0 ? 0 : 1;
