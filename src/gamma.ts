import { PadFtError } from './errors.js';
import type { Values } from './quantiles.js';

/** A Gamma distribution that starts at `location`: density of x − location ~ Gamma(shape, scale). */
export interface Gamma {
  /** ≥ 1. */
  readonly shape: number;
  readonly location: number;
  /** > 0. */
  readonly scale: number;
}

/** How far below the smallest value the location is looked for, in ranges of the values: the ends, as logarithms. */
const NEAREST = Math.log(1e-4);
const FARTHEST = Math.log(1e3);
const GRID = 400;
/** Steps of golden sections: the location to eight digits. */
const SECTIONS = 60;
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * Fits the three parameters by maximum likelihood: for every location below the smallest value the best shape and scale
 * are known, and the best location is searched on a line. Below shape 1 the likelihood grows without end as the location
 * nears the smallest value, so the shape is held to 1 and more; for values that are not skewed to the right it grows
 * towards the Gaussian, and the location stays within a thousand ranges.
 *
 * Null for fewer than 3 values or values that do not vary. ERR_NUMERIC for a value that is not finite.
 */
export function fitGamma(values: Values): Gamma | null {
  const all = Array.from(values);
  for (const value of all) {
    if (!Number.isFinite(value)) throw new PadFtError('ERR_NUMERIC', `gamma: expected finite numbers, got ${value}`);
  }
  const low = Math.min(...all);
  const range = Math.max(...all) - low;
  if (all.length < 3 || !(range > 0)) return null;
  const at = (position: number) => fitAt(all, low - range * Math.exp(position));
  const step = (FARTHEST - NEAREST) / GRID;
  let best = FARTHEST;
  for (let i = 0; i <= GRID; i++) {
    const position = NEAREST + i * step;
    if (at(position).likelihood > at(best).likelihood) best = position;
  }
  let left = Math.max(NEAREST, best - step);
  let right = Math.min(FARTHEST, best + step);
  for (let i = 0; i < SECTIONS; i++) {
    const width = GOLDEN * (right - left);
    if (at(right - width).likelihood >= at(left + width).likelihood) right = left + width;
    else left = right - width;
  }
  const { shape, location, scale } = at((left + right) / 2);
  return { shape, location, scale };
}

/** P(X > x), accurate where it is small. */
export function gammaUpperTail({ shape, location, scale }: Gamma, x: number): number {
  return x <= location ? 1 : upperIncomplete(shape, (x - location) / scale);
}

function fitAt(values: readonly number[], location: number): Gamma & { readonly likelihood: number } {
  const mean = values.reduce((sum, value) => sum + (value - location), 0) / values.length;
  const meanLog = values.reduce((sum, value) => sum + Math.log(value - location), 0) / values.length;
  const shape = Math.max(1, bestShape(Math.log(mean) - meanLog));
  const scale = mean / shape;
  const likelihood = (shape - 1) * meanLog - shape - shape * Math.log(scale) - logGamma(shape);
  return { shape, location, scale, likelihood };
}

/** Solves ln a − ψ(a) = s for s > 0, by Newton from Minka's start (Estimating a Gamma distribution, 2002). */
function bestShape(s: number): number {
  let a = (3 - s + Math.sqrt((s - 3) ** 2 + 24 * s)) / (12 * s);
  for (let i = 0; i < 20; i++) {
    const step = (Math.log(a) - digamma(a) - s) / (1 / a - trigamma(a));
    const next = a - step;
    if (!(next > 0) || Math.abs(step) < 1e-12 * a) break;
    a = next;
  }
  return a;
}

// Below, asymptotic series after the argument has been raised above 10 by the recurrences: 14 digits there.
const SERIES_FROM = 10;

function logGamma(x: number): number {
  let shift = 0;
  let z = x;
  for (; z < SERIES_FROM; z++) shift += Math.log(z);
  const r = 1 / (z * z);
  const series = 1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r * (1 / 1188 - (r * 691) / 360360))));
  return (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series / z - shift;
}

function digamma(x: number): number {
  let shift = 0;
  let z = x;
  for (; z < SERIES_FROM; z++) shift += 1 / z;
  const r = 1 / (z * z);
  const series = r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - (r * 5) / 660))));
  return Math.log(z) - 0.5 / z - series - shift;
}

function trigamma(x: number): number {
  let shift = 0;
  let z = x;
  for (; z < SERIES_FROM; z++) shift += 1 / (z * z);
  const r = 1 / (z * z);
  return 1 / z + r / 2 + (r / z) * (1 / 6 - r * (1 / 30 - r * (1 / 42 - r / 30))) + shift;
}

/** Γ(a, x) / Γ(a): a series below the mean, a continued fraction (Lentz) above it. */
function upperIncomplete(a: number, x: number): number {
  const front = Math.exp(a * Math.log(x) - x - logGamma(a));
  // For a large shape both take about √a terms.
  const limit = 200 + 20 * Math.sqrt(a);
  if (x < a + 1) {
    let term = 1 / a;
    let sum = term;
    for (let n = 1; n < limit && term > sum * 1e-16; n++) {
      term *= x / (a + n);
      sum += term;
    }
    return Math.max(0, 1 - front * sum);
  }
  let b = x + 1 - a;
  let c = 1e300;
  let d = 1 / b;
  let fraction = d;
  for (let n = 1; n < limit; n++) {
    const numerator = n * (a - n);
    b += 2;
    d = 1 / (numerator * d + b);
    c = b + numerator / c;
    const factor = c * d;
    fraction *= factor;
    if (Math.abs(factor - 1) < 1e-16) break;
  }
  return front * fraction;
}
