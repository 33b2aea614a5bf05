import { invalidOption } from '../errors.js';
import { defineAttack } from './attack.js';
import { imageSize } from './trigger.js';

/** A type alias, not an interface, so that options also fit where any record is taken. */
export type BadNetsOptions = {
  /** Side of the square in pixels, an integer ≥ 1. Defaults to 3. */
  patchSize: number;
  /** Pixels between the square and the bottom and right edges, an integer ≥ 0. Defaults to 0. */
  margin: number;
};

/**
 * BadNets: a white square in the bottom-right corner; on 32×32 images with the defaults, rows and columns 29–31,
 * as BackdoorBench places it.
 */
export const badnets = defineAttack<BadNetsOptions>({
  name: 'badnets',
  title: 'BadNets',
  paper: {
    title: 'BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain',
    authors: 'Tianyu Gu, Brendan Dolan-Gavitt, Siddharth Garg',
    year: 2017,
    venue: 'arXiv 1708.06733',
  },
  summary: 'A small white square in the bottom-right corner.',
  policies: ['all-to-one', 'all-to-all'],
  options: {
    patchSize: {
      type: 'number',
      integer: true,
      minimum: 1,
      maximum: Number.POSITIVE_INFINITY,
      default: 3,
      help: 'side of the white square, in pixels',
    },
    margin: {
      type: 'number',
      integer: true,
      minimum: 0,
      maximum: Number.POSITIVE_INFINITY,
      default: 0,
      help: 'pixels between the square and the bottom and right edges',
    },
  },
  draw({ patchSize, margin }, shape) {
    const { channels, height, width } = shape;
    const room = Math.min(height, width) - margin;
    if (patchSize > room) {
      throw invalidOption(
        'badnets.patchSize',
        `a square that fits ${height}×${width} with margin ${margin}`,
        patchSize,
      );
    }
    const mask = new Uint8Array(imageSize(shape));
    const bottom = height - margin;
    const right = width - margin;
    for (let c = 0; c < channels; c++) {
      for (let y = bottom - patchSize; y < bottom; y++) {
        const row = (c * height + y) * width;
        mask.fill(1, row + right - patchSize, row + right);
      }
    }
    const pattern = mask.map((covered) => covered * 255);
    return {
      trigger: { kind: 'replace', mask, pattern },
      triggerName: `${patchSize}×${patchSize} white square`,
    };
  },
});
