import type { Dataset } from '../../dataset.js';
import { PadFtError } from '../../errors.js';
import { counted } from '../../formats/plural.js';
import type { EvaluationOptions, Model } from '../../model.js';
import { choice, integer, number } from '../../options.js';
import { clip } from '../pad-ft/clip.js';
import { type ClipSettings, PRESETS } from '../pad-ft/options.js';
import { TRAINING_UNITS } from '../units.js';
import { type Method, naming, requireClean, requireSites, workOn } from './method.js';

const SITES = ['published', 'every'] as const;

export interface MmBmSettings extends Pick<ClipSettings, 'steps' | 'batchSize' | 'learningRate' | 'lambda'> {
  readonly sites: (typeof SITES)[number];
  readonly perLabel: number;
}

const PUBLISHED = PRESETS.paper.clip;

/** The ReLUs that read what the stem, the first and the second stage put out. */
const PUBLISHED_SITES = ['layer1.0.relu1', 'layer2.0.relu1', 'layer3.0.relu1'];

/**
 * MM-BD's mitigation, MM-BM (Wang et al., S&P 2024): one bound a channel on its largest activation, fitted with the
 * published constants and controller on the first `perLabel` clean images of each class, 50 as published, that the
 * victim classifies right; the weights stay as they are. The paper's rival. The published code clamps what the stem and
 * the first two stages put out, of a network with a ReLU there; here the ReLUs that read it are bounded, and the
 * shortcut of the very first block goes by the first of them. `sites` `every` bounds each ReLU, as PAD-FT reads the
 * same method.
 *
 * Otherwise than the published code, which takes its images from the test set, the first 50 of a class, and drops those of
 * them that are classified wrong: the images are the defender's own, and up to `perLabel` of a class are right ones.
 */
export const mmBm: Method<MmBmSettings> = {
  name: 'mm-bm',
  title: 'MM-BM: bounds fitted on clean images',
  paper: 'H. Wang et al., MM-BD, IEEE S&P 2024',
  needs: { victim: 'weights', training: false, clean: true },
  computes: ['fitting'],
  note: 'the shortcut of the first block goes by the first bound, where the published network’s does not; its images are the first of the given clean ones that are classified right, where the published code takes the test set’s',
  // 1: three places, as near to the published code's as this network has them, where it was every ReLU.
  revision: 1,
  earlier: { sites: 'every' },
  defaults: {
    sites: 'published',
    steps: PUBLISHED.steps,
    batchSize: PUBLISHED.batchSize,
    learningRate: PUBLISHED.learningRate,
    lambda: PUBLISHED.lambda,
    perLabel: 50,
  },
  words: { sites: SITES },
  help: {
    sites: 'published: the ReLUs behind the stem and the first two stages; every: each ReLU',
    steps: 'Adam steps',
    batchSize: 'clean images a step',
    learningRate: "Adam's learning rate",
    perLabel: 'clean images of each class that are used, of those the victim classifies right',
    lambda: 'first weight of the penalty on the bounds; the controller moves it by 1.2',
  },
  check(settings) {
    choice('mm-bm.sites', settings.sites, SITES);
    integer('mm-bm.steps', settings.steps, 1, 1e6);
    integer('mm-bm.batchSize', settings.batchSize, 1, 1 << 20);
    number('mm-bm.learningRate', settings.learningRate, 0, 1e6);
    integer('mm-bm.perLabel', settings.perLabel, 1, 1e9);
    number('mm-bm.lambda', settings.lambda, 0, 1e12);
  },
  fits: async (input, { sites }) => {
    if (sites === 'published') requireSites(mmBm, input.victim, PUBLISHED_SITES);
    if (input.clean !== null) await rightRows(input.victim, input.clean, 1, input.evaluation);
  },
  units: ({ steps, batchSize, perLabel }, { clean, classes }) =>
    2 * clean + TRAINING_UNITS * steps * Math.min(batchSize, clean, perLabel * classes),
  basis: () => PUBLISHED,
  async run(input, settings) {
    const { sites, perLabel, steps, batchSize, learningRate, lambda } = settings;
    const { onProgress: _, ...quiet } = input.evaluation;
    const given = requireClean(mmBm, input);
    using clean = await given.subset(await rightRows(input.victim, given, perLabel, quiet), quiet);
    const bounded = sites === 'published' ? PUBLISHED_SITES : input.victim.sites.map(({ name }) => name);
    const model = await input.victim.clone();
    return await workOn(model, async () => {
      const { looks } = await naming({ 'clip.learningRate': 'mm-bm.learningRate' }, () =>
        clip({
          ...{
            model,
            purified: clean,
            sites: bounded,
            suspects: null,
            heldOut: null,
            maxAccDrop: 1,
            accuracyPrice: 0,
            seed: input.seed,
          },
          settings: { ...PUBLISHED, steps, batchSize, learningRate, lambda },
          evaluation: input.evaluation,
        }),
      );
      const last = looks.at(-1);
      const kept =
        last === undefined ? '' : `; ${(100 * last.accuracy).toFixed(1)} % of those are still classified right`;
      return {
        said: `bounds at ${counted(bounded.length, 'site')}, fitted on ${clean.count} clean images${kept}`,
        details: { looks },
      };
    });
  },
};

/** The first rows of each class that the victim classifies right. ERR_DATA where it gets none of a class right. */
async function rightRows(
  victim: Model,
  clean: Dataset,
  perLabel: number,
  evaluation: EvaluationOptions = {},
): Promise<Uint32Array> {
  const predicted = await victim.predict(clean, evaluation);
  const left = new Array<number>(clean.classes).fill(perLabel);
  const labels = clean.labels();
  const rows = Uint32Array.from(labels.keys()).filter((row) => {
    const label = labels[row] as number;
    return predicted[row] === label && (left[label] as number) > 0 && left[label]!-- > 0;
  });
  const missing = left.indexOf(perLabel);
  if (missing >= 0) {
    const message = `clean: the victim classifies no image of class ${missing} right, and mm-bm fits its bounds on such; add images`;
    throw new PadFtError('ERR_DATA', message, { details: { missing } });
  }
  return rows;
}
