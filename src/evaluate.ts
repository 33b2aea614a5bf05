import type { LabelPolicy } from './attacks/labels.js';
import type { Dataset } from './dataset.js';
import { accuracy, attackSuccess } from './metrics.js';
import type { EvaluationOptions, Model } from './model.js';

/** What a model is judged on: the clean test set and, when an attack is known, the same images with its trigger. */
export interface TestSets {
  /** Clean images with their true labels. */
  readonly test: Dataset;
  /** The same images, triggered, with their *original* labels; null when no attack is known. */
  readonly triggered: Dataset | null;
  readonly policy: LabelPolicy | null;
}

/** Fractions in [0, 1]; null where no attack is known. */
export interface Evaluation {
  readonly acc: number;
  /** Target class excluded (BackdoorBench). */
  readonly asr: number | null;
  /** Target class included (the paper's tables, it seems). */
  readonly asrIncludingTarget: number | null;
  readonly ra: number | null;
}

/** ACC, ASR and RA of a model as it is, its bounds included. */
export async function evaluate(model: Model, sets: TestSets, options: EvaluationOptions = {}): Promise<Evaluation> {
  const acc = accuracy(await model.predict(sets.test, options), sets.test.labels());
  if (sets.triggered === null || sets.policy === null) return { acc, asr: null, asrIncludingTarget: null, ra: null };
  const predicted = await model.predict(sets.triggered, options);
  const { asr, asrIncludingTarget, ra } = attackSuccess(predicted, sets.triggered.labels(), sets.policy, model.classes);
  return { acc, asr, asrIncludingTarget, ra };
}
