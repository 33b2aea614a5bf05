import { PRECISIONS } from '../device.js';
import type { Evaluation } from '../evaluate.js';
import { MODEL_NAMES } from '../model.js';
import { SCHEDULES } from '../schedule.js';
import type { EpochReport, TrainSettings } from '../train.js';
import { count, finite, flag, fraction, nullable, object, oneOf } from './json-shape.js';

/** Checks for what trainings write about themselves, in cards, `training.json` and checkpoints. */

export const checkEvaluation = object<Evaluation>({
  acc: fraction,
  asr: nullable(fraction),
  asrIncludingTarget: nullable(fraction),
  ra: nullable(fraction),
});

/** Checks an epoch of a training that came out of a file. */
export const checkEpoch = object<EpochReport>({
  epoch: count,
  epochs: count,
  learningRate: finite,
  loss: finite,
  trainAccuracy: fraction,
  imagesPerSecond: finite,
  seconds: finite,
  evaluation: nullable(checkEvaluation),
});

/** Checks the settings of a training that came out of a file. */
export const checkTrainSettings = object<TrainSettings>({
  model: oneOf(MODEL_NAMES),
  width: count,
  epochs: count,
  batchSize: count,
  learningRate: finite,
  schedule: oneOf(SCHEDULES),
  momentum: finite,
  weightDecay: finite,
  cropPadding: count,
  flip: flag,
  dropLast: flag,
  seed: count,
  precision: oneOf(PRECISIONS),
});
