import type { Dataset } from '../../dataset.js';
import { resolvePrecision } from '../../device.js';
import type { EvaluationOptions, Model } from '../../model.js';
import type { Objective } from '../../native/contract.js';
import { callNative, runJob } from '../../native/job.js';
import { loadAddon } from '../../native/load.js';
import { integer, number } from '../../options.js';
import { streamSeed } from '../../random.js';
import { learningRate, type ScheduleName } from '../../schedule.js';
import { TRAINING_UNITS } from '../units.js';
import { naming } from './method.js';

/** How a whole network is trained further on clean images: SGD, cosine, random crops and mirrors as in training. */
export interface WholeSettings {
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly momentum: number;
  readonly weightDecay: number;
  /** Zero padding of the random crop in pixels; 0 crops nothing. */
  readonly cropPadding: number;
}

/** BackdoorBench's for FT, FP and FT-SAM. */
export const WHOLE_DEFAULTS: WholeSettings = {
  epochs: 100,
  batchSize: 256,
  learningRate: 0.01,
  momentum: 0.9,
  weightDecay: 5e-4,
  cropPadding: 4,
};

export const WHOLE_HELP: { readonly [K in keyof WholeSettings]: string } = {
  epochs: 'passes over the clean images',
  batchSize: 'rows a step; all of them where there are fewer',
  learningRate: 'peak of the cosine schedule',
  momentum: 'of SGD',
  weightDecay: 'of SGD',
  cropPadding: 'zero padding of the random crop, in pixels; 0 crops nothing',
};

export function checkWhole(name: string, settings: WholeSettings): void {
  integer(`${name}.epochs`, settings.epochs, 1, 1e6);
  integer(`${name}.batchSize`, settings.batchSize, 2, 1 << 20);
  number(`${name}.learningRate`, settings.learningRate, 0, 1e6);
  number(`${name}.momentum`, settings.momentum, 0, 1);
  number(`${name}.weightDecay`, settings.weightDecay, 0, 1e6);
  integer(`${name}.cropPadding`, settings.cropPadding, 0, 64);
}

/** Forward units of `fineTuneWhole` on so many images. */
export function wholeUnits({ epochs }: Pick<WholeSettings, 'epochs'>, images: number): number {
  return TRAINING_UNITS * epochs * images;
}

/** What training the whole network needs to know besides its settings. */
export interface WholeRun {
  readonly flip: boolean;
  readonly seed: number;
  readonly evaluation: EvaluationOptions;
  /** What the method calls its learning rate, for errors: `ft.learningRate`. */
  readonly rateOption: string;
  /** What a step descends; the cross-entropy when left out. */
  readonly objective?: Partial<Objective> | undefined;
  /** Defaults to cosine, BackdoorBench's. */
  readonly schedule?: ScheduleName | undefined;
}

const CROSS_ENTROPY: Objective = {
  labelSmoothing: 0,
  ascentBelow: null,
  radius: 0,
  teacher: null,
  attention: [],
};

/** Mean loss and accuracy over an epoch's own batches. */
export interface WholeEpoch {
  readonly loss: number;
  readonly accuracy: number;
}

/** The first and the last of some epochs. */
export interface WholeHistory {
  readonly first: WholeEpoch;
  readonly last: WholeEpoch;
}

/** Trains every weight of `model`, in place. ERR_NUMERIC, ERR_OOM, ERR_ABORTED */
export async function fineTuneWhole(
  model: Model,
  data: Dataset,
  settings: WholeSettings,
  { flip, seed, evaluation, rateOption, objective, schedule = 'cosine' }: WholeRun,
): Promise<WholeHistory> {
  const { momentum, weightDecay, epochs, cropPadding, learningRate: peak } = settings;
  const precision = resolvePrecision(evaluation.precision ?? 'auto', model.device, 'training');
  const batchSize = Math.min(settings.batchSize, data.count);
  const options = {
    ...{ batchSize, cropPadding, flip, precision, recipe: null },
    // A last batch of one row has no batch statistics.
    dropLast: data.count % batchSize === 1,
    objective: objective === undefined ? null : { ...CROSS_ENTROPY, ...objective },
  };
  const trainer = callNative(() => loadAddon().createTrainer(model.native, { momentum, weightDecay }));
  try {
    const history: WholeEpoch[] = [];
    for (let epoch = 0; epoch < epochs; epoch++) {
      const rates = learningRate(schedule, peak, epoch, epochs);
      const own = { ...options, learningRate: rates, seed: streamSeed(seed, 'shuffle') + epoch };
      const { loss, correct, count } = await naming({ 'train.learningRate': rateOption }, () =>
        runJob(evaluation.signal, () => trainer.epoch(data.native, own)),
      );
      history.push({ loss, accuracy: correct / count });
      evaluation.onProgress?.(epoch + 1, epochs);
    }
    return { first: history[0] as WholeEpoch, last: history.at(-1) as WholeEpoch };
  } finally {
    callNative(() => trainer.dispose());
  }
}

/** A method's own progress when its work has parts: `before` of its `total` epochs lie behind this part. */
export function partOf(evaluation: EvaluationOptions, before: number, total: number): EvaluationOptions {
  const { onProgress } = evaluation;
  if (onProgress === undefined) return evaluation;
  return { ...evaluation, onProgress: (done) => onProgress(before + done, total) };
}
