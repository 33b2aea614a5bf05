import type { Dataset } from '../../dataset.js';
import { resolvePrecision } from '../../device.js';
import { type EvaluationOptions, LOG_ZERO, type Model } from '../../model.js';
import type { TuneEpochResult } from '../../native/contract.js';
import { callNative, runJob } from '../../native/job.js';
import { loadAddon } from '../../native/load.js';
import { streamSeed } from '../../random.js';
import { learningRate } from '../../schedule.js';
import type { TuneSettings } from './options.js';

/** What stage 3 works on. The classifier of `model` is trained in place; backbone and bounds are never touched. */
export interface TuneInput {
  readonly model: Model;
  /** D_c. */
  readonly purified: Dataset;
  readonly suspects: Dataset | null;
  readonly settings: TuneSettings;
  readonly seed: number;
  readonly evaluation: EvaluationOptions;
}

export interface TuneResult {
  readonly first: TuneEpochResult;
  readonly last: TuneEpochResult;
}

/** Classifier fine-tuning (paper section III-C, eq. 4), cosine over the epochs. */
export async function fineTune(input: TuneInput): Promise<TuneResult> {
  const { model, purified, suspects, settings, evaluation } = input;
  const { draws, jitter, flip, momentum, weightDecay, alpha, beta, nu, margin } = settings;
  const tuner = callNative(() =>
    loadAddon().createClassifierTuner(model.native, purified.native, suspects?.native ?? null, {
      draws,
      jitter,
      flip,
      momentum,
      weightDecay,
      alpha,
      beta,
      nu,
      margin,
      logZero: LOG_ZERO,
      seed: streamSeed(input.seed, 'tune'),
      precision: resolvePrecision(evaluation.precision ?? 'auto', model.device, 'fitting'),
      featureBatchSize: evaluation.batchSize ?? (model.device === 'cpu' ? 500 : 2000),
    }),
  );
  try {
    let first: TuneEpochResult | undefined;
    let last: TuneEpochResult | undefined;
    for (let epoch = 0; epoch < settings.epochs; epoch++) {
      const [rate] = learningRate('cosine', settings.learningRate, epoch, settings.epochs);
      last = await runJob(evaluation.signal, () => tuner.epoch({ learningRate: rate, batchSize: settings.batchSize }));
      first ??= last;
      evaluation.onProgress?.(epoch + 1, settings.epochs);
    }
    return { first: first as TuneEpochResult, last: last as TuneEpochResult };
  } finally {
    callNative(() => tuner.dispose());
  }
}
