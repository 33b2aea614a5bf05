import { invalidOption } from './errors.js';
import { sortedCopy, type Values, winsorised } from './quantiles.js';

/** One part of a mixture. */
export interface Gaussian {
  /** Share of the values, in (0, 1). */
  readonly weight: number;
  readonly mean: number;
  /** Standard deviation, > 0. */
  readonly sd: number;
}

/** A mixture of two Gaussians fitted to one-dimensional values. */
export interface TwoComponentMixture {
  /** The parts, in order of their means: `lower.mean ≤ upper.mean`. */
  readonly lower: Gaussian;
  readonly upper: Gaussian;
  /** Ashman's D, √2 · |μ₁ − μ₂| / √(σ₁² + σ₂²): above 2 the parts stand apart (Ashman, Bird and Zepf, 1994). */
  readonly ashmanD: number;
  /** BIC of one Gaussian less BIC of this mixture: above 0 two parts explain the values better, above 10 very clearly so. */
  readonly bicGain: number;
  /** Mean log-likelihood of a (Winsorised) value. */
  readonly logLikelihood: number;
  /** EM steps from the start that was chosen. */
  readonly iterations: number;
  /** False when the iterations ran out first. */
  readonly converged: boolean;
  /**
   * The probability that a finite x belongs to the upper part, never falling as x rises. Of two Gaussians the wider one
   * wins both far tails; where that would turn the curve (a wide lower part beyond the upper one, a wide upper part
   * below the lower one), it stays at its extreme.
   */
  posterior(x: number): number;
}

export interface MixtureOptions {
  /** Share of the values pulled in at each tail before fitting, in [0, 0.1]. Defaults to 0.001. */
  readonly winsorise?: number;
  /** EM stops when the mean log-likelihood rises by less than this. Defaults to 1e-9. */
  readonly tolerance?: number;
  /** At most so many EM steps after the best start is chosen. Defaults to 1000. */
  readonly maxIterations?: number;
}

/** Fewer values than this carry no two parts worth naming. */
const MIN_VALUES = 8;
/** Where the sorted values are cut in two to start: poison may be 1 % of a label or 92 % of it. */
const STARTS = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95];
/** EM steps given to every start before the best one is followed to the end. */
const TRIAL_STEPS = 15;
/** A part's standard deviation never falls below this share of the whole's: no part may collapse onto a few values. */
const SD_FLOOR = 0.02;
/** The weight of a part that no value belongs to any more. */
const LEAST_WEIGHT = 1e-9;

/**
 * Fits two Gaussians by expectation–maximisation. Deterministic: the sorted values are cut at seven quantiles, each cut is
 * tried for 15 steps, and the likeliest is followed to convergence.
 *
 * Null where two parts cannot be told: fewer than 8 values, or values that do not vary. ERR_NUMERIC for a value that is
 * not finite, ERR_OPTION for an option out of range.
 *
 * Two parts always fit better than one, clean data included, and a skewed bulk may take both Gaussians when the second
 * group is tiny (1 %): read `bicGain` and `ashmanD`, or a verdict of your own, before believing the split.
 */
export function twoComponentMixture(values: Values, options: MixtureOptions = {}): TwoComponentMixture | null {
  const { winsorise = 0.001, tolerance = 1e-9, maxIterations = 1000 } = options;
  if (!(winsorise >= 0 && winsorise <= 0.1)) {
    throw invalidOption('mixture.winsorise', 'a number in [0, 0.1]', winsorise);
  }
  if (!(tolerance > 0)) throw invalidOption('mixture.tolerance', 'a number > 0', tolerance);
  if (!Number.isInteger(maxIterations) || maxIterations < 1) {
    throw invalidOption('mixture.maxIterations', 'an integer ≥ 1', maxIterations);
  }
  if (values.length < MIN_VALUES) return null;
  const data = sortedCopy('mixture', winsorised(values, winsorise));
  const whole = moments(data);
  if (!(whole.sd > 0) || data[0] === data[data.length - 1]) return null;
  const floor = SD_FLOOR * whole.sd;

  let best: Fit | undefined;
  for (const cut of STARTS) {
    const fit = expectationMaximisation(data, startAt(data, cut, floor), floor, tolerance, TRIAL_STEPS);
    if (best === undefined || fit.logLikelihood > best.logLikelihood) best = fit;
  }
  const fit = expectationMaximisation(data, best!.parts, floor, tolerance, maxIterations);
  const [first, second] = fit.parts;
  const [lower, upper] = first.mean <= second.mean ? [first, second] : [second, first];

  const n = data.length;
  const bicOfOne = 2 * Math.log(n) - 2 * n * oneGaussianLogLikelihood(whole.sd);
  const bicOfTwo = 5 * Math.log(n) - 2 * n * fit.logLikelihood;
  return {
    lower,
    upper,
    ashmanD: (Math.SQRT2 * (upper.mean - lower.mean)) / Math.hypot(lower.sd, upper.sd),
    bicGain: bicOfOne - bicOfTwo,
    logLikelihood: fit.logLikelihood,
    iterations: best!.iterations + fit.iterations,
    converged: fit.converged,
    posterior: monotonePosterior(lower, upper),
  };
}

type Parts = readonly [Gaussian, Gaussian];

interface Fit {
  readonly parts: Parts;
  readonly logLikelihood: number;
  readonly iterations: number;
  readonly converged: boolean;
}

function startAt(sorted: Float64Array, cut: number, floor: number): Parts {
  // At least two values on either side, and a cut by count, so that ties cannot leave one side empty.
  const count = Math.min(sorted.length - 2, Math.max(2, Math.round(cut * sorted.length)));
  const part = (side: Float64Array): Gaussian => {
    const { mean, sd } = moments(side);
    return { weight: side.length / sorted.length, mean, sd: Math.max(sd, floor) };
  };
  return [part(sorted.subarray(0, count)), part(sorted.subarray(count))];
}

function expectationMaximisation(
  data: Float64Array,
  start: Parts,
  floor: number,
  tolerance: number,
  maxIterations: number,
): Fit {
  let parts = start;
  let step = expectation(data, parts);
  for (let iterations = 1; iterations <= maxIterations; iterations++) {
    const next = maximisation(data, step, parts, floor);
    const after = expectation(data, next);
    const gain = after.logLikelihood - step.logLikelihood;
    parts = next;
    step = after;
    if (gain < tolerance) return { parts, logLikelihood: step.logLikelihood, iterations, converged: true };
  }
  return { parts, logLikelihood: step.logLikelihood, iterations: maxIterations, converged: false };
}

interface Expectation {
  /** Each value's probability of the second part. */
  readonly second: Float64Array;
  readonly logLikelihood: number;
}

function expectation(data: Float64Array, [a, b]: Parts): Expectation {
  const second = new Float64Array(data.length);
  const [logA, logB] = [logDensity(a), logDensity(b)];
  let sum = 0;
  for (let i = 0; i < data.length; i++) {
    const inA = logA(data[i]!);
    const inB = logB(data[i]!);
    // log(e^a + e^b) and e^b / (e^a + e^b) from one exponential that cannot overflow.
    const smaller = Math.exp(-Math.abs(inA - inB));
    second[i] = (inB > inA ? 1 : smaller) / (1 + smaller);
    sum += Math.max(inA, inB) + Math.log1p(smaller);
  }
  return { second, logLikelihood: sum / data.length };
}

function maximisation(data: Float64Array, { second }: Expectation, before: Parts, floor: number): Parts {
  const n = data.length;
  const part = (share: (i: number) => number, previous: Gaussian): Gaussian => {
    let mass = 0;
    let mean = 0;
    for (let i = 0; i < n; i++) {
      mass += share(i);
      mean += share(i) * data[i]!;
    }
    // A part that lost all its values stays where it was with a trace of weight, whose logarithm is finite.
    if (mass < LEAST_WEIGHT * n) return { ...previous, weight: LEAST_WEIGHT };
    mean /= mass;
    let variance = 0;
    for (let i = 0; i < n; i++) variance += share(i) * (data[i]! - mean) ** 2;
    return { weight: mass / n, mean, sd: Math.max(Math.sqrt(variance / mass), floor) };
  };
  return [part((i) => 1 - second[i]!, before[0]), part((i) => second[i]!, before[1])];
}

/**
 * log of the ratio of the two weighted densities is a quadratic in x, rising all the way between the two means, so its
 * vertex lies outside them: above when the lower part is wider, below when the upper part is. Holding x at the vertex
 * makes the curve monotone and changes nothing on its rising side.
 */
function monotonePosterior(lower: Gaussian, upper: Gaussian): (x: number) => number {
  const bend = 1 / (2 * lower.sd ** 2) - 1 / (2 * upper.sd ** 2);
  const slope = upper.mean / upper.sd ** 2 - lower.mean / lower.sd ** 2;
  const [inLower, inUpper] = [logDensity(lower), logDensity(upper)];
  const vertex = bend === 0 ? 0 : -slope / (2 * bend);
  return (x) => {
    const held = bend === 0 ? x : bend < 0 ? Math.min(x, vertex) : Math.max(x, vertex);
    return logistic(inUpper(held) - inLower(held));
  };
}

/** x → log(weight · normal density at x). */
function logDensity({ weight, mean, sd }: Gaussian): (x: number) => number {
  const peak = Math.log(weight) - Math.log(sd) - 0.5 * Math.log(2 * Math.PI);
  return (x) => {
    const z = (x - mean) / sd;
    return peak - 0.5 * z * z;
  };
}

function oneGaussianLogLikelihood(sd: number): number {
  return -Math.log(sd) - 0.5 * Math.log(2 * Math.PI) - 0.5;
}

function logistic(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

function moments(values: Float64Array): { mean: number; sd: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, sd: Math.sqrt(variance) };
}
