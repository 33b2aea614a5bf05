import type { Dataset } from '../../dataset.js';
import { PadFtError } from '../../errors.js';
import { MemoryWatch, type StageCost } from '../../memory.js';
import type { EvaluationOptions, Model } from '../../model.js';
import type { PlannedMethod } from './index.js';
import { type MethodInput, requireClean } from './method.js';

/** What a method is run on. `clean` are images known to be clean; null when there are none. */
export interface MethodRequest {
  readonly victim: Model;
  readonly training: Dataset;
  readonly clean: Dataset | null;
  /** Whether a mirrored image keeps its class. */
  readonly flip: boolean;
  /** An integer ≥ 0. */
  readonly seed: number;
}

/** A model of its own and what the method says of it. Dispose of the model. */
export interface MethodResult {
  readonly model: Model;
  readonly said: string;
  readonly details: Readonly<Record<string, unknown>>;
  /** Rows of the training set and clean images that it was given; null for what it does not look at. */
  readonly given: { readonly training: number | null; readonly clean: number | null };
  readonly costs: readonly StageCost[];
}

/**
 * Refuses what `defendByMethod` would refuse, before anything is written.
 *
 * @throws PadFtError ERR_OPTION without clean images where they are needed, or for a setting that does not fit the data;
 * ERR_DATA when a class of the clean images, or of a training set that a network is trained on, is missing, or the images
 * are not such as the method can use; ERR_MODEL for a victim that has bounds, or lacks what the method works on
 */
export function checkMethodRequest({ name, method, settings }: PlannedMethod, request: MethodRequest): void {
  if (method.needs.clean) requireClean(method, request);
  const { max, mean } = request.victim.bounds;
  if (max !== null || mean !== null) {
    const message = `${name}: the model has clipping bounds already, which training would not see; defend the model without bounds`;
    throw new PadFtError('ERR_MODEL', message);
  }
  method.fits?.(request, settings);
}

/**
 * Runs a method that is compared with PAD-FT on a victim. What the method does not need it does not get.
 *
 * @throws PadFtError what `checkMethodRequest` throws; ERR_DATA also when no row of a label can be kept, ERR_MODEL for a
 * model that lacks what it works on, ERR_NUMERIC, ERR_OOM, ERR_ABORTED
 */
export async function defendByMethod(
  { name, method, settings }: PlannedMethod,
  request: MethodRequest,
  evaluation: EvaluationOptions = {},
): Promise<MethodResult> {
  checkMethodRequest({ name, method, settings }, request);
  const { needs } = method;
  const input: MethodInput = {
    ...request,
    training: needs.training ? request.training : null,
    clean: needs.clean ? request.clean : null,
    evaluation,
  };
  const watch = new MemoryWatch(request.victim.device);
  const { model, said, details } = await watch.measure(name, () => method.run(input, settings));
  const given = { training: input.training?.count ?? null, clean: input.clean?.count ?? null };
  return { model, said, details, given, costs: watch.costs };
}
