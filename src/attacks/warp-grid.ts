import type { ImageShape } from './trigger.js';

/** PyTorch's bicubic kernel. */
const CUBIC_A = -0.75;

/** How a field of k×k control points becomes a warp. */
export interface WarpSettings {
  /** Mean displacement at the control points, in half pixels. */
  readonly strength: number;
  /** Scales the whole grid about the centre of the image. */
  readonly rescale: number;
}

/**
 * WaNet's grid, H×W×2 (x, then y): clamp((identity + strength · field / size) · rescale, −1, 1). `field` is 2×k×k, x
 * displacements before y displacements; it is divided by its mean absolute value and enlarged to H×W by bicubic
 * interpolation with corners aligned. −1 and 1 are the centres of the outermost pixels.
 */
export function warpGrid(
  field: Float32Array,
  { strength, rescale }: WarpSettings,
  { height, width }: Pick<ImageShape, 'height' | 'width'>,
): Float32Array<ArrayBuffer> {
  const k = Math.sqrt(field.length / 2);
  const scale = field.reduce((sum, value) => sum + Math.abs(value), 0) / field.length;
  const size = [width, height] as const;
  const moves = [0, 1].map((axis) =>
    enlarge(
      field.subarray(axis * k * k, (axis + 1) * k * k).map((value) => value / scale),
      k,
      height,
      width,
    ),
  );
  return Float32Array.from({ length: height * width * 2 }, (_, i) => {
    const axis = i % 2 === 0 ? 0 : 1;
    const pixel = (i - axis) / 2;
    const position = axis === 0 ? pixel % width : Math.floor(pixel / width);
    const identity = size[axis] === 1 ? -1 : (2 * position) / (size[axis] - 1) - 1;
    return Math.min(1, Math.max(-1, (identity + (strength * moves[axis]![pixel]!) / size[axis]) * rescale));
  });
}

/** k×k → height×width, bicubic, corners aligned; outside its edges a field goes on with its last value. */
function enlarge(field: Float32Array, k: number, height: number, width: number): Float64Array {
  const columns = taps(k, width);
  const rows = taps(k, height);
  return Float64Array.from({ length: height * width }, (_, i) => {
    const down = rows[Math.floor(i / width)]!;
    const across = columns[i % width]!;
    return down.reduce(
      (sum, row) =>
        sum + row.weight * across.reduce((line, column) => line + column.weight * field[row.at * k + column.at]!, 0),
      0,
    );
  });
}

interface Tap {
  readonly at: number;
  readonly weight: number;
}

/** The four control points that each of `size` pixels is mixed from. */
function taps(k: number, size: number): readonly (readonly Tap[])[] {
  return Array.from({ length: size }, (_, i) => {
    const place = size === 1 ? 0 : (i * (k - 1)) / (size - 1);
    const first = Math.floor(place);
    return [-1, 0, 1, 2].map((step) => ({
      at: Math.min(k - 1, Math.max(0, first + step)),
      weight: cubic(Math.abs(place - first - step)),
    }));
  });
}

/** The weight of a control point at this distance, below 2. */
function cubic(distance: number): number {
  if (distance <= 1) return ((CUBIC_A + 2) * distance - (CUBIC_A + 3)) * distance * distance + 1;
  return ((CUBIC_A * distance - 5 * CUBIC_A) * distance + 8 * CUBIC_A) * distance - 4 * CUBIC_A;
}
