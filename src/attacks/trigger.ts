import { PadFtError } from '../errors.js';
import { sha256Hex } from '../formats/sha256.js';
import type { DatasetShape, NativeTrigger } from '../native/contract.js';

/**
 * A trigger as data. The C++ core draws it over whole data sets; `applyTrigger` below is the same arithmetic for
 * one image, for previews and as the reference that the core is tested against.
 */
export type Trigger = NativeTrigger;

/** Channels, height and width of one image, stored C×H×W. */
export type ImageShape = Pick<DatasetShape, 'channels' | 'height' | 'width'>;

/** A trigger as it is written into manifests and run cards: enough to recognise it, not to rebuild it. */
export interface TriggerDescription {
  readonly kind: Trigger['kind'];
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** SHA-256 (hex) of the pattern's bytes, C×H×W (float32 little-endian for `add`); of the grid's, H×W×2, for `warp`. */
  readonly patternSha256: string;
  /** `replace` only: SHA-256 (hex) of the mask, and the number of C×H×W values it covers. */
  readonly maskSha256?: string;
  readonly maskedValues?: number;
  /** `blend` only: the pattern's share, in (0, 1]. */
  readonly alpha?: number;
}

/** Pixels × channels of one image. */
export function imageSize(shape: ImageShape): number {
  return shape.channels * shape.height * shape.width;
}

/**
 * Refuses a trigger that does not fit images of this shape: ERR_DATA for a wrong length, a mask value other than
 * 0 and 1, an alpha outside (0, 1], a non-finite addend or a place outside the image.
 */
export function checkTrigger(trigger: Trigger, shape: ImageShape): void {
  const size = imageSize(shape);
  const named = `${shape.channels}×${shape.height}×${shape.width}`;
  const refuse = (what: string, expected: string, got: string): PadFtError =>
    new PadFtError('ERR_DATA', `trigger.${what}: expected ${expected}, got ${got}`, {
      details: { what, expected, got },
    });
  if (trigger.kind === 'warp') {
    const places = shape.height * shape.width * 2;
    const { grid } = trigger;
    if (grid.length !== places) {
      throw refuse('grid', `${places} values (${shape.height}×${shape.width}×2)`, `${grid.length}`);
    }
    const wrong = grid.find((value) => !(Math.abs(value) <= 1));
    if (wrong !== undefined) throw refuse('grid', 'values in [-1, 1]', String(wrong));
    return;
  }
  if (trigger.pattern.length !== size) {
    throw refuse('pattern', `${size} values (${named})`, `${trigger.pattern.length}`);
  }
  switch (trigger.kind) {
    case 'replace': {
      if (trigger.mask.length !== size) throw refuse('mask', `${size} values (${named})`, `${trigger.mask.length}`);
      const wrong = trigger.mask.find((value) => value > 1);
      if (wrong !== undefined) throw refuse('mask', 'only values 0 and 1', String(wrong));
      return;
    }
    case 'blend':
      if (!(trigger.alpha > 0 && trigger.alpha <= 1)) {
        throw refuse('alpha', 'a number in (0, 1]', String(trigger.alpha));
      }
      return;
    case 'add': {
      const wrong = trigger.pattern.find((value) => !Number.isFinite(value));
      if (wrong !== undefined) throw refuse('pattern', 'finite values', String(wrong));
      return;
    }
  }
}

/** A pixel that stays in place comes out of a warp up to 1e-3 of a level too low; truncation would take a whole one. */
const ROUNDING_SLACK = 1 / 1024;

/**
 * One image (uint8, C×H×W) with the trigger drawn on it, as a new array: computed in double, clamped to [0, 255],
 * truncated. ERR_DATA when image or trigger are not of this shape.
 */
export function applyTrigger(image: Uint8Array, trigger: Trigger, shape: ImageShape): Uint8Array<ArrayBuffer> {
  checkTrigger(trigger, shape);
  const size = imageSize(shape);
  if (image.length !== size) {
    throw new PadFtError('ERR_DATA', `trigger: expected an image of ${size} values (C×H×W), got ${image.length}`, {
      details: { expected: size, got: image.length },
    });
  }
  const value = pixel(image, trigger, shape);
  return Uint8Array.from(image, (x, i) => Math.trunc(Math.min(255, Math.max(0, value(x, i)))));
}

/** The unrounded value of position i of the image, where it had the value x. */
function pixel(image: Uint8Array, trigger: Trigger, shape: ImageShape): (x: number, i: number) => number {
  switch (trigger.kind) {
    case 'replace': {
      const { mask, pattern } = trigger;
      return (x, i) => (mask[i] === 1 ? pattern[i]! : x);
    }
    case 'blend': {
      const { alpha, pattern } = trigger;
      return (x, i) => (1 - alpha) * x + alpha * pattern[i]!;
    }
    case 'add': {
      const { pattern } = trigger;
      return (x, i) => x + pattern[i]!;
    }
    case 'warp':
      return (_, i) => sample(image, trigger.grid, shape, i) + ROUNDING_SLACK;
  }
}

/** The image where the grid says position i comes from: bilinear, along x and then along y. */
function sample(image: Uint8Array, grid: Float32Array, { height, width }: ImageShape, i: number): number {
  const plane = height * width;
  const start = i - (i % plane);
  const place = (axis: 0 | 1, size: number) => ((grid[2 * (i % plane) + axis]! + 1) / 2) * (size - 1);
  const [x, y] = [place(0, width), place(1, height)];
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, bottom] = [Math.min(left + 1, width - 1), Math.min(top + 1, height - 1)];
  const mix = (a: number, b: number, share: number) => a + (b - a) * share;
  const row = (line: number) =>
    mix(image[start + line * width + left]!, image[start + line * width + right]!, x - left);
  return mix(row(top), row(bottom), y - top);
}

/** The JSON-able description of a trigger for images of this shape. ERR_DATA when it does not fit them. */
export function describeTrigger(trigger: Trigger, shape: ImageShape): TriggerDescription {
  checkTrigger(trigger, shape);
  const { channels, height, width } = shape;
  const data = trigger.kind === 'warp' ? trigger.grid : trigger.pattern;
  const common = { kind: trigger.kind, channels, height, width, patternSha256: sha256Hex(data) };
  switch (trigger.kind) {
    case 'replace': {
      const maskedValues = trigger.mask.reduce((sum, value) => sum + value, 0);
      return { ...common, maskSha256: sha256Hex(trigger.mask), maskedValues };
    }
    case 'blend':
      return { ...common, alpha: trigger.alpha };
    case 'add':
    case 'warp':
      return common;
  }
}
