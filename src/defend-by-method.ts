import type { Dataset } from './dataset.js';
import type { PlannedMethod } from './defenses/methods/index.js';
import { type Evaluation, evaluate, type TestSets } from './evaluate.js';
import { MemoryWatch, type StageCost } from './memory.js';
import { defenseEffectiveness } from './metrics.js';
import type { EvaluationOptions, Model } from './model.js';

/** What a method is run on. `clean` are images known to be clean; null when there are none. */
export interface MethodRequest {
  readonly victim: Model;
  readonly training: Dataset;
  readonly clean: Dataset | null;
  /** Whether a mirrored image keeps its class. */
  readonly flip: boolean;
  readonly seed: number;
}

/** A model of its own and what the method says of it. Dispose of the model. */
export interface MethodResult {
  readonly model: Model;
  readonly said: string;
  readonly details: Readonly<Record<string, unknown>>;
  /** What the method used, rows: null for what it was not given or does not look at. */
  readonly given: { readonly training: number | null; readonly clean: number | null };
  readonly costs: readonly StageCost[];
}

/**
 * Runs a method that is compared with PAD-FT on a victim.
 *
 * @throws PadFtError ERR_OPTION when it needs clean images and has none, ERR_DATA when a class of them is missing, ERR_MODEL
 * for a model that lacks what it works on, ERR_NUMERIC, ERR_OOM, ERR_ABORTED
 */
export async function defendByMethod(
  { name, method, settings }: PlannedMethod,
  { victim, training, clean, flip, seed }: MethodRequest,
  evaluation: EvaluationOptions = {},
): Promise<MethodResult> {
  const watch = new MemoryWatch(victim.device);
  const { needs } = method;
  // What it does not need it does not get: its row says what it worked with.
  const input = { victim, training, clean: needs.clean ? clean : null, flip, seed, evaluation };
  const { model, said, details } = await watch.measure(name, () => method.run(input, settings));
  return {
    model,
    said,
    details,
    given: {
      training: needs.training ? training.count : null,
      clean: needs.clean && clean !== null ? clean.count : null,
    },
    costs: watch.costs,
  };
}

/** How a method's model looks beside the ground truth. Fractions in [0, 1]; DER null where no attack is known. */
export interface MethodFigures {
  readonly evaluation: Evaluation;
  readonly der: number | null;
}

/** Judges a method's model, after it is done, by the test sets. */
export async function judgeMethod(
  model: Model,
  sets: TestSets,
  victim: Evaluation,
  options: EvaluationOptions = {},
): Promise<MethodFigures> {
  const evaluation = await evaluate(model, sets, options);
  const der =
    victim.asr === null || evaluation.asr === null
      ? null
      : defenseEffectiveness({ acc: victim.acc, asr: victim.asr }, { acc: evaluation.acc, asr: evaluation.asr });
  return { evaluation, der };
}
