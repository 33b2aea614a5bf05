import type { Dataset } from '../../dataset.js';
import { PadFtError } from '../../errors.js';
import { integer, number } from '../../options.js';
import { clip } from '../pad-ft/clip.js';
import { type ClipSettings, PRESETS } from '../pad-ft/options.js';
import { TRAINING_UNITS } from '../units.js';
import { type Method, type MethodInput, naming, requireClean, workOn } from './method.js';

export interface MmBmSettings extends Pick<ClipSettings, 'steps' | 'batchSize' | 'learningRate' | 'lambda'> {
  readonly perLabel: number;
}

const PUBLISHED = PRESETS.paper.clip;

/**
 * MM-BD's mitigation, MM-BM (Wang et al., S&P 2024): one bound a channel on its largest activation, fitted with the published
 * constants and controller on the first `perLabel` clean images of each class, 50 as published, that the victim classifies
 * right; the weights stay as they are. The paper's rival. The published code bounds three places, the stem and the first two
 * stages; here it is every ReLU, as in PAD-FT's own reading of it, so that the two differ in the images alone.
 */
export const mmBm: Method<MmBmSettings> = {
  name: 'mm-bm',
  title: 'MM-BM: bounds fitted on clean images',
  paper: 'H. Wang et al., MM-BD, IEEE S&P 2024',
  needs: { training: false, clean: true },
  computes: ['fitting'],
  note: 'bounds at every ReLU; the published code has them at the stem and the first two stages',
  defaults: {
    steps: PUBLISHED.steps,
    batchSize: PUBLISHED.batchSize,
    learningRate: PUBLISHED.learningRate,
    lambda: PUBLISHED.lambda,
    perLabel: 50,
  },
  help: {
    steps: 'Adam steps',
    batchSize: 'clean images a step',
    learningRate: "Adam's learning rate",
    perLabel: 'clean images of each class that are used, of those the victim classifies right',
    lambda: 'first weight of the penalty on the bounds; the controller moves it by 1.2',
  },
  check(settings) {
    integer('mm-bm.steps', settings.steps, 1, 1e6);
    integer('mm-bm.batchSize', settings.batchSize, 1, 1 << 20);
    number('mm-bm.learningRate', settings.learningRate, 0, 1e6);
    integer('mm-bm.perLabel', settings.perLabel, 1, 1e9);
    number('mm-bm.lambda', settings.lambda, 0, 1e12);
  },
  units: ({ steps, batchSize, perLabel }, { clean, classes }) =>
    clean + TRAINING_UNITS * steps * Math.min(batchSize, clean, perLabel * classes),
  basis: () => PUBLISHED,
  async run(input, settings) {
    const { perLabel, steps, batchSize, learningRate, lambda } = settings;
    using clean = await classifiedRight(input, perLabel);
    const model = await input.victim.clone();
    return await workOn(model, async () => {
      const { looks } = await naming({ 'clip.learningRate': 'mm-bm.learningRate' }, () =>
        clip({
          ...{
            model,
            purified: clean,
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
        said: `bounds at ${model.sites.length} sites, fitted on ${clean.count} clean images${kept}`,
        details: { looks },
      };
    });
  },
};

/** The first images of each class that the victim classifies right. ERR_DATA where it gets none of a class right. */
async function classifiedRight(input: MethodInput, perLabel: number): Promise<Dataset> {
  const clean = requireClean(mmBm, input);
  const { onProgress: _, ...quiet } = input.evaluation;
  const predicted = await input.victim.predict(clean, quiet);
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
  return clean.subset(rows, quiet);
}
