import { pythonSample } from '../attacks/mt19937.js';
import { Dataset } from '../dataset.js';
import type { ImageSet } from '../datasets/index.js';
import { withMemory } from '../errors.js';
import type { NativeDevice } from '../native/contract.js';
import type { CleanDraw } from '../report/card.js';
import type { CleanRequest } from './cells.js';

/**
 * The clean images of BackdoorBench's defences: ⌊share · N⌋ rows of the training set as it was before the poison, by
 * Python's `random.seed(seed); random.sample(range(N), …)`, in the order drawn. Poisoned rows are among them, as they were.
 * A class that the draw missed gets its first row: methods refuse images that lack a class. `added` names those rows.
 *
 * @throws PadFtError ERR_OPTION for a seed that is no integer in [0, 2⁵³)
 */
export function drawCleanRows(
  labels: Int32Array,
  classes: number,
  { share, seed }: Pick<CleanRequest, 'share' | 'seed'>,
): { readonly rows: Uint32Array; readonly added: readonly number[] } {
  const drawn = pythonSample(labels.length, Math.floor(share * labels.length), seed);
  const seen = new Set(Array.from(drawn, (row) => labels[row]));
  const added = Array.from({ length: classes }, (_, label) => label)
    .filter((label) => !seen.has(label))
    .map((label) => labels.indexOf(label))
    .filter((row) => row >= 0);
  return { rows: Uint32Array.from([...drawn, ...added]), added };
}

/** Those images on a device, beside how they were drawn. Dispose of them. ERR_OPTION, ERR_DEVICE, ERR_OOM */
export function cleanImages(
  { images, labels, shape }: ImageSet,
  request: CleanRequest,
  device: NativeDevice,
): { readonly images: Dataset; readonly draw: CleanDraw } {
  const { rows, added } = drawCleanRows(labels, shape.classes, request);
  const size = shape.channels * shape.height * shape.width;
  const some = withMemory(() => new Uint8Array(rows.length * size));
  rows.forEach((row, i) => {
    some.set(images.subarray(row * size, (row + 1) * size), i * size);
  });
  const own = { images: some, labels: Int32Array.from(rows, (row) => labels[row]!) };
  return {
    images: Dataset.from({ ...own, shape: { ...shape, count: rows.length } }, device),
    draw: { ...request, added },
  };
}
