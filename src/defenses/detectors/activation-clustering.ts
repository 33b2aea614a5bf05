import { Random, streamSeed } from '../../random.js';
import type { PurifyInput, RowScores } from '../pad-ft/purify.js';
import { featureScores } from './feature-scores.js';
import { type Cloud, principalDirections, project } from './principal.js';

/** Dimensions that the features are brought down to. */
const DIMENSIONS = 10;
const RESTARTS = 10;
const MOST_STEPS = 100;

/**
 * Activation clustering (Chen et al., *Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering*,
 * SafeAI 2019): inside each label the features are brought down to 10 dimensions and split in two by k-means; the smaller
 * part is taken for the poison. A row's score is how much nearer it is to that part's centre than to the other's.
 *
 * The paper brings them down by independent components. Those are a rotation of whitened principal components, and k-means
 * does not see rotations: whitening alone gives the same parts, without a search that may not converge. Whether a split
 * means anything, which the paper asks by its silhouette or the parts' sizes, is not asked: of a clean label the smaller
 * part scores as if it were planted.
 *
 * @throws PadFtError as `Model.features`
 */
export function scoreByActivationClustering(input: PurifyInput): Promise<RowScores> {
  return featureScores(input, (cloud) => clusterScores(cloud, streamSeed(input.seed, 'clusters')));
}

/** How much nearer each row is to the centre of the smaller of two parts than to the other's. */
export function clusterScores(cloud: Cloud, seed: number): readonly number[] {
  const points = whitened(cloud);
  const { centres, sizes } = twoMeans(points, seed);
  const small = (sizes[1] ?? 0) <= (sizes[0] ?? 0) ? 1 : 0;
  const [own, other] = [centres[small], centres[1 - small]];
  return points.map((point) => (own && other ? distance(point, other) - distance(point, own) : 0));
}

function whitened(cloud: Cloud): Float64Array[] {
  const found = principalDirections(cloud, DIMENSIONS);
  return cloud.rows.map((row) =>
    Float64Array.from(
      found.directions,
      (along, i) => project(cloud, row, found, along) / Math.sqrt(found.variances[i] as number),
    ),
  );
}

interface Parts {
  readonly centres: readonly Float64Array[];
  readonly sizes: readonly number[];
  /** Sum of squared distances to the nearer centre. */
  readonly spread: number;
}

/** k-means with k = 2: the best of ten starts by k-means++, each from its own draw of the seed. */
export function twoMeans(points: readonly Float64Array[], seed: number): Parts {
  const random = new Random(seed);
  let best: Parts = { centres: [], sizes: [], spread: Number.POSITIVE_INFINITY };
  if (points.length < 2) return best;
  for (let restart = 0; restart < RESTARTS; restart++) {
    const parts = lloyd(points, start(points, random));
    if (parts.spread < best.spread) best = parts;
  }
  return best;
}

/** One point at random, and one drawn by its squared distance from that. */
function start(points: readonly Float64Array[], random: Random): Float64Array[] {
  const first = points[random.below(points.length)] as Float64Array;
  const weights = points.map((point) => distance(point, first) ** 2);
  let left = random.uniform() * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [i, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return [first, points[i] as Float64Array];
  }
  return [first, first];
}

function lloyd(points: readonly Float64Array[], from: readonly Float64Array[]): Parts {
  let centres = from;
  let nearest = new Uint8Array(points.length);
  for (let step = 0; step < MOST_STEPS; step++) {
    const next = Uint8Array.from(points, (point) => (closer(point, centres) ? 1 : 0));
    const same = step > 0 && next.every((part, i) => part === nearest[i]);
    nearest = next;
    if (same) break;
    centres = centres.map((centre, part) => middle(points, nearest, part) ?? centre);
  }
  const sizes = [0, 1].map((part) => nearest.reduce((sum, own) => sum + (own === part ? 1 : 0), 0));
  const spread = points.reduce((sum, point, i) => sum + distance(point, centres[nearest[i] as number]!) ** 2, 0);
  return { centres, sizes, spread };
}

/** True when the second centre is nearer than the first. */
function closer(point: Float64Array, [first, second]: readonly Float64Array[]): boolean {
  return distance(point, second!) < distance(point, first!);
}

function middle(points: readonly Float64Array[], nearest: Uint8Array, part: number): Float64Array | null {
  const own = points.filter((_, i) => nearest[i] === part);
  const [any] = own;
  return any === undefined ? null : any.map((_, k) => own.reduce((sum, point) => sum + point[k]!, 0) / own.length);
}

function distance(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += (a[k]! - b[k]!) ** 2;
  return Math.sqrt(sum);
}
