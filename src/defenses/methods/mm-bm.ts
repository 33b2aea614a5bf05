import { integer, number } from '../../options.js';
import { clip } from '../pad-ft/clip.js';
import { type ClipSettings, PRESETS } from '../pad-ft/options.js';
import { type Method, requireClean } from './method.js';

export type MmBmSettings = Pick<ClipSettings, 'steps' | 'batchSize' | 'learningRate' | 'lambda'>;

const { steps, batchSize, learningRate, lambda } = PRESETS.paper.clip;

/**
 * MM-BD's mitigation, MM-BM (Wang et al., S&P 2024): one bound a channel on its largest activation, fitted on images that
 * are truly clean with the published constants and controller; the weights stay as they are. The paper's rival.
 */
export const mmBm: Method<MmBmSettings> = {
  name: 'mm-bm',
  title: 'MM-BM: bounds fitted on clean images',
  paper: 'H. Wang et al., MM-BD, IEEE S&P 2024',
  needs: { training: false, clean: true },
  computes: ['fitting'],
  defaults: { steps, batchSize, learningRate, lambda },
  help: {
    steps: 'Adam steps',
    batchSize: 'clean images a step',
    learningRate: "Adam's learning rate",
    lambda: 'first weight of the penalty on the bounds; the controller moves it by 1.2',
  },
  check(settings) {
    integer('mm-bm.steps', settings.steps, 1, 1e6);
    integer('mm-bm.batchSize', settings.batchSize, 1, 1 << 20);
    number('mm-bm.learningRate', settings.learningRate, 0, 1e6);
    number('mm-bm.lambda', settings.lambda, 0, 1e12);
  },
  async run(input, settings) {
    const clean = requireClean(mmBm, input);
    const model = await input.victim.clone();
    try {
      const { looks } = await clip({
        ...{ model, purified: clean, suspects: null, heldOut: null, maxAccDrop: 1, accuracyPrice: 0, seed: input.seed },
        settings: { ...PRESETS.paper.clip, ...settings },
        evaluation: input.evaluation,
      });
      const last = looks.at(-1);
      const kept =
        last === undefined ? '' : `; ${(100 * last.accuracy).toFixed(1)} % of those are still classified right`;
      return {
        model,
        said: `bounds at ${model.sites.length} sites, fitted on ${clean.count} clean images${kept}`,
        details: { looks },
      };
    } catch (error) {
      model.dispose();
      throw error;
    }
  },
};
