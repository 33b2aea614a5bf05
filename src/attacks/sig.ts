import { defineAttack } from './attack.js';
import { imageSize } from './trigger.js';

/** A type alias, not an interface, so that options also fit where any record is taken. */
export type SigOptions = {
  /** Δ, the largest amount added to a pixel, in levels of 255: in (0, 255]. Defaults to 40. */
  amplitude: number;
  /** f, periods across the width of the image, > 0. Defaults to 6. */
  frequency: number;
};

/**
 * SIG: x + Δ · sin(2π · f · j / width) in every row and channel, j the column. Clean-label: only images of the target
 * class carry it, so no label is wrong.
 */
export const sig = defineAttack<SigOptions>({
  name: 'sig',
  title: 'SIG',
  paper: {
    title: 'A New Backdoor Attack in CNNs by Training Set Corruption Without Label Poisoning',
    authors: 'Mauro Barni, Kassem Kallas, Benedetta Tondi',
    year: 2019,
    venue: 'arXiv 1902.11237',
  },
  summary: 'A faint wave of vertical stripes on images of the target class, their labels kept.',
  policies: ['clean-label'],
  options: {
    amplitude: {
      type: 'number',
      integer: false,
      minimum: 0,
      exclusiveMinimum: true,
      maximum: 255,
      default: 40,
      help: 'largest amount added to a pixel, in levels of 255',
    },
    frequency: {
      type: 'number',
      integer: false,
      minimum: 0,
      exclusiveMinimum: true,
      maximum: Number.POSITIVE_INFINITY,
      default: 6,
      help: 'periods across the width of the image',
    },
  },
  draw({ amplitude, frequency }, shape) {
    const { width } = shape;
    // float32, as published: near its zeros the wave is off by some 1e-14, and truncation makes a whole level of it.
    const row = Float32Array.from(
      { length: width },
      (_, j) => amplitude * Math.sin((2 * Math.PI * frequency * j) / width),
    );
    const pattern = new Float32Array(imageSize(shape));
    for (let start = 0; start < pattern.length; start += width) pattern.set(row, start);
    return {
      trigger: { kind: 'add', pattern },
      triggerName: `wave of ${frequency} periods, amplitude ${amplitude}`,
    };
  },
});
