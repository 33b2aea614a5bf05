import type { Dataset } from '../../dataset.js';
import { resolvePrecision } from '../../device.js';
import { invalidOption } from '../../errors.js';
import type { Model } from '../../model.js';
import type { MaskStepsResult } from '../../native/contract.js';
import { callNative, runJob } from '../../native/job.js';
import { loadAddon } from '../../native/load.js';
import { integer, number } from '../../options.js';
import { streamSeed } from '../../random.js';
import { TRAINING_UNITS } from '../units.js';
import { type Method, type MethodInput, naming, requireClean, workOn } from './method.js';
import { type Channel, normBefore, pruneWithin, requireNorms } from './prune.js';

export interface NeuronPruningSettings {
  readonly steps: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly momentum: number;
  readonly epsilon: number;
  readonly alpha: number;
  readonly cropPadding: number;
  readonly threshold: number;
  readonly maxAccDrop: number;
}

/** Thresholds are looked at in steps of this. */
const STEP = 0.05;

/**
 * ANP (Wu and Wang, *Adversarial Neuron Pruning Purifies Backdoored Deep Models*, NeurIPS 2021): masks of the channels are
 * learnt while the batch norms are disturbed against them; a channel whose mask ends low is one that the backdoor needs,
 * and its batch norm's scale is set to zero, the shift left, as published.
 *
 * The disturbance starts at random within ±`epsilon`, takes a step of `epsilon` up the loss, and is brought back
 * within; the published code leaves it outside.
 *
 * The threshold rises in steps of 0.05 as long as the accuracy on the clean images stays within `maxAccDrop` (in
 * points) of the victim's. The reference implementation looks at ACC and ASR on the test set for it; that is an oracle,
 * and not read here.
 */
export const anp: Method<NeuronPruningSettings> = {
  name: 'anp',
  title: 'ANP: pruning of channels that a disturbance shows to be sensitive',
  paper: 'Wu and Wang, Adversarial Neuron Pruning, NeurIPS 2021',
  needs: { victim: 'weights', training: false, clean: true },
  computes: ['training'],
  note: 'its threshold is chosen by the accuracy on the clean images, where the published code looks at the test set',
  defaults: {
    steps: 2000,
    batchSize: 256,
    learningRate: 0.2,
    momentum: 0.9,
    epsilon: 0.4,
    alpha: 0.2,
    cropPadding: 4,
    threshold: 0.9,
    maxAccDrop: 0.1,
  },
  help: {
    steps: 'steps of the masks, three passes each',
    batchSize: 'clean images a step; all of them where there are fewer',
    learningRate: 'of SGD on the masks',
    momentum: 'of SGD',
    epsilon: 'largest relative disturbance of scales and shifts',
    alpha: 'weight of the loss without disturbance against the one under it, in [0, 1]',
    cropPadding: 'zero padding of the random crop, in pixels; 0 crops nothing',
    threshold: 'largest mask, in (0, 1), below which a channel may be pruned',
    maxAccDrop: 'most accuracy on the clean images that pruning may cost, as a fraction',
  },
  check(settings) {
    integer('anp.steps', settings.steps, 1, 1e7);
    integer('anp.batchSize', settings.batchSize, 2, 1 << 20);
    number('anp.learningRate', settings.learningRate, 0, 1e6);
    number('anp.momentum', settings.momentum, 0, 1);
    number('anp.epsilon', settings.epsilon, 0, 1e3);
    number('anp.alpha', settings.alpha, 0, 1);
    integer('anp.cropPadding', settings.cropPadding, 0, 64);
    const { threshold } = settings;
    if (!(threshold > 0 && threshold < 1)) throw invalidOption('anp.threshold', 'a number in (0, 1)', threshold);
    number('anp.maxAccDrop', settings.maxAccDrop, 0, 1);
  },
  fits: ({ victim }) => requireNorms('anp', victim),
  // Three gradients a step; a look at every threshold.
  units: ({ steps, batchSize, threshold }, { clean }) =>
    3 * TRAINING_UNITS * steps * Math.min(batchSize, clean) + (1 + thresholdsUpTo(threshold).length) * clean,
  async run(input, settings) {
    const clean = requireClean(anp, input);
    const { onProgress: _, ...quiet } = input.evaluation;
    const { victim } = input;
    const channels = victim.sites.flatMap(({ name, channels: count }) => {
      const norm = normBefore('anp', victim, name);
      return Array.from({ length: count }, (_, index) => ({ norm, index }));
    });
    const { mask, loss, robustLoss } = await findMask(victim, clean, settings, input);
    const thresholds = thresholdsUpTo(settings.threshold);
    const portions = thresholds.map((threshold) => below(mask, threshold, channels));
    const model = await victim.clone();
    return await workOn(model, async () => {
      const { maxAccDrop } = settings;
      const { portion, ...pruning } = await pruneWithin(
        model,
        clean,
        portions,
        { kinds: ['weight'], maxAccDrop },
        quiet,
      );
      const threshold = thresholds[portion - 1] ?? null;
      const pruned = threshold === null ? 'no channel' : `${pruning.pruned} of ${channels.length} channels`;
      const which = threshold === null ? '' : `, those with a mask below ${threshold}`;
      const said = `${pruned} pruned${which}, after ${settings.steps} steps of the masks on ${clean.count} clean images`;
      return { said, details: { ...pruning, threshold, channels: channels.length, loss, robustLoss } };
    });
  },
};

/** Every step below the largest, and that. */
function thresholdsUpTo(largest: number): readonly number[] {
  const steps = Array.from({ length: Math.ceil(largest / STEP) }, (_, i) => Number(((i + 1) * STEP).toFixed(6)));
  return [...steps.filter((step) => step < largest), largest];
}

function below(mask: Float32Array, threshold: number, channels: readonly Channel[]): readonly Channel[] {
  return channels.filter((_, i) => (mask[i] as number) < threshold);
}

async function findMask(
  victim: Model,
  clean: Dataset,
  settings: NeuronPruningSettings,
  { flip, seed, evaluation }: MethodInput,
): Promise<MaskStepsResult & { readonly mask: Float32Array }> {
  const { steps, batchSize, learningRate, momentum, epsilon, alpha, cropPadding } = settings;
  const precision = resolvePrecision(evaluation.precision ?? 'auto', victim.device, 'training');
  const masker = callNative(() =>
    loadAddon().createNeuronMasker(victim.native, clean.native, {
      ...{ batchSize, learningRate, momentum, epsilon, alpha, cropPadding, flip, precision },
      seed: streamSeed(seed, 'masks'),
    }),
  );
  try {
    const result = await naming({ 'masks.learningRate': 'anp.learningRate' }, () =>
      runJob(evaluation.signal, () => masker.steps({ steps }, evaluation.onProgress)),
    );
    return { ...result, mask: callNative(() => masker.mask()) };
  } finally {
    callNative(() => masker.dispose());
  }
}
