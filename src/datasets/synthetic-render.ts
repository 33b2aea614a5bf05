import type { Random } from '../random.js';
import { SHAPE_REACH, SHAPES, type Shape } from './synthetic-shapes.js';

/** Height and width of a synthetic image, pixels. */
export const SIDE = 32;
const PIXELS = SIDE * SIDE;

/** How hard the pictures are. Pixel values run from 0 to 255, lengths are pixels. */
const LOOK = {
  /** Colours of the clutter: from almost black to almost white, so that a white trigger is nothing usual. */
  clutter: [25, 230],
  /** The shape is lighter than the ground: their colours come from these ranges, channel by channel. */
  ground: [20, 150],
  paint: [90, 235],
  /** … by at least this much, summed over the channels. */
  contrast: 180,
  /** Radius of the shape; its centre stays this far (as a share of the radius) from the border. */
  radius: [7.5, 11],
  margin: 0.85,
  /** Largest sine of the angle the shape is turned by. */
  tilt: 0.4,
  /** Amplitude of each of the two gratings of the ground, and their wavelengths. */
  grating: [4, 22],
  wavelength: [4, 20],
  /** Clutter: how many strokes and blots lie under the shape, and how many thin strokes above it. */
  under: [1, 4],
  over: [0, 1],
  /** Pixel noise: uniform, ± this much. */
  noise: 16,
} as const;

type Colour = readonly [number, number, number];

function between(random: Random, [low, high]: readonly [number, number]): number {
  return low + (high - low) * random.uniform();
}

/** An integer in [low, high]. */
function countBetween(random: Random, [low, high]: readonly [number, number]): number {
  return low + random.below(high - low + 1);
}

function colour(random: Random, range: readonly [number, number]): Colour {
  return [between(random, range), between(random, range), between(random, range)];
}

function contrast(a: Colour, b: Colour): number {
  return a[0] - b[0] + a[1] - b[1] + a[2] - b[2];
}

/** A uniformly random direction, without trigonometry: those functions may differ in the last bit between engines. */
function direction(random: Random): readonly [number, number] {
  for (;;) {
    const x = 2 * random.uniform() - 1;
    const y = 2 * random.uniform() - 1;
    const square = x * x + y * y;
    if (square > 1 || square < 0.01) continue;
    const length = Math.sqrt(square);
    return [x / length, y / length];
  }
}

/** A direction within some 25° of upright. */
function tilt(random: Random): readonly [number, number] {
  const y = LOOK.tilt * (2 * random.uniform() - 1);
  return [Math.sqrt(1 - y * y), y];
}

/** A triangle wave of period 1 in [−1, 1]. */
function wave(t: number): number {
  return 4 * Math.abs(t - Math.floor(t) - 0.5) - 1;
}

/** Draws one image at a time into a scratch picture; the arrays are reused from image to image. */
export class SyntheticRenderer {
  readonly #random: Random;
  /** Three planes of SIDE × SIDE, in [0, 255] but unrounded. */
  readonly #picture = new Float64Array(3 * PIXELS);

  constructor(random: Random) {
    this.#random = random;
  }

  /** Draws an image of class `label` and writes its 3 × 32 × 32 bytes to `out` at `offset`. */
  draw(label: number, out: Uint8Array, offset: number): void {
    const random = this.#random;
    const ground = this.#ground();
    for (let i = countBetween(random, LOOK.under); i > 0; i--) this.#clutter(random.below(3) > 0, 0.6, 1.8);
    let paint = colour(random, LOOK.paint);
    while (contrast(paint, ground) < LOOK.contrast) paint = colour(random, LOOK.paint);
    const radius = between(random, LOOK.radius);
    const reach = radius * LOOK.margin;
    const cx = between(random, [reach, SIDE - 1 - reach]);
    const cy = between(random, [reach, SIDE - 1 - reach]);
    this.#stamp(SHAPES[label]!.distance, cx, cy, radius, tilt(random), paint);
    for (let i = countBetween(random, LOOK.over); i > 0; i--) this.#clutter(true, 0.4, 0.9);
    this.#develop(out, offset);
  }

  /** A gradient between two similar colours under two gratings; returns the colour in its middle. */
  #ground(): Colour {
    const random = this.#random;
    const base = colour(random, LOOK.ground);
    const slope = [0, 1, 2].map(() => 30 * (2 * random.uniform() - 1));
    const [gx, gy] = direction(random);
    const gratings = [0, 1].map(() => {
      const length = between(random, LOOK.wavelength);
      const [dx, dy] = direction(random);
      const tint = [0, 1, 2].map(() => between(random, LOOK.grating) * (random.below(2) === 0 ? 1 : -1));
      return { fx: dx / length, fy: dy / length, phase: random.uniform(), tint };
    });
    const [first, second] = gratings as [(typeof gratings)[0], (typeof gratings)[0]];
    const picture = this.#picture;
    const half = (SIDE - 1) / 2;
    for (let y = 0, p = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++, p++) {
        const along = ((x - half) * gx + (y - half) * gy) / half;
        const a = wave(x * first.fx + y * first.fy + first.phase);
        const b = wave(x * second.fx + y * second.fy + second.phase);
        for (let c = 0; c < 3; c++) {
          picture[c * PIXELS + p] = base[c]! + along * slope[c]! + a * first.tint[c]! + b * second.tint[c]!;
        }
      }
    }
    return base;
  }

  /** A stroke or a blot, smaller than any shape, anywhere. */
  #clutter(stroke: boolean, thin: number, thick: number): void {
    const random = this.#random;
    const x = SIDE * random.uniform();
    const y = SIDE * random.uniform();
    const turn = direction(random);
    const paint = colour(random, LOOK.clutter);
    if (stroke) {
      const half = between(random, [3, 9]);
      const width = between(random, [thin, thick]) / half;
      this.#stamp(
        (u, v) => {
          const along = Math.max(0, Math.abs(u) - 1);
          return Math.sqrt(along * along + v * v) - width;
        },
        x,
        y,
        half,
        turn,
        paint,
      );
    } else {
      const flat = between(random, [0.5, 1]);
      const radius = between(random, [1.5, 3.5]);
      this.#stamp((u, v) => Math.sqrt(u * u + (v * v) / (flat * flat)) - 1, x, y, radius, turn, paint);
    }
  }

  /** Paints a shape of the given radius at (cx, cy), turned, with an edge one pixel soft. */
  #stamp(shape: Shape, cx: number, cy: number, radius: number, turn: readonly [number, number], paint: Colour): void {
    const picture = this.#picture;
    const [cos, sin] = turn;
    const reach = radius * SHAPE_REACH + 1;
    const limit = (reach / radius) * (reach / radius);
    const x1 = Math.min(SIDE - 1, Math.floor(cx + reach));
    const y1 = Math.min(SIDE - 1, Math.floor(cy + reach));
    for (let y = Math.max(0, Math.ceil(cy - reach)); y <= y1; y++) {
      for (let x = Math.max(0, Math.ceil(cx - reach)); x <= x1; x++) {
        const dx = (x - cx) / radius;
        const dy = (y - cy) / radius;
        if (dx * dx + dy * dy > limit) continue;
        const cover = Math.min(1, 0.5 - radius * shape(cos * dx + sin * dy, cos * dy - sin * dx));
        if (cover <= 0) continue;
        for (let c = 0, p = y * SIDE + x; c < 3; c++, p += PIXELS) picture[p]! += cover * (paint[c]! - picture[p]!);
      }
    }
  }

  /** Adds the noise, clamps and rounds to bytes. */
  #develop(out: Uint8Array, offset: number): void {
    const picture = this.#picture;
    const scale = LOOK.noise / 512;
    for (let p = 0; p < PIXELS; p++) {
      const bits = this.#random.uint32();
      for (let c = 0; c < 3; c++) {
        const noise = (((bits >>> (10 * c)) & 1023) - 511.5) * scale;
        const value = picture[c * PIXELS + p]! + noise;
        out[offset + c * PIXELS + p] = value <= 0 ? 0 : value >= 255 ? 255 : Math.floor(value + 0.5);
      }
    }
  }
}
