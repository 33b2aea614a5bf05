// One figure of this package as one JSON line, for bench/run.mjs: the same stage, data and weights as
// bench/pytorch_baseline.py, in a process of its own.
//
//   node bench/ours.mjs --stage score|train|clip|tune --device cpu|cuda --data FILE --state FILE [...]
import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Dataset } from '../dist/dataset.js';
import { padFtSettings } from '../dist/defenses/pad-ft/options.js';
import { scoreBySce, selectRows } from '../dist/defenses/pad-ft/purify.js';
import { resolvePrecision } from '../dist/device.js';
import { readSafetensors } from '../dist/formats/safetensors.js';
import { LOG_ZERO, NO_BOUNDS } from '../dist/model.js';
import { loadModel } from '../dist/model-file.js';
import { loadAddon } from '../dist/native/load.js';

const { values: args } = parseArgs({
  options: {
    stage: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
    precision: { type: 'string', default: 'auto' },
    data: { type: 'string' },
    state: { type: 'string' },
    rows: { type: 'string', default: '2000' },
    batch: { type: 'string' },
    repeats: { type: 'string', default: '5' },
    threads: { type: 'string' },
    steps: { type: 'string', default: '20' },
    epochs: { type: 'string', default: '100' },
    draws: { type: 'string', default: '0' },
    'check-rows': { type: 'string', default: '32' },
  },
});
const rows = Number(args.rows);
const addon = loadAddon();
if (args.threads) addon.setThreads(Number(args.threads));

const { tensors } = await readSafetensors(args.data);
const pixels = tensors.get('images');
const labelBytes = tensors.get('labels').data.slice();
const labelData =
  tensors.get('labels').dtype === 'I64'
    ? Int32Array.from(new BigInt64Array(labelBytes.buffer), Number)
    : new Int32Array(labelBytes.buffer);
const shape = { count: rows, channels: 3, height: 32, width: 32, classes: 10 };
const data = Dataset.from(
  { images: pixels.data.slice(0, rows * 3072), labels: labelData.slice(0, rows), shape },
  args.device,
);
const load = async () => (await loadModel(args.state, { device: args.device })).model;
const run = (job) => job.promise;
const first = (count) => data.subset(Uint32Array.from({ length: count }, (_, i) => i));

const score = (model, set, precision, batch) =>
  model.score(set, { precision, ...(batch === undefined ? {} : { batchSize: batch }) });
// Stage 1 of the paper's preset: 6 % of the rows are kept.
const paper = padFtSettings({ preset: 'paper', purify: { count: Math.max(10, Math.floor((rows * 6) / 100)) } });
const scoreRows = (model, precision) =>
  scoreBySce({
    victim: model,
    data,
    settings: paper.purify,
    clip: paper.clip,
    seed: 0,
    holdout: 0,
    evaluation: { precision, ...(args.batch === undefined ? {} : { batchSize: Number(args.batch) }) },
  });
// As purified_digest of pytorch_baseline.py: what is kept, as little-endian uint32 in ascending order.
const digest = async (scores) => {
  const { purified } = await selectRows(scores, data.labels(), 10, paper.purify);
  return createHash('sha256').update(Uint32Array.from(purified).sort()).digest('hex').slice(0, 16);
};
const fitter = (model, set, precision) => {
  const start = new Float32Array(model.siteChannels).fill(8);
  const options = {
    parameters: 'absolute',
    granularity: 'per-channel',
    max: start,
    mean: null,
    scale: 'plain',
    margin: 2,
    precision,
    seed: 1,
  };
  return addon.createBoundsFitter(model.native, set.native, null, options);
};
const steps = (fit, count, batch) =>
  run(fit.steps({ steps: count, learningRate: 0.1, lambda: 0.5, mu: 0, batchSize: batch, suspectBatchSize: 1 }));
const epoch = (trainer, set, precision, batch, augment, seed) =>
  run(
    trainer.epoch(set.native, {
      batchSize: batch,
      dropLast: true,
      learningRate: [0.01, 0.01],
      cropPadding: augment ? 4 : 0,
      flip: augment,
      seed,
      precision,
      recipe: null,
      objective: null,
    }),
  );
const tuner = (model, set, precision, draws) =>
  addon.createClassifierTuner(model.native, set.native, null, {
    draws,
    jitter: 0.4,
    flip: true,
    seed: 1,
    momentum: 0.9,
    weightDecay: 5e-4,
    alpha: 0.1,
    logZero: LOG_ZERO,
    beta: 0.5,
    nu: 0,
    margin: 2,
    precision,
    featureBatchSize: 500,
  });

// The answer on a few rows in strict float32, for comparison with PyTorch's.
async function check() {
  const count = Number(args['check-rows']);
  const set = await first(count);
  const model = await load();
  switch (args.stage) {
    case 'score':
      return { logodds: [...(await score(model, set, 'fp32', count)).logOdds] };
    case 'train': {
      const trainer = addon.createTrainer(model.native, { momentum: 0.9, weightDecay: 5e-4 });
      const losses = [];
      for (let i = 0; i < 3; i++) losses.push((await epoch(trainer, set, 'fp32', count, false, i)).loss);
      return { losses };
    }
    case 'clip': {
      const fit = fitter(model, set, 'fp32');
      await steps(fit, 10, count);
      return { bounds: [...fit.bounds().max] };
    }
    default:
      return {}; // the parity tests compare tuning with PyTorch's weights, step for step
  }
}

/** Returns the seconds of one repeat. */
async function stage(model, precision) {
  const batch = Number(args.batch ?? { score: 500, train: 128, clip: 200, tune: 256 }[args.stage]);
  const timed = async (work) => {
    const start = performance.now();
    await work();
    return (performance.now() - start) / 1000;
  };
  switch (args.stage) {
    case 'score':
      return { units: rows, once: () => timed(() => scoreRows(model, args.precision)) };
    case 'train': {
      const trainer = addon.createTrainer(model.native, { momentum: 0.9, weightDecay: 5e-4 });
      let seed = 0;
      return {
        units: Math.floor(rows / batch) * batch,
        once: () => timed(() => epoch(trainer, data, precision, batch, true, seed++)),
      };
    }
    case 'clip': {
      const fit = fitter(model, data, precision);
      return { units: batch * Number(args.steps), once: () => timed(() => steps(fit, Number(args.steps), batch)) };
    }
    case 'tune':
      return {
        units: null,
        once: () =>
          timed(async () => {
            model.bounds = NO_BOUNDS;
            const tune = tuner(model, data, precision, Number(args.draws));
            for (let i = 0; i < Number(args.epochs); i++)
              await run(tune.epoch({ learningRate: 0.01, batchSize: batch }));
            tune.dispose();
          }),
      };
    default:
      throw new Error(`--stage: expected score, train, clip or tune, got ${args.stage}`);
  }
}

const answer = await check();
const model = await load();
const purpose = { train: 'training', score: 'scoring' }[args.stage] ?? 'fitting';
const precision = resolvePrecision(args.precision, model.device, purpose);
const { units, once } = await stage(model, precision);
if (args.stage !== 'tune') await once();
addon.memory(model.device, true);
const repeats = [];
for (let i = 0; i < Number(args.repeats); i++) repeats.push(await once());
repeats.sort((a, b) => a - b);
const median = repeats[repeats.length >> 1];
const runtime = addon.runtime();
const peakBytes = addon.memory(model.device, false).peakBytes;
const kept =
  args.stage === 'score'
    ? {
        purified: await digest(await scoreRows(model, args.precision)),
        purifiedFp32: await digest(await scoreRows(model, 'fp32')),
      }
    : {};
console.log(
  JSON.stringify({
    mode: 'ours',
    stage: args.stage,
    variant: args.stage === 'score' && precision === 'bf16' ? 'bf16, fp32 near the cuts' : precision,
    ...kept,
    torch: runtime.torch,
    threads: runtime.threads,
    device: runtime.cudaDevices[0]?.name ?? 'cpu',
    seconds: { median, min: repeats[0], max: repeats.at(-1), repeats },
    imagesPerSecond: units === null ? null : units / median,
    peakBytes,
    check: answer,
  }),
);
