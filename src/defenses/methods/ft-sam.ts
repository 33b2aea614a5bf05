import { counted } from '../../formats/plural.js';
import { number } from '../../options.js';
import {
  checkWhole,
  fineTuneWhole,
  WHOLE_DEFAULTS,
  WHOLE_HELP,
  type WholeSettings,
  wholeUnits,
} from './fine-tune-whole.js';
import { type Method, requireClean, workOn } from './method.js';

export interface SharpnessSettings extends WholeSettings {
  readonly radius: number;
  readonly labelSmoothing: number;
}

/**
 * FT-SAM (Zhu, Wei, Shen, Fan and Wu, *Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware Minimization*,
 * ICCV 2023): fine-tuning of every weight by adaptive sharpness-aware minimisation, which moves the weights that the
 * backdoor made large the most. The cross-entropy is smoothed: of the label's weight the share `labelSmoothing` goes to the
 * other classes in equal parts, as sharpness-aware minimisation is commonly written. Here the clean images are whatever is
 * given; BackdoorBench draws equally many of each class for this method, and steps its cosine once a batch as its FT does.
 */
export const ftSam: Method<SharpnessSettings> = {
  name: 'ft-sam',
  title: 'FT-SAM: sharpness-aware fine-tuning on clean images',
  paper: 'Zhu et al., Enhancing Fine-Tuning Based Backdoor Defense with SAM, ICCV 2023',
  needs: { victim: 'weights', training: false, clean: true },
  computes: ['training'],
  note: 'BackdoorBench draws equally many clean images of each class for it, here not',
  defaults: { ...WHOLE_DEFAULTS, radius: 2, labelSmoothing: 0.1 },
  help: {
    ...WHOLE_HELP,
    radius: 'ρ of adaptive SAM: how far from the weights the gradient is taken; 0 makes it plain fine-tuning',
    labelSmoothing: "share of the label's weight that goes to the other classes, in [0, 0.5]",
  },
  check(settings) {
    checkWhole('ft-sam', settings);
    number('ft-sam.radius', settings.radius, 0, 1e6);
    number('ft-sam.labelSmoothing', settings.labelSmoothing, 0, 0.5);
  },
  // Every step takes two gradients.
  units: (settings, { clean }) => 2 * wholeUnits(settings, clean),
  async run(input, settings) {
    const clean = requireClean(ftSam, input);
    const model = await input.victim.clone();
    return await workOn(model, async () => {
      const { radius } = settings;
      // The core's smoothing, PyTorch's, spreads its share over all classes, the label's own among them.
      const labelSmoothing = Math.min(0.999999, (settings.labelSmoothing * clean.classes) / (clean.classes - 1));
      const { first, last } = await fineTuneWhole(model, clean, settings, {
        ...input,
        rateOption: 'ft-sam.learningRate',
        objective: { radius, labelSmoothing },
      });
      const said = `every weight trained on ${clean.count} clean images for ${counted(settings.epochs, 'epoch')} by SAM of radius ${radius}`;
      return { said, details: { first, last } };
    });
  },
};
