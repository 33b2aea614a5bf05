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

async function results(device) {
  const data = Dataset.from(pair.train, device);
  const model = Model.create({ classes: 10, width: 16, ...normalisation, seed: 7, device });
  const out = {};
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
  return out;
}

// Training amplifies rounding; everything after the epoch inherits it.
const TOLERANCE = {
  trigger: 0,
  warp: 0,
  noise: 0,
  loss: 1e-3,
  recipeLoss: 1e-2,
  logits: 2e-2,
  logOdds: 2e-2,
  ranges: 2e-2,
  limited: 5e-2,
  boundedLogits: 5e-2,
  tunedLogits: 5e-2,
};
const cpu = await results('cpu');
const cuda = await results('cuda:0');
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
