import { number } from '../../options.js';
import { rankAscending } from '../../statistics.js';
import {
  checkWhole,
  fineTuneWhole,
  WHOLE_DEFAULTS,
  WHOLE_HELP,
  type WholeSettings,
  wholeUnits,
} from './fine-tune-whole.js';
import { type Method, requireClean, workOn } from './method.js';
import { normBefore, pruneWithin, requireNorms } from './prune.js';

export interface FinePruningSettings extends WholeSettings {
  /** Channels are pruned as long as the accuracy on the clean images stays within this of the victim's, as a fraction. */
  readonly maxAccDrop: number;
}

/** Channels are pruned in so many portions; the accuracy is looked at after each. */
const PORTIONS = 20;

/**
 * Fine-pruning (Liu, Dolan-Gavitt and Garg, *Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks*,
 * RAID 2018): the channels that clean images use least are pruned from the last convolution's input, least used first, as
 * long as the accuracy holds; what is left is fine-tuned.
 *
 * The paper prunes the last convolution's own channels, BackdoorBench those that the classifier reads; of this network
 * both are sums without a ReLU, in which no channel rests, so the channels that the last convolution reads are taken.
 * Accuracy is counted in points: `maxAccDrop` 0.1 allows 90 % to fall to 80 %, where BackdoorBench allows a tenth of
 * what it was.
 *
 * BackdoorBench's loop keeps the network of its last look, in which one channel too many is pruned, since what it means
 * to keep is the same object; and it stops by the accuracy on the test set. Here the last portion that holds is
 * restored, and the clean images say how far to go.
 *
 * A channel is pruned by setting scale and shift of the batch norm before its ReLU to zero. It gives zero from then on, and
 * since the derivative of a ReLU at zero is zero, fine-tuning cannot wake it.
 */
export const fp: Method<FinePruningSettings> = {
  name: 'fp',
  title: 'FP: fine-pruning',
  paper: 'Liu et al., Fine-Pruning, RAID 2018',
  needs: { victim: 'weights', training: false, clean: true },
  computes: ['training'],
  // 1: averages are means; they were made of quantiles.
  revision: 1,
  note: 'channels that the last convolution reads are pruned, as long as the accuracy on the clean images stays within so many points',
  defaults: { ...WHOLE_DEFAULTS, maxAccDrop: 0.1 },
  help: { ...WHOLE_HELP, maxAccDrop: 'most accuracy on the clean images that pruning may cost, as a fraction' },
  check(settings) {
    checkWhole('fp', settings);
    number('fp.maxAccDrop', settings.maxAccDrop, 0, 1);
  },
  fits: ({ victim }) => requireNorms('fp', victim),
  units: (settings, { clean }) => wholeUnits(settings, clean) + (1 + PORTIONS) * clean,
  async run(input, settings) {
    const clean = requireClean(fp, input);
    const { onProgress: __, ...quiet } = input.evaluation;
    const { victim } = input;
    const site = victim.sites.at(-1);
    const norm = normBefore('fp', victim, site?.name);
    const channels = site?.channels ?? 0;
    // What clean images use of a channel: its activation, averaged over the map and the images.
    const averages = { ...quiet, statistic: 'mean', quantile: null, leaveOneLabelOut: false } as const;
    const usage = (await victim.activationRanges(clean, averages)).slice(-channels);
    const order = Array.from(rankAscending(Float64Array.from(usage)), (index) => ({ norm, index }));
    const portions = Array.from({ length: PORTIONS - 1 }, (_, i) =>
      order.slice(0, Math.round(((i + 1) * channels) / PORTIONS)),
    );
    const model = await victim.clone();
    return await workOn(model, async () => {
      const { maxAccDrop } = settings;
      const { portion: _, ...pruning } = await pruneWithin(
        model,
        clean,
        portions,
        { kinds: ['weight', 'bias'], maxAccDrop },
        quiet,
      );
      const { first, last } = await fineTuneWhole(model, clean, settings, { ...input, rateOption: 'fp.learningRate' });
      const said = `${pruning.pruned} of ${channels} channels pruned at ${site?.name}, the rest trained on ${clean.count} clean images for ${settings.epochs} epochs`;
      return { said, details: { ...pruning, channels, first, last } };
    });
  },
};
