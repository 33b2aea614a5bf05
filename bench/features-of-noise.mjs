// What features of one kind show by chance: normal rows, and scores that have nothing to do with them, under the search
// for two parts that sharpens scores (src/defenses/pad-ft/sharpen.ts). Prints one JSON line for every number of rows a
// feature: draws, those in which two parts were told at all, the largest gain (BIC a row) and Ashman's D, and how many
// draws were past both thresholds of a verdict (which asks for agreement with the scores besides).
//
//   node bench/features-of-noise.mjs [--draws 20] [--features 16,64,128] [--ratios 2,4,8,16]
import { parseArgs } from 'node:util';
import { PRESETS } from '../dist/defenses/pad-ft/options.js';
import { discriminate } from '../dist/defenses/pad-ft/sharpen.js';
import { Random } from '../dist/random.js';

const { values: args } = parseArgs({
  options: {
    draws: { type: 'string', default: '20' },
    features: { type: 'string', default: '16,64,128' },
    ratios: { type: 'string', default: '2,4,8,16' },
  },
});
const numbers = (list) => list.split(',').map(Number);
const { verdictGain, verdictSeparation } = PRESETS.default.purify;
for (const width of numbers(args.features)) {
  for (const ratio of numbers(args.ratios)) {
    const count = ratio * width;
    const found = { told: 0, gain: 0, separation: 0, past: 0 };
    for (let draw = 0; draw < Number(args.draws); draw++) {
      const random = new Random(1e6 * width + 1e4 * ratio + draw);
      const normal = (length) => Array.from({ length }, () => random.normal());
      const values = Float32Array.from(normal(count * width));
      const start = Float64Array.from(normal(count));
      const parts = await discriminate({ values, width, start, random });
      if (parts === null) continue;
      const gain = parts.mixture.bicGain / count;
      found.told++;
      found.gain = Math.max(found.gain, gain);
      found.separation = Math.max(found.separation, parts.mixture.ashmanD);
      if (gain > verdictGain && parts.mixture.ashmanD > verdictSeparation) found.past++;
    }
    console.log(JSON.stringify({ features: width, rowsAFeature: ratio, draws: Number(args.draws), ...found }));
  }
}
