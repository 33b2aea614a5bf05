// What the default does on small made sets: pictures of ten shapes, three attacks on class 0, two of them at two rates, a
// thin victim for each and every seed; prints one JSON line each: the victim, the verdict, the suspects beside the ground
// truth, and what is returned.
//
//   node bench/made-attacks.mjs [--rows 4000] [--first 1] [--seeds 3] [--width 8]
import { parseArgs } from 'node:util';
import { loadDatasetPair } from '../dist/datasets/index.js';
import { evaluate, padFt, poison, train } from '../dist/index.js';

const { values: args } = parseArgs({
  options: {
    rows: { type: 'string', default: '4000' },
    first: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '3' },
    width: { type: 'string', default: '8' },
  },
});
const ATTACKS = [
  ['badnets', 0.1],
  ['badnets', 0.05],
  ['blended', 0.1],
  ['blended', 0.05],
  ['sig', 0.05],
];
const [rows, first, width] = [args.rows, args.first, args.width].map(Number);
for (let seed = first; seed < first + Number(args.seeds); seed++) {
  for (const [attack, rate] of ATTACKS) {
    const pair = await loadDatasetPair('synthetic', { train: rows, test: 1000, seed });
    const set = await poison(pair, { attack, rate, target: 0, seed }, { device: 'cpu' });
    const settings = { width, epochs: 8, batchSize: 64, learningRate: 0.05, schedule: 'triangular', seed };
    const { model } = await train(set.train, set, { ...settings, cropPadding: 0, flip: false });
    const before = await evaluate(model, set);
    const result = await padFt(model, set.train, { purify: { count: rows / 2 }, tune: { flip: false }, seed });
    const after = await evaluate(result.model, set);
    const planted = new Set(set.truth.poisoned);
    const { suspects, verdict, labels } = result.purification;
    const { separation, gain, origins, lowerOrigins, reversed, sharpened } = labels[0];
    console.log(
      JSON.stringify({
        ...{ rows, width, attack, rate, seed, victim: [before.acc, before.asr], attacked: verdict.attacked },
        target: { separation, gain, origins, lowerOrigins, reversed, sharpened },
        planted: planted.size,
        suspects: [suspects.length, suspects.filter(({ row }) => planted.has(row)).length],
        returned: [result.stage, after.acc, after.asr],
      }),
    );
    for (const handle of [result, model, set]) handle[Symbol.dispose]();
  }
}
