import { PadFtError } from '../errors.js';
import { counted } from '../formats/plural.js';
import type { DatasetShape } from '../native/contract.js';

/** Labelled images in memory: uint8, N×C×H×W, RGB planes, row-major; labels in [0, shape.classes). */
export interface ImageSet {
  readonly images: Uint8Array;
  readonly labels: Int32Array;
  readonly shape: DatasetShape;
}

/** A training set and its test set, with what a network needs to know about both. */
export interface DatasetPair {
  readonly name: string;
  /** One name per class, in label order. */
  readonly classNames: readonly string[];
  /** Per-channel mean of pixels scaled to [0, 1]. */
  readonly mean: readonly number[];
  /** Per-channel standard deviation of pixels scaled to [0, 1]. */
  readonly std: readonly number[];
  /** True when a mirrored image is still a fair image of its class: training may flip horizontally. */
  readonly flip: boolean;
  readonly train: ImageSet;
  readonly test: ImageSet;
  /** For the run card: the files with their SHA-256, or the generator's options. Plain JSON values. */
  readonly provenance: Record<string, unknown>;
}

/**
 * Refuses a set that does not fit its own shape, before anything native sees it: a label out of range
 * poisons a whole CUDA process. `path` says where the set came from and opens every message; `classesFrom`, after a
 * range of labels, what their number was taken from.
 *
 * @throws PadFtError ERR_DATA
 */
export function checkImageSet(set: ImageSet, path: string, classesFrom = ''): void {
  const { count, channels, height, width, classes } = set.shape;
  for (const [field, value] of Object.entries({ count, channels, height, width, classes })) {
    if (!Number.isSafeInteger(value) || value < 1) throw dataError(path, `${field} ≥ 1`, String(value));
  }
  const bytes = count * channels * height * width;
  if (set.images.byteLength !== bytes) {
    const sizes = `${count} × ${channels} × ${height} × ${width}`;
    throw dataError(path, `${bytes} bytes of pixels (${sizes})`, String(set.images.byteLength));
  }
  if (set.labels.length !== count)
    throw dataError(path, `${counted(count, 'label')}, one per image`, String(set.labels.length));
  for (let row = 0; row < count; row++) {
    const label = set.labels[row]!;
    if (label < 0 || label >= classes) {
      throw dataError(path, `labels from 0 to ${classes - 1}${classesFrom}`, `${label} in row ${row}`);
    }
  }
}

function dataError(path: string, expected: string, got: string): PadFtError {
  return new PadFtError('ERR_DATA', `${path}: expected ${expected}, got ${got}`, { details: { path, expected, got } });
}
