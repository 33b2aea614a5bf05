import { invalidOption } from '../errors.js';
import { defineAttack } from './attack.js';
import { SYNTHETIC_TRIGGER_NAME, syntheticTrigger } from './synthetic-trigger.js';
import { imageSize } from './trigger.js';

/** A type alias, not an interface, so that options also fit where any record is taken. */
export type BlendedOptions = {
  /** The pattern's share in the blend, in (0, 1]. Defaults to 0.2. */
  alpha: number;
  /** The picture to blend in: raw RGB values, C×H×W, the size of the images. Defaults to the synthetic trigger. */
  pattern: Uint8Array | null;
};

/** Blended: (1 − alpha) · x + alpha · T over the whole image, for a fixed picture T. */
export const blended = defineAttack<BlendedOptions>({
  name: 'blended',
  title: 'Blended',
  paper: {
    title: 'Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning',
    authors: 'Xinyun Chen, Chang Liu, Bo Li, Kimberly Lu, Dawn Song',
    year: 2017,
    venue: 'arXiv 1712.05526',
  },
  summary: 'A fixed picture blended faintly over the whole image.',
  policies: ['all-to-one', 'all-to-all'],
  options: {
    alpha: {
      type: 'number',
      integer: false,
      minimum: 0,
      exclusiveMinimum: true,
      maximum: 1,
      default: 0.2,
      help: "the picture's share in the blend",
    },
    pattern: {
      type: 'image',
      default: null,
      help: `picture to blend in, raw RGB bytes (C×H×W); without one, the built-in ${SYNTHETIC_TRIGGER_NAME}`,
    },
  },
  draw({ alpha, pattern }, shape) {
    if (pattern === null) {
      return {
        trigger: { kind: 'blend', alpha, pattern: syntheticTrigger(shape) },
        triggerName: SYNTHETIC_TRIGGER_NAME,
      };
    }
    const size = imageSize(shape);
    if (pattern.length !== size) {
      const named = `${shape.channels}×${shape.height}×${shape.width}`;
      throw invalidOption('blended.pattern', `${size} raw values (${named})`, pattern);
    }
    // A copy: the caller may reuse its buffer after the trigger was described and hashed.
    return { trigger: { kind: 'blend', alpha, pattern: pattern.slice() }, triggerName: "user's image" };
  },
});
