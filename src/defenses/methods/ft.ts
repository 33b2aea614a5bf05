import { checkWhole, fineTuneWhole, WHOLE_DEFAULTS, WHOLE_HELP, type WholeSettings } from './fine-tune-whole.js';
import { type Method, requireClean } from './method.js';

/** Fine-tuning of every weight on clean images, as BackdoorBench's FT does it (5 % of the clean training set there). */
export const ft: Method<WholeSettings> = {
  name: 'ft',
  title: 'FT: fine-tuning of the whole network on clean images',
  paper: 'a baseline of BackdoorBench (Wu et al., NeurIPS 2022)',
  needs: { training: false, clean: true },
  computes: ['training'],
  defaults: WHOLE_DEFAULTS,
  help: WHOLE_HELP,
  check: (settings) => checkWhole('ft', settings),
  async run(input, settings) {
    const clean = requireClean(ft, input);
    const model = await input.victim.clone();
    try {
      const { first, last } = await fineTuneWhole(model, clean, settings, input);
      const said = `every weight trained on ${clean.count} clean images for ${settings.epochs} epochs`;
      return { model, said, details: { first, last } };
    } catch (error) {
      model.dispose();
      throw error;
    }
  },
};
