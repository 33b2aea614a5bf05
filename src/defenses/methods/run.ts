import type { Dataset } from '../../dataset.js';
import { invalidOption, PadFtError } from '../../errors.js';
import { MemoryWatch, type StageCost } from '../../memory.js';
import type { EvaluationOptions, Model } from '../../model.js';
import { boolean, integer } from '../../options.js';
import type { Given } from '../given.js';
import type { PlannedMethod } from './index.js';
import { type Method, type MethodInput, requireClean } from './method.js';

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
  readonly given: Given;
  readonly costs: readonly StageCost[];
}

/**
 * Refuses what `defendByMethod` would refuse, before anything is written.
 *
 * @throws PadFtError ERR_OPTION without clean images where they are needed, or for a setting that does not fit the
 * data; ERR_DATA when a class of the clean images, or of a training set that a network is trained on, is missing, or
 * the images are not such as the method can use; ERR_MODEL for a victim whose bounds the method cannot work with, or
 * that lacks what it works on; ERR_OOM and ERR_ABORTED where the victim is asked
 */
export async function checkMethodRequest(
  planned: PlannedMethod,
  request: MethodRequest,
  evaluation: EvaluationOptions = {},
): Promise<void> {
  if (typeof planned?.method?.run !== 'function') throw invalidOption('planned', 'what planMethod gives', planned);
  const { name, method, settings } = planned;
  requireRequest(request);
  if (method.needs.clean) requireClean(method, request);
  const { max, mean } = request.victim.bounds;
  if ((max !== null || mean !== null) && changesVictim(method)) {
    const why =
      method.needs.clean && !method.computes.includes('training')
        ? 'bounds of its own would replace'
        : 'training would not see';
    const message = `${name}: the model has clipping bounds already, which ${why}; defend the model that they were fitted to`;
    throw new PadFtError('ERR_MODEL', message);
  }
  const { onProgress: _, ...quiet } = evaluation;
  await method.fits?.({ ...request, evaluation: quiet }, settings);
}

/** Plain JavaScript may leave anything out, and an undefined `clean` is none. ERR_OPTION naming what is missing. */
function requireRequest(request: MethodRequest): void {
  const given = (request ?? {}) as Partial<MethodRequest>;
  for (const name of ['victim', 'training'] as const) {
    if (typeof given[name] === 'object' && given[name] !== null) continue;
    throw invalidOption(`request.${name}`, name === 'victim' ? 'a Model' : 'a Dataset', given[name]);
  }
  integer('request.seed', given.seed as number, 0);
  boolean('request.flip', given.flip as boolean);
}

/** Not a control that hands the victim back, nor a method that trains a network anew. */
function changesVictim({ needs, computes }: Pick<Method, 'needs' | 'computes'>): boolean {
  return needs.victim === 'weights' && computes.length > 0;
}

/**
 * Runs a method that is compared with PAD-FT on a victim. What the method does not need it does not get.
 *
 * @throws PadFtError what `checkMethodRequest` throws; ERR_DATA also when no row of a label can be kept, ERR_MODEL for a
 * model that lacks what it works on, ERR_NUMERIC, ERR_OOM, ERR_ABORTED
 */
export async function defendByMethod(
  planned: PlannedMethod,
  request: MethodRequest,
  evaluation: EvaluationOptions = {},
): Promise<MethodResult> {
  await checkMethodRequest(planned, request, evaluation);
  return await runMethod(planned, request, evaluation);
}

/**
 * A request that `checkMethodRequest` has passed, run.
 *
 * @internal For those who check before they open a folder.
 */
export async function runMethod(
  { name, method, settings }: PlannedMethod,
  request: MethodRequest,
  evaluation: EvaluationOptions,
): Promise<MethodResult> {
  const { needs } = method;
  const input: MethodInput = {
    ...request,
    training: needs.training ? request.training : null,
    clean: needs.clean ? request.clean : null,
    evaluation,
  };
  const watch = new MemoryWatch(request.victim.device);
  const { model, said, details } = await watch.measure(name, () => method.run(input, settings));
  const given = { victim: needs.victim, training: input.training?.count ?? null, clean: input.clean?.count ?? null };
  return { model, said, details, given, costs: watch.costs };
}
