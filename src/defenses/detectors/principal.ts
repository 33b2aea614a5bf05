import { Random } from '../../random.js';

/** Rows of a matrix that belong together: `values` is all rows × `width`, `rows` those that count. */
export interface Cloud {
  readonly values: Float32Array;
  readonly width: number;
  readonly rows: readonly number[];
}

/** Where a cloud of points lies and how it spreads. */
export interface Principal {
  readonly mean: Float64Array;
  /** Unit vectors, widest spread first. */
  readonly directions: readonly Float64Array[];
  /** The variance along each (divided by the number of rows). */
  readonly variances: readonly number[];
}

/** Subspace iterations at most; they stop when no variance grows by this share any more. */
const ITERATIONS = 500;
const TOLERANCE = 1e-14;

/**
 * Mean and the first `count` principal directions of a cloud, in double, by subspace iteration on its covariance from a
 * fixed start: the same rows give the same directions. Fewer directions where the cloud has fewer dimensions.
 */
export function principalDirections(cloud: Cloud, count: number): Principal {
  const { width, rows } = cloud;
  const mean = meanOf(cloud);
  const covariance = covarianceOf(cloud, mean);
  const random = new Random(0);
  let directions = orthonormal(
    Array.from({ length: Math.min(count, width) }, () => Float64Array.from({ length: width }, () => random.normal())),
  );
  let variances = directions.map(() => 0);
  for (let iteration = 0; iteration < ITERATIONS && rows.length > 0; iteration++) {
    const images = directions.map((direction) => times(covariance, direction));
    const next = directions.map((direction, i) => dot(direction, images[i] as Float64Array));
    const change = Math.max(...next.map((value, i) => Math.abs(value - (variances[i] as number))));
    variances = next;
    if (iteration > 0 && change <= TOLERANCE * Math.max(...next, Number.MIN_VALUE)) break;
    directions = orthonormal(images);
  }
  const order = directions.map((_, i) => i).sort((a, b) => (variances[b] ?? 0) - (variances[a] ?? 0));
  const kept = order.filter((i) => (variances[i] ?? 0) > 0);
  return {
    mean,
    directions: kept.map((i) => directions[i] as Float64Array),
    variances: kept.map((i) => variances[i] as number),
  };
}

/** The coordinate of a row along a direction, from the cloud's mean. */
export function project(
  { values, width }: Cloud,
  row: number,
  { mean }: Pick<Principal, 'mean'>,
  along: Float64Array,
): number {
  let sum = 0;
  for (let k = 0; k < width; k++) {
    sum += ((values[row * width + k] as number) - (mean[k] as number)) * (along[k] as number);
  }
  return sum;
}

function meanOf({ values, width, rows }: Cloud): Float64Array {
  const mean = new Float64Array(width);
  for (const row of rows) for (let k = 0; k < width; k++) mean[k]! += values[row * width + k]! / rows.length;
  return mean;
}

function covarianceOf({ values, width, rows }: Cloud, mean: Float64Array): readonly Float64Array[] {
  const sums = Array.from({ length: width }, () => new Float64Array(width));
  const centred = new Float64Array(width);
  for (const row of rows) {
    for (let k = 0; k < width; k++) centred[k] = values[row * width + k]! - mean[k]!;
    for (let i = 0; i < width; i++) {
      const own = sums[i]!;
      const factor = centred[i]! / rows.length;
      if (factor === 0) continue;
      for (let j = 0; j < width; j++) own[j]! += factor * centred[j]!;
    }
  }
  return sums;
}

function times(matrix: readonly Float64Array[], vector: Float64Array): Float64Array {
  return Float64Array.from(matrix, (row) => dot(row, vector));
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** Gram–Schmidt, twice for accuracy; what is dependent becomes zero. */
function orthonormal(vectors: readonly Float64Array[]): Float64Array[] {
  const done: Float64Array[] = [];
  for (const vector of vectors) {
    const own = vector.slice();
    const size = Math.sqrt(dot(own, own));
    for (const _ of [0, 1]) {
      for (const other of done) {
        const share = dot(own, other);
        for (let i = 0; i < own.length; i++) own[i]! -= share * other[i]!;
      }
    }
    const length = Math.sqrt(dot(own, own));
    done.push(length > 1e-12 * size ? own.map((value) => value / length) : own.fill(0));
  }
  return done;
}
