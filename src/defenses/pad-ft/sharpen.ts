import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from '../../native/job.js';
import { Random, streamSeed } from '../../random.js';
import {
  auroc,
  commonScale,
  median,
  rowsByLabel,
  type TwoComponentMixture,
  twoComponentMixture,
  type Values,
} from '../../statistics.js';
import type { PurifyInput, RowScores } from './purify.js';
import { LEAST_ROWS, type Sharpened } from './verdict.js';

/**
 * A label with fewer rows than this times the features' width is left as it is: of so few, some direction shows two
 * groups (`bench/features-of-noise.mjs`). Rounds in halves do not rule that out, since each half's parts come from the
 * other's direction.
 */
const ROWS_A_FEATURE = 8;
/** Rounds at most. They end when the rows' probabilities move by less than `SETTLED`, on the average. */
const ROUNDS = 12;
const SETTLED = 0.005;
/** Values that a round's mixture is fitted to, for speed; the last one is fitted to all. */
const MIXED = 1000;
/** Rows that a part has at least, in each half: the mean of fewer is one of those. */
const LEAST_PART = 5;
/**
 * The upper part must be rows that lose more of their margin than the others do, by this AUROC: parts that have nothing
 * to do with the scores are at 0.5. It is no evidence of planting: clean labels are at 0.62 to 0.95, since their rounds
 * start from the scores, too; WaNet's weakest label is at 0.72.
 */
const LEAST_AGREEMENT = 0.65;
/**
 * A label may be of two kinds of pictures, neither planted, whose parts stand as far apart as a verdict asks, and of
 * which one loses more of its margin. So the parts must show in the scores themselves, which two explain better than one
 * by more than `SHOWN` a row, or the features must show a gain of more than `STRONG`. Of 36 clean sets of ten made shapes
 * under five labels 14 would be accused without this, and three are: one of the 24 that it was set on (nine before), and
 * two of twelve others (five before). Attacked labels of CIFAR-10 and CIFAR-100 are known by their scores (WaNet's at
 * 5 % have the least, 0.28 and more), those of Blended on made pictures by their features (1.31 and more).
 * `results/README.md`, *False alarms*.
 */
const SHOWN = 0.125;
const STRONG = 1;
/** The scores' own parts are the start where they stand apart by Ashman's limit, and explain them better by this a row. */
const APART = 2;
const APART_GAIN = 0.25;
/** An interquartile range of a normal distribution, in standard deviations. */
const QUARTILES = 1.349;

/**
 * Scores that are sharper where planted rows share something: in each label the rows that lose most margin are compared
 * with the others by the features that the victim sees, and all rows are scored by what tells the two apart, in rounds.
 * A score by limits sees each row alone and by limits that suit every trigger; what planted rows have in common shows
 * in the mean of many.
 *
 * A label's features are a mixture of two Gaussians with one covariance, as in SCAn (Tang et al., *Demon in the
 * Variant*, USENIX Security 2021), which needs clean images for it; here the parts start from the purifier's score, its
 * own two where they stand apart and else above and below its median, and no clean image is needed. Each round projects
 * the whitened features onto the difference of the parts' means, which is Fisher's discriminant, and takes a mixture of
 * two along it for the next parts. A row is projected by what the other half of the rows has shown (cross-fitting): by
 * its own part's mean it would stay where it was put.
 *
 * Labels whose parts then stand apart as a verdict asks (`verdictSeparation`, `verdictGain`), and further where the
 * scores themselves show no two parts (`SHOWN`), take the new scores, on the scale that the labels' old ones have in
 * common (`commonScale`): the lower part lies and spreads as a label does. All others keep theirs. The features are
 * computed in the evaluation's precision.
 */
export async function sharpen(scores: RowScores, input: PurifyInput): Promise<RowScores> {
  const { judged } = scores;
  const { victim, data, settings, seed } = input;
  if (!settings.sharpen || judged === null) return scores;
  const labels = data.labels();
  const { onProgress, ...quiet } = input.evaluation;
  const groups = rowsByLabel(labels, data.classes, judged);
  const { centre, spread } = commonScale(groups.map((rows) => rows.map((row) => scores.score[row] as number)));
  const featuresOf = async (rows: readonly number[]) => {
    using some = await data.subset(Uint32Array.from(rows), quiet);
    return await victim.whitenedFeatures(some, quiet);
  };
  const score = scores.score.slice();
  const sharpened = new Map<number, Sharpened>();
  const random = new Random(streamSeed(seed, 'halves'));
  const sharpenLabel = async (label: number, rows: readonly number[]) => {
    if (rows.length < Math.max(LEAST_ROWS, ROWS_A_FEATURE * victim.featureCount)) return;
    const values = await featuresOf(rows);
    const start = Float64Array.from(rows, (row) => scores.score[row] as number);
    const found = await discriminate({ values, width: victim.featureCount, start, random, signal: quiet.signal });
    if (found === null) return;
    const { mixture, projected, agreement, scoreGain } = found;
    const figures = { separation: mixture.ashmanD, gain: mixture.bicGain / rows.length, agreement, scoreGain };
    const apart =
      figures.separation > settings.verdictSeparation &&
      figures.gain > settings.verdictGain &&
      agreement >= LEAST_AGREEMENT;
    const taken = apart && (scoreGain > SHOWN || figures.gain > STRONG);
    sharpened.set(label, { ...figures, taken, ...(apart && !taken && { alone: true }) });
    if (!taken) return;
    const { mean, sd } = mixture.lower;
    rows.forEach((row, i) => {
      score[row] = centre + (spread * ((projected[i] as number) - mean)) / (QUARTILES * sd);
    });
  };
  for (const [label, rows] of groups.entries()) {
    await sharpenLabel(label, rows);
    onProgress?.(label + 1, groups.length);
  }
  return { ...scores, score, sharpened };
}

/** Rows of one label. */
export interface LabelRows {
  /** Whitened features, rows × width. */
  readonly values: Float32Array;
  readonly width: number;
  /** The rows' scores to start from, the larger the likelier planted. */
  readonly start: Float64Array;
  /** Draws the halves. */
  readonly random: Random;
  readonly signal?: AbortSignal | undefined;
}

/** What tells two parts of a label apart. */
export interface Discriminated {
  /** Every row along the direction that the other half has shown; its half's mean is 0 and standard deviation 1. */
  readonly projected: Float64Array;
  readonly mixture: TwoComponentMixture;
  /** AUROC of the scores it started from, of the upper part against the lower. */
  readonly agreement: number;
  /** How much better, in BIC a row, two parts explain the scores that it started from than one. */
  readonly scoreGain: number;
}

/** Null where no two parts can be told: too few rows, scores or features that do not vary, or a part that ran empty. */
export async function discriminate(label: LabelRows): Promise<Discriminated | null> {
  const { start, random, signal } = label;
  const count = start.length;
  if (count === 0) return null;
  const half = new Uint8Array(count);
  random.permutation(count).forEach((row, place) => {
    half[row] = place % 2;
  });
  const ofScores = twoComponentMixture(start);
  let upper = firstParts(start, ofScores);
  // A fit takes tens of milliseconds, of many thousands of rows some hundreds: in between the process answers.
  const answer = async () => {
    await nextTurn();
    throwIfAborted(signal);
  };
  await answer();
  let projected: Float64Array | null = null;
  for (let round = 0; round < ROUNDS; round++) {
    projected = projectAcross(label, half, upper);
    const mixture = projected === null ? null : twoComponentMixture(evenly(projected, MIXED));
    if (projected === null || mixture === null) return null;
    const next = projected.map((value) => mixture.posterior(value));
    const moved = next.reduce((sum, value, i) => sum + Math.abs(value - (upper[i] as number)), 0) / count;
    upper = next;
    await answer();
    if (moved < SETTLED) break;
  }
  const mixture = projected === null ? null : twoComponentMixture(projected);
  await answer();
  if (projected === null || mixture === null) return null;
  const agreement = auroc(
    start,
    projected.map((value) => (mixture.posterior(value) > 0.5 ? 1 : 0)),
  );
  return agreement === null ? null : { projected, mixture, agreement, scoreGain: (ofScores?.bicGain ?? 0) / count };
}

/**
 * The rows' probabilities of the upper part by the scores alone, where two parts of those stand apart; else the upper
 * half: a mixture of one group splits off a few far ones, and half of all is a start that noise does not tip.
 */
function firstParts(start: Float64Array, mixture: TwoComponentMixture | null): Float64Array {
  if (mixture !== null && mixture.ashmanD > APART && mixture.bicGain > APART_GAIN * start.length) {
    return start.map((value) => mixture.posterior(value));
  }
  const middle = median(start);
  return start.map((value) => (value > middle ? 1 : 0));
}

/** Each half's rows along the difference of the other half's means. */
function projectAcross(
  { values, width }: LabelRows,
  half: Uint8Array,
  upper: Float64Array,
): Float64Array<ArrayBuffer> | null {
  const projected = new Float64Array(half.length);
  for (const own of [0, 1]) {
    const direction = differenceOfMeans(values, width, upper, (row) => half[row] !== own);
    if (direction === null) return null;
    let [count, sum, squares] = [0, 0, 0];
    for (let row = 0; row < half.length; row++) {
      if (half[row] !== own) continue;
      let value = 0;
      for (let k = 0; k < width; k++) value += (direction[k] as number) * (values[row * width + k] as number);
      projected[row] = value;
      count++;
      sum += value;
      squares += value * value;
    }
    // Halves drawn at random hold the same parts: on one scale their two directions give one sample.
    const mean = sum / count;
    const sd = Math.sqrt(Math.max(0, squares / count - mean * mean));
    if (!(sd > 0)) return null;
    for (let row = 0; row < half.length; row++) {
      if (half[row] === own) projected[row] = ((projected[row] as number) - mean) / sd;
    }
  }
  return projected;
}

function differenceOfMeans(
  values: Float32Array,
  width: number,
  upper: Float64Array,
  counts: (row: number) => boolean,
): Float64Array | null {
  const sums = [new Float64Array(width), new Float64Array(width)] as const;
  const weights: [number, number] = [0, 0];
  for (let row = 0; row < upper.length; row++) {
    if (!counts(row)) continue;
    const share = upper[row] as number;
    weights[0] += 1 - share;
    weights[1] += share;
    for (let k = 0; k < width; k++) {
      const value = values[row * width + k] as number;
      sums[0][k] = (sums[0][k] as number) + (1 - share) * value;
      sums[1][k] = (sums[1][k] as number) + share * value;
    }
  }
  const [lower, higher] = weights;
  if (lower < LEAST_PART || higher < LEAST_PART) return null;
  return sums[1].map((sum, k) => sum / higher - (sums[0][k] as number) / lower);
}

/** Up to `count` of the values, evenly over their places. */
function evenly(values: Float64Array, count: number): Values {
  if (values.length <= count) return values;
  return Float64Array.from({ length: count }, (_, i) => values[Math.floor((i * values.length) / count)] as number);
}
