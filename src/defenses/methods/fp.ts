import type { Dataset } from '../../dataset.js';
import { PadFtError } from '../../errors.js';
import { accuracy } from '../../metrics.js';
import type { EvaluationOptions, Model } from '../../model.js';
import type { StateEntry } from '../../native/contract.js';
import { number } from '../../options.js';
import { rankAscending } from '../../statistics.js';
import { checkWhole, fineTuneWhole, WHOLE_DEFAULTS, WHOLE_HELP, type WholeSettings } from './fine-tune-whole.js';
import { type Method, requireClean } from './method.js';

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
 * A channel is pruned by setting scale and shift of the batch norm before its ReLU to zero. It gives zero from then on, and
 * since the derivative of a ReLU at zero is zero, fine-tuning cannot wake it. The accuracy is that on the clean images; the
 * test set, which some implementations stop by, is not read. The averages are made of twenty quantiles over the images.
 */
export const fp: Method<FinePruningSettings> = {
  name: 'fp',
  title: 'FP: fine-pruning',
  paper: 'Liu et al., Fine-Pruning, RAID 2018',
  needs: { training: false, clean: true },
  computes: ['training'],
  defaults: { ...WHOLE_DEFAULTS, maxAccDrop: 0.1 },
  help: { ...WHOLE_HELP, maxAccDrop: 'most accuracy on the clean images that pruning may cost, as a fraction' },
  check(settings) {
    checkWhole('fp', settings);
    number('fp.maxAccDrop', settings.maxAccDrop, 0, 1);
  },
  async run(input, settings) {
    const clean = requireClean(fp, input);
    const { onProgress: _, ...quiet } = input.evaluation;
    const { victim } = input;
    const site = victim.sites.at(-1);
    const norm = site && normBefore(site.name);
    if (site === undefined || norm === undefined) {
      throw new PadFtError('ERR_MODEL', `fp: ${victim.name} has no batch norm before its last ReLU to prune by`);
    }
    const accuracyOf = async (model: Model) => accuracy(await model.predict(clean, quiet), clean.labels());
    const order = rankAscending(await usageOf(victim, clean, site.channels, quiet));
    const state = await victim.state();
    const before = await accuracyOf(victim);
    const model = await victim.clone();
    try {
      let pruned = 0;
      for (let portion = 1; portion < PORTIONS; portion++) {
        const count = Math.round((portion * site.channels) / PORTIONS);
        await model.loadState(prunedState(state, norm, order.subarray(0, count)));
        if ((await accuracyOf(model)) < before - settings.maxAccDrop) break;
        pruned = count;
      }
      await model.loadState(prunedState(state, norm, order.subarray(0, pruned)));
      const after = await accuracyOf(model);
      const { first, last } = await fineTuneWhole(model, clean, settings, input);
      const said = `${pruned} of ${site.channels} channels pruned at ${site.name}, the rest trained on ${clean.count} clean images for ${settings.epochs} epochs`;
      return { model, said, details: { pruned, channels: site.channels, before, after, first, last } };
    } catch (error) {
      model.dispose();
      throw error;
    }
  },
};

/** Quantiles that an average over the rows is made of: each stands for a twentieth of them. */
const QUANTILES = Array.from({ length: 20 }, (_, i) => (i + 0.5) / 20);

/** The average activation of each channel of the last site over the clean images. */
async function usageOf(
  victim: Model,
  clean: Dataset,
  channels: number,
  evaluation: EvaluationOptions,
): Promise<Float64Array> {
  const usage = new Float64Array(channels);
  for (const quantile of QUANTILES) {
    const options = { ...evaluation, statistic: 'mean', quantile, leaveOneLabelOut: false } as const;
    (await victim.activationRanges(clean, options)).slice(-channels).forEach((value, channel) => {
      usage[channel]! += value / QUANTILES.length;
    });
  }
  return usage;
}

/** `layer4.1.relu2` → `layer4.1.bn2`. */
function normBefore(site: string): string | undefined {
  return /\.relu\d+$/.test(site) ? site.replace(/relu(\d+)$/, 'bn$1') : undefined;
}

/** The state with scale and shift of these channels set to zero. */
function prunedState(state: readonly StateEntry[], norm: string, channels: Uint32Array): StateEntry[] {
  return state.map((entry) => {
    if (entry.name !== `${norm}.weight` && entry.name !== `${norm}.bias`) return entry;
    const data = new Uint8Array(entry.data);
    const values = new Float32Array(data.buffer);
    for (const channel of channels) values[channel] = 0;
    return { ...entry, data };
  });
}
