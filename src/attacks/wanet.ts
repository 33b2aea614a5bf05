import { Random, streamSeed } from '../random.js';
import { defineAttack } from './attack.js';
import { warpGrid } from './warp-grid.js';

/** A type alias, not an interface, so that options also fit where any record is taken. */
export type WaNetOptions = {
  /** k, control points along each side of the warping field, an integer in [2, 256]. Defaults to 4. */
  gridSize: number;
  /** s, mean displacement at the control points, in half pixels, > 0. Defaults to 0.5. */
  strength: number;
  /** Scales the grid about the centre of the image, > 0. Defaults to 1. */
  gridRescale: number;
  /** Noise images, warped by grids of their own and labelled truly, for each poisoned one, ≥ 0. Defaults to 2. */
  crossRatio: number;
  /** Largest angle of the augmentation when training poisons batch by batch, in degrees, in [0, 180]. Defaults to 10. */
  rotation: number;
};

/**
 * WaNet: a smooth warp of the whole image, drawn once from the poison seed. Its training poisons every batch anew, with
 * noise images beside the poisoned ones so that no other warp opens the backdoor; a stored set is marked block by block.
 */
export const wanet = defineAttack<WaNetOptions>({
  name: 'wanet',
  title: 'WaNet',
  paper: {
    title: 'WaNet: Imperceptible Warping-based Backdoor Attack',
    authors: 'Tuan Anh Nguyen, Anh Tuan Tran',
    year: 2021,
    venue: 'arXiv 2102.10369',
  },
  summary: 'A smooth warp of the whole image, with differently warped images of true label beside.',
  policies: ['all-to-one'],
  options: {
    gridSize: {
      type: 'number',
      integer: true,
      minimum: 2,
      maximum: 256,
      default: 4,
      help: 'k: control points along each side of the warping field',
    },
    strength: {
      type: 'number',
      integer: false,
      minimum: 0,
      exclusiveMinimum: true,
      maximum: Number.POSITIVE_INFINITY,
      default: 0.5,
      help: 's: mean displacement at the control points, in half pixels',
    },
    gridRescale: {
      type: 'number',
      integer: false,
      minimum: 0,
      exclusiveMinimum: true,
      maximum: Number.POSITIVE_INFINITY,
      default: 1,
      help: 'scales the grid about the centre of the image',
    },
    crossRatio: {
      type: 'number',
      integer: false,
      minimum: 0,
      maximum: 1000,
      default: 2,
      help: 'noise images, warped otherwise and labelled truly, for each poisoned one',
    },
    rotation: {
      type: 'number',
      integer: false,
      minimum: 0,
      maximum: 180,
      default: 10,
      help: "largest angle of its own training's augmentation, in degrees",
    },
  },
  draw({ gridSize, strength, gridRescale }, shape, seed) {
    const random = new Random(streamSeed(seed, 'warp'));
    const field = Float32Array.from({ length: 2 * gridSize * gridSize }, () => 2 * random.uniform() - 1);
    return {
      trigger: { kind: 'warp', grid: warpGrid(field, { strength, rescale: gridRescale }, shape) },
      triggerName: `warp of ${gridSize}×${gridSize} control points, strength ${strength}`,
    };
  },
  perBatch: ({ crossRatio, rotation }) => ({ crossRatio, rotation }),
});
