// `npm run bench`: the four stages here, in plain PyTorch and in tuned PyTorch, side by side: same machine, same data
// and weights, one process at a time. A speed is printed only beside an answer that agrees with PyTorch's.
//
//   npm run bench -- [--device cpu|cuda] [--width 16] [--stages score,train,clip,tune] [--out results/bench-….json]
//
// Needs a Python with torch, numpy and pillow: $PYTHON, else python3.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Dataset } from '../dist/dataset.js';
import { loadDatasetPair } from '../dist/datasets/index.js';
import { parseSafetensors, writeSafetensors } from '../dist/formats/safetensors.js';
import { saveModel } from '../dist/model-file.js';
import { train } from '../dist/train.js';

const { values: args } = parseArgs({
  options: {
    device: { type: 'string', default: 'cpu' },
    width: { type: 'string', default: '16' },
    stages: { type: 'string', default: 'score,train,clip,tune' },
    modes: { type: 'string', default: 'ours,tuned,plain' },
    threads: { type: 'string', default: String(availableParallelism()) },
    repeats: { type: 'string', default: '5' },
    rows: { type: 'string', default: '2000' },
    'seconds-limit': { type: 'string', default: '240' },
    out: { type: 'string' },
  },
});
const here = import.meta.dirname;
const python = process.env.PYTHON ?? 'python3';
const folder = mkdtempSync(join(tmpdir(), 'pad-ft-bench-'));
const env = {
  ...process.env,
  OMP_WAIT_POLICY: process.env.OMP_WAIT_POLICY ?? 'PASSIVE',
  OMP_NUM_THREADS: args.threads,
};
// A published clipping run: 150 steps of 200 out of n = 3000; 100 tuning epochs over n.
const STAGES = {
  score: { rows: Number(args.rows), extra: [] },
  train: { rows: Number(args.rows), extra: [] },
  clip: { rows: Math.min(3000, Number(args.rows)), extra: ['--steps', args.device === 'cpu' ? '10' : '150'] },
  tune: { rows: Math.min(1000, Number(args.rows)), extra: ['--epochs', '100'] },
};
// Largest difference from PyTorch's strict float32 answer that still counts as the same answer.
const SAME = { logodds: 5e-3, losses: 1e-3, bounds: 2e-3 };

async function prepare() {
  const pair = await loadDatasetPair('synthetic', { train: Number(args.rows), test: 100 });
  await writeSafetensors(
    join(folder, 'data.safetensors'),
    [
      { name: 'images', dtype: 'U8', shape: [pair.train.shape.count, 3, 32, 32], data: pair.train.images },
      {
        name: 'labels',
        dtype: 'I64',
        shape: [pair.train.shape.count],
        data: new Uint8Array(BigInt64Array.from(pair.train.labels, BigInt).buffer),
      },
    ],
    {},
  );
  const data = Dataset.from(pair.train, args.device);
  const cifar = { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.243, 0.261] };
  const { model } = await train(data, cifar, {
    width: Number(args.width),
    epochs: 1,
    learningRate: 0.05,
    precision: 'fp32',
  });
  await saveModel(model, join(folder, 'state.safetensors'));
  model.dispose();
}

const common = (stage) => [
  '--stage',
  stage,
  '--device',
  args.device,
  '--rows',
  String(STAGES[stage].rows),
  '--repeats',
  args.repeats,
  '--threads',
  args.threads,
  '--data',
  join(folder, 'data.safetensors'),
  '--state',
  join(folder, 'state.safetensors'),
  ...STAGES[stage].extra,
];

function lastLine(command, argv) {
  const text = execFileSync(command, argv, {
    env,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return JSON.parse(text.trim().split('\n').at(-1));
}

function ours(stage, extra = []) {
  return lastLine(process.execPath, [join(here, 'ours.mjs'), ...common(stage), ...extra]);
}

function pytorch(mode, stage, extra = []) {
  const checkFile = join(folder, `${mode}-${stage}.safetensors`);
  const line = lastLine(python, [
    join(here, 'pytorch_baseline.py'),
    '--mode',
    mode,
    ...common(stage),
    '--width',
    args.width,
    '--seconds-limit',
    args['seconds-limit'],
    '--check-out',
    checkFile,
    ...extra,
  ]);
  const answer = {};
  for (const [name, tensor] of parseSafetensors(readFileSync(checkFile)).tensors) {
    if (tensor.dtype === 'F32') answer[name] = [...new Float32Array(tensor.data.slice().buffer)];
    if (tensor.dtype === 'F64') answer[name] = [...new Float64Array(tensor.data.slice().buffer)];
  }
  return { ...line, answer };
}

/** Largest difference between our answers and PyTorch's, by name; throws when one is not the same answer. */
function compare(stage, mine, theirs) {
  const differences = {};
  for (const [name, values] of Object.entries(mine.check)) {
    const other = theirs.answer[name] ?? theirs.answer[name.replace(/es$/, '')];
    if (other?.length !== values.length)
      throw new Error(`${stage}: PyTorch gave no ${name} to compare with (${Object.keys(theirs.answer)})`);
    differences[name] = Math.max(...values.map((value, i) => Math.abs(value - other[i])));
    if (!(differences[name] <= SAME[name]))
      throw new Error(
        `${stage}: ${name} differs from PyTorch's by ${differences[name]}: no speed is printed for another answer`,
      );
  }
  return differences;
}

/** The rows kept must be those that float32 keeps, ours and, where it ran, PyTorch's. */
function compareKept({ ours: mine, tuned, plain }) {
  const exact = (line) => line?.variants?.find(({ precision }) => precision === 'fp32')?.purified;
  const references = [mine.purifiedFp32, exact(tuned), exact(plain)].filter((digest) => digest !== undefined);
  const other = references.find((digest) => digest !== mine.purified);
  if (other !== undefined)
    throw new Error(
      `score: other rows are kept (${mine.purified}) than in float32 (${other}): no speed is printed for them`,
    );
  return references.length;
}

const figure = (line) => line.imagesPerSecond ?? line.images_per_second ?? null;
// Ours are medians of repeats; PyTorch's tuning gives the total of all its epochs as one number.
const seconds = (line) => (typeof line.seconds === 'number' ? line.seconds : (line.seconds?.median ?? line.median));
const modes = args.modes.split(',');

const report = {
  date: new Date().toISOString(),
  machine: { cpu: cpus()[0].model, cores: cpus().length, device: args.device },
  width: Number(args.width),
  threads: Number(args.threads),
  stages: {},
};
try {
  await prepare();
  for (const stage of args.stages.split(',')) {
    const entry = { rows: STAGES[stage].rows, loadBefore: loadavg()[0] };
    entry.ours = ours(stage);
    if (stage === 'tune') entry.oursEight = ours(stage, ['--draws', '8']);
    if (modes.includes('tuned')) entry.tuned = pytorch('tuned', stage);
    if (stage === 'tune' && modes.includes('tuned')) entry.tunedEight = pytorch('tuned', stage, ['--draws', '8']);
    if (modes.includes('plain')) entry.plain = pytorch('plain', stage);
    const reference = entry.tuned ?? entry.plain;
    if (reference) entry.differences = compare(stage, entry.ours, reference);
    if (stage === 'score') entry.keptAsIn = compareKept(entry);
    entry.loadAfter = loadavg()[0];
    entry.disturbed = entry.loadBefore > Number(args.threads) + 0.75;
    for (const key of ['ours', 'oursEight', 'tuned', 'tunedEight', 'plain']) {
      if (!entry[key]) continue;
      delete entry[key].check;
      delete entry[key].answer;
    }
    report.stages[stage] = entry;
    print(stage, entry);
  }
  if (args.out) {
    mkdirSync(dirname(args.out), { recursive: true });
    writeFileSync(args.out, `${JSON.stringify(report, null, 1)}\n`);
    console.log(`written: ${args.out}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function print(stage, entry) {
  const rows = [];
  for (const [name, line] of Object.entries({
    ours: entry.ours,
    'ours, K = 8': entry.oursEight,
    'tuned PyTorch': entry.tuned,
    'tuned, K = 8': entry.tunedEight,
    'plain PyTorch': entry.plain,
  })) {
    if (!line) continue;
    const speed = figure(line);
    rows.push({
      stage,
      who: name,
      variant: line.variant,
      'images/s': speed === null ? '' : speed.toFixed(0),
      seconds: seconds(line).toFixed(2) + (line.extrapolated ? ' (extrapolated)' : ''),
      ...(line.purified === undefined ? {} : { "keeps float32's rows": line.purified === entry.ours.purified }),
      'peak MiB': ((line.peakBytes ?? line.peak_bytes) / 2 ** 20).toFixed(0),
    });
  }
  console.table(rows);
  if (entry.differences)
    console.log(
      `largest difference from PyTorch: ${JSON.stringify(entry.differences)}${entry.disturbed ? '; OTHER LOAD WAS ON THE MACHINE' : ''}`,
    );
}
