// How often the default accuses a clean training set: made pictures, no poison, one thin victim a seed; prints one JSON
// line each: the labels that are called attacked, and Ashman's D, the gain and the z of every label, with what its
// features say where they were asked (labels with eight rows or more for each of 64 features: from some 6000 rows on).
// --kinds 2 puts two shapes under each label, --kinds 5 five.
//
//   node bench/false-alarms.mjs [--rows 2000] [--first 1] [--seeds 8] [--epochs 6] [--kinds 1] [--limits either]
import { parseArgs } from 'node:util';
import { loadDatasetPair } from '../dist/datasets/index.js';
import { evaluate, padFtSettings, poison, purify, train } from '../dist/index.js';

const { values: args } = parseArgs({
  options: {
    rows: { type: 'string', default: '2000' },
    first: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '8' },
    epochs: { type: 'string', default: '6' },
    kinds: { type: 'string', default: '1' },
    limits: { type: 'string', default: 'either' },
  },
});
const [rows, first, epochs, kinds] = [args.rows, args.first, args.epochs, args.kinds].map(Number);

/** Every so many of the shapes under one label: with five labels shapes 0 and 5 under label 0. */
function merged({ train: trainSet, test, classNames, ...about }) {
  const classes = classNames.length / kinds;
  const of = ({ labels, shape, ...images }) => ({
    ...images,
    labels: labels.map((label) => label % classes),
    shape: { ...shape, classes },
  });
  return { ...about, classNames: classNames.slice(0, classes), train: of(trainSet), test: of(test) };
}

for (let seed = first; seed < first + Number(args.seeds); seed++) {
  const pair = merged(await loadDatasetPair('synthetic', { train: rows, test: 500, seed }));
  const set = await poison(pair, { rate: 0, seed }, { device: 'cpu' });
  const settings = { width: 8, epochs, batchSize: 64, learningRate: 0.05, schedule: 'triangular', seed };
  const { model } = await train(set.train, set, { ...settings, cropPadding: 0, flip: false });
  const { acc } = await evaluate(model, set);
  const options = padFtSettings({ purify: { count: 500, limits: args.limits }, holdout: 300, seed });
  const { verdict, labels } = await purify(model, set.train, options);
  const figures = labels.map(({ label, eligible, separation, gain, z, sharpened }) => ({
    label,
    eligible,
    separation,
    gain,
    z,
    sharpened,
  }));
  console.log(JSON.stringify({ rows, kinds, epochs, seed, acc, attacked: verdict.attacked, labels: figures }));
  model.dispose();
  set.dispose();
}
