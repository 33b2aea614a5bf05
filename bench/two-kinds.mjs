// How often the default accuses a clean training set whose labels hold two kinds of pictures each: ten made shapes under
// five labels, no poison, one thin victim a seed. Prints one JSON line each: the verdict, and of every label what its
// scores and its features say of two parts (Ashman's D, the gain in BIC a row, how far the two agree).
//
//   node bench/two-kinds.mjs [--rows 6000] [--first 1] [--seeds 8] [--width 8]
import { parseArgs } from 'node:util';
import { loadDatasetPair } from '../dist/datasets/index.js';
import { evaluate, padFtSettings, poison, purify, train } from '../dist/index.js';

const LABELS = 5;
const { values: args } = parseArgs({
  options: {
    rows: { type: 'string', default: '6000' },
    first: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '8' },
    width: { type: 'string', default: '8' },
  },
});
const [rows, first, width] = [args.rows, args.first, args.width].map(Number);

/** Shapes i and i + 5 under label i. */
const merged = ({ labels, shape, ...images }) => ({
  ...images,
  labels: labels.map((label) => label % LABELS),
  shape: { ...shape, classes: LABELS },
});

for (let seed = first; seed < first + Number(args.seeds); seed++) {
  const pair = await loadDatasetPair('synthetic', { train: rows, test: 500, seed });
  const coarse = {
    ...{ ...pair, classNames: pair.classNames.slice(0, LABELS) },
    ...{ train: merged(pair.train), test: merged(pair.test) },
  };
  const set = await poison(coarse, { rate: 0, seed }, { device: 'cpu' });
  const settings = { width, epochs: 8, batchSize: 64, learningRate: 0.05, schedule: 'triangular', seed };
  const { model } = await train(set.train, set, { ...settings, cropPadding: 0, flip: false });
  const { acc } = await evaluate(model, set);
  const { verdict, labels } = await purify(
    model,
    set.train,
    padFtSettings({ purify: { count: 500 }, holdout: 300, seed }),
  );
  const figures = labels.map(({ label, eligible, separation, gain, z, sharpened }) => ({
    ...{ label, eligible, separation, gain, z, sharpened },
  }));
  console.log(JSON.stringify({ rows, width, seed, acc, attacked: verdict.attacked, labels: figures }));
  for (const handle of [model, set]) handle[Symbol.dispose]();
}
