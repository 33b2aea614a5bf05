import type { Dataset } from '../../dataset.js';
import { resolvePrecision } from '../../device.js';
import { invalidOption } from '../../errors.js';
import { accuracy, fallsAtMost } from '../../metrics.js';
import { type EvaluationOptions, type Model, NO_BOUNDS } from '../../model.js';
import type { BoundsFitterOptions, FitStepsResult, NativeBounds, NativeBoundsFitter } from '../../native/contract.js';
import { callNative, runJob } from '../../native/job.js';
import { loadAddon } from '../../native/load.js';
import { Random, streamSeed } from '../../random.js';
import type { ClipSettings } from './options.js';
import { costOf } from './outcome.js';

/** What stage 2 works on. `model` is bounded in place: hand it a clone of the victim. */
export interface ClipInput {
  readonly model: Model;
  /** D_c. */
  readonly purified: Dataset;
  readonly suspects: Dataset | null;
  /** Held-out rows the accuracy floor is measured on; null measures it on D_c. */
  readonly heldOut: Dataset | null;
  readonly settings: ClipSettings;
  /** Names of the sites that are bounded; all of them when left out. The mm-bm controller alone can leave some out. */
  readonly sites?: readonly string[] | undefined;
  /** Most accuracy the bounds may cost on the held-out rows, as a fraction. */
  readonly maxAccDrop: number;
  /** Points of suspects that a point of accuracy must buy. */
  readonly accuracyPrice: number;
  readonly seed: number;
  readonly evaluation: EvaluationOptions;
}

/** One look at the bounds while they are fitted. Fractions in [0, 1]. */
export interface ClipLook {
  readonly step: number;
  readonly lambda: number;
  readonly mu: number;
  readonly loss: number;
  readonly mse: number;
  /** Accuracy under these bounds on the rows the floor is measured on. */
  readonly accuracy: number;
  /** Share of the suspects that still take their given label; null without suspects. */
  readonly suspectsKept: number | null;
}

export interface ClipResult {
  readonly looks: readonly ClipLook[];
  /** The step whose bounds were taken. */
  readonly step: number;
  /** The floor under the accuracy, for controllers that hold one. */
  readonly floor: number | null;
  /** The turn that the bounds are of, 0 the first: suspects may be found again by them, and other bounds refused afterwards. */
  readonly turn?: number | undefined;
}

/** MM-BM looks at the accuracy after 40, 60 and 80 % of its steps (epochs 20, 30, 40 of 50), and moves λ by 1.2. */
const MM_BM_LOOKS = [0.4, 0.6, 0.8, 1];
const MM_BM_FACTOR = 1.2;
const MM_BM_ACCURACY = 0.95;

/** settle: steps between looks, and how the evidence's weight grows from one look to the next. */
export const SETTLE_INTERVAL = 5;
const SETTLE_GROWTH = 1.2;
/** settle: the pressure on the bounds when there are no suspects to weigh. */
const SETTLE_LAMBDA = 0.02;
/** settle: it stops after so many looks below the floor. */
const SETTLE_PATIENCE = 5;
/** Suspects and held-out rows looked at while settling: enough for a share to within a percent. The gate looks at all of them. */
export const SUSPECTS_SHOWN = 1000;
export const HELD_OUT_SHOWN = 2000;

/** Activation clipping (paper section III-B, eq. 2): fits the bounds and leaves them on `input.model`. */
export async function clip(input: ClipInput): Promise<ClipResult> {
  const fitter = await makeFitter(input);
  try {
    return input.settings.controller === 'mm-bm' ? await mmBm(input, fitter) : await settle(input, fitter);
  } finally {
    callNative(() => fitter.dispose());
  }
}

async function makeFitter(input: ClipInput): Promise<NativeBoundsFitter> {
  const { model, purified, suspects, settings, evaluation } = input;
  if (input.sites !== undefined && settings.controller !== 'mm-bm') {
    throw invalidOption('clip.controller', 'mm-bm where `sites` says what is bounded', settings.controller);
  }
  model.bounds = NO_BOUNDS;
  const largest = async (statistic: 'max' | 'mean') => {
    if (settings.controller === 'mm-bm' && settings.start === '8') return new Float32Array(model.siteChannels).fill(8);
    return model.activationRanges(purified, { ...evaluation, statistic, quantile: 1, leaveOneLabelOut: false });
  };
  const starts = async (statistic: 'max' | 'mean') => {
    const values = await largest(statistic);
    return input.sites === undefined ? values : unboundedElsewhere(values, model, input.sites);
  };
  const options: BoundsFitterOptions & { readonly seed: number } = {
    parameters: settings.controller === 'mm-bm' ? 'absolute' : 'fraction',
    scale: settings.controller === 'mm-bm' ? 'plain' : 'variance',
    granularity: settings.granularity,
    max: settings.kinds === 'mean' ? null : await starts('max'),
    mean: settings.kinds === 'max' ? null : await starts('mean'),
    margin: settings.margin,
    precision: resolvePrecision(evaluation.precision ?? 'auto', model.device, 'fitting'),
    seed: streamSeed(input.seed, 'clip'),
  };
  return callNative(() =>
    loadAddon().createBoundsFitter(model.native, purified.native, suspects?.native ?? null, options),
  );
}

/** A start of +∞ is no bound, and stays none. ERR_OPTION for sites that the model has not, or under another controller. */
function unboundedElsewhere(starts: Float32Array, { sites }: Model, bounded: readonly string[]): Float32Array {
  const unknown = bounded.find((name) => !sites.some((site) => site.name === name));
  if (bounded.length === 0 || unknown !== undefined) {
    throw invalidOption('clip.sites', `some of ${sites.map(({ name }) => name).join(', ')}`, unknown ?? bounded);
  }
  const free = sites.flatMap(({ name, channels }) => new Array<boolean>(channels).fill(!bounded.includes(name)));
  return starts.map((start, channel) => (free[channel] ? Number.POSITIVE_INFINITY : start));
}

function fitSteps(
  input: ClipInput,
  fitter: NativeBoundsFitter,
  steps: number,
  lambda: number,
  mu: number,
  done: number,
): Promise<FitStepsResult> {
  const { learningRate, batchSize, suspectBatchSize, steps: total } = input.settings;
  const { signal, onProgress } = input.evaluation;
  return runJob(signal, () =>
    fitter.steps({ steps, learningRate, lambda, mu, batchSize, suspectBatchSize }, (at) =>
      onProgress?.(done + at, total),
    ),
  );
}

/** MM-BM's published controller (Wang et al., S&P 2024): the last bounds are taken, whatever they cost. */
async function mmBm(input: ClipInput, fitter: NativeBoundsFitter): Promise<ClipResult> {
  const looks: ClipLook[] = [];
  let lambda = input.settings.lambda;
  let step = 0;
  for (const share of MM_BM_LOOKS) {
    const steps = Math.round(share * input.settings.steps) - step;
    if (steps < 1) continue;
    const { loss, mse } = await fitSteps(input, fitter, steps, lambda, 0, step);
    step += steps;
    input.model.bounds = callNative(() => fitter.bounds());
    const kept = await accuracyOn(input, input.purified);
    looks.push({ step, lambda, mu: 0, loss, mse, accuracy: kept, suspectsKept: null });
    lambda = kept >= MM_BM_ACCURACY ? lambda * MM_BM_FACTOR : lambda / MM_BM_FACTOR;
  }
  return { looks, step, floor: null };
}

/**
 * Settles at the accuracy floor: the weight of the evidence (the suspects, or the pressure on the bounds when there are
 * none) grows from look to look, so the bounds tighten along a path from "nothing clipped"; the walk ends after five
 * looks below the floor. Of the looks at or above it the cheapest is taken (`costOf`); without suspects the latest.
 */
async function settle(input: ClipInput, fitter: NativeBoundsFitter): Promise<ClipResult> {
  const { model, suspects, settings, accuracyPrice } = input;
  const shown = suspects === null ? null : await someRows(suspects, SUSPECTS_SHOWN, input);
  let seen: Dataset | null = null;
  try {
    seen = input.heldOut === null ? null : await someRows(input.heldOut, HELD_OUT_SHOWN, input);
    const judged = seen ?? input.purified;
    const before = await accuracyOn(input, judged);
    const floor = before - input.maxAccDrop;
    const looks: ClipLook[] = [];
    // Nothing clipped: what every look is measured against.
    const unclipped: Candidate = {
      cost: shown === null ? Number.POSITIVE_INFINITY : costOf({ accuracy: before, suspectsKept: 1 }, accuracyPrice),
      step: 0,
      bounds: NO_BOUNDS,
    };
    const candidates = [unclipped];
    let below = 0;
    let growth = 1;
    for (let step = 0; step < settings.steps && below < SETTLE_PATIENCE; ) {
      const steps = Math.min(SETTLE_INTERVAL, settings.steps - step);
      const lambda = suspects === null ? (settings.lambda || SETTLE_LAMBDA) * growth : settings.lambda;
      const mu = suspects === null ? 0 : settings.mu * growth;
      const { loss, mse } = await fitSteps(input, fitter, steps, lambda, mu, step);
      step += steps;
      growth *= SETTLE_GROWTH;
      const bounds = callNative(() => fitter.bounds());
      model.bounds = bounds;
      const now = await accuracyOn(input, judged);
      const suspectsKept = shown === null ? null : await accuracyOn(input, shown);
      looks.push({ step, lambda, mu, loss, mse, accuracy: now, suspectsKept });
      if (!fallsAtMost(before, now, input.maxAccDrop)) {
        below++;
        continue;
      }
      // Without suspects the tighter bounds are the better ones as long as the floor holds.
      const cost = suspectsKept === null ? -step : costOf({ accuracy: now, suspectsKept }, accuracyPrice);
      if (cost < unclipped.cost) candidates.push({ cost, step, bounds });
    }
    candidates.sort((a, b) => a.cost - b.cost || a.step - b.step);
    const step = await takeFirstThatHolds(input, candidates, judged);
    return { looks, step, floor };
  } finally {
    shown?.dispose();
    seen?.dispose();
  }
}

/** Bounds that hold the floor where it was looked at. */
interface Candidate {
  readonly cost: number;
  readonly step: number;
  readonly bounds: NativeBounds;
}

/**
 * Leaves the cheapest bounds on the model that hold the floor on every held-out row, by which the gate goes, and gives
 * their step; looks were at `seen` of them. The last candidate clips nothing, and holds.
 */
async function takeFirstThatHolds(input: ClipInput, candidates: readonly Candidate[], seen: Dataset): Promise<number> {
  const { model, heldOut, maxAccDrop } = input;
  const all = heldOut !== null && heldOut.count > seen.count ? heldOut : null;
  model.bounds = NO_BOUNDS;
  const before = all === null ? 0 : await accuracyOn(input, all);
  for (const { step, bounds } of candidates) {
    model.bounds = bounds;
    if (all === null || step === 0 || fallsAtMost(before, await accuracyOn(input, all), maxAccDrop)) return step;
  }
  return 0;
}

async function accuracyOn(input: ClipInput, data: Dataset): Promise<number> {
  const { onProgress: _, ...evaluation } = input.evaluation;
  return accuracy(await input.model.predict(data, evaluation), data.labels());
}

// At random: suspects come with the surest first, and those give way first.
function someRows(data: Dataset, count: number, { seed, evaluation }: ClipInput): Promise<Dataset> {
  const order = new Random(streamSeed(seed, 'clip')).permutation(data.count);
  return data.subset(order.slice(0, count), evaluation);
}
