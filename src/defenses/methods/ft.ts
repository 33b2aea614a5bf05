import { counted } from '../../formats/plural.js';
import {
  checkWhole,
  fineTuneWhole,
  WHOLE_DEFAULTS,
  WHOLE_HELP,
  type WholeSettings,
  wholeUnits,
} from './fine-tune-whole.js';
import { type Method, requireClean, workOn } from './method.js';

/**
 * Fine-tuning of every weight on clean images, as BackdoorBench's FT does it (5 % of the clean training set there). Its
 * cosine is stepped once a batch and so comes back up many times; here it falls once, over all epochs, as it is meant
 * to.
 */
export const ft: Method<WholeSettings> = {
  name: 'ft',
  title: 'FT: fine-tuning of the whole network on clean images',
  paper: 'a baseline of BackdoorBench (Wu et al., NeurIPS 2022)',
  needs: { victim: 'weights', training: false, clean: true },
  computes: ['training'],
  defaults: WHOLE_DEFAULTS,
  help: WHOLE_HELP,
  check: (settings) => checkWhole('ft', settings),
  units: (settings, { clean }) => wholeUnits(settings, clean),
  async run(input, settings) {
    const clean = requireClean(ft, input);
    const model = await input.victim.clone();
    return await workOn(model, async () => {
      const { first, last } = await fineTuneWhole(model, clean, settings, { ...input, rateOption: 'ft.learningRate' });
      const said = `every weight trained on ${clean.count} clean images for ${counted(settings.epochs, 'epoch')}`;
      return { said, details: { first, last } };
    });
  },
};
