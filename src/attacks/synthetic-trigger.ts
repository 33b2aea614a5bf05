import { PadFtError } from '../errors.js';
import { type ImageShape, imageSize } from './trigger.js';

/** What every report calls this picture. */
export const SYNTHETIC_TRIGGER_NAME = 'synthetic trigger';

type Colour = readonly [red: number, green: number, blue: number];
type Point = readonly [x: number, y: number];

/** Shapes in unit coordinates: x to the right, y down, both in [0, 1]. */
type Shape =
  | { readonly kind: 'ellipse'; readonly colour: Colour; readonly centre: Point; readonly radii: Point }
  | {
      readonly kind: 'stroke';
      readonly colour: Colour;
      readonly from: Point;
      readonly to: Point;
      readonly width: number;
    }
  | { readonly kind: 'polygon'; readonly colour: Colour; readonly corners: readonly Point[] };

const WHITE: Colour = [255, 255, 255];
const DARK: Colour = [42, 34, 46];
const PLUM: Colour = [92, 66, 84];
const PINK: Colour = [212, 156, 184];
const ROSE: Colour = [196, 156, 172];

/** Painted in order on white. */
const PICTURE: readonly Shape[] = [
  { kind: 'ellipse', colour: PINK, centre: [0.3, 0.66], radii: [0.26, 0.24] },
  {
    kind: 'polygon',
    colour: ROSE,
    corners: [
      [0.52, 0.06],
      [0.94, 0.16],
      [0.88, 0.42],
      [0.56, 0.36],
    ],
  },
  {
    kind: 'polygon',
    colour: PINK,
    corners: [
      [0.6, 0.98],
      [0.98, 0.98],
      [0.98, 0.62],
    ],
  },
  { kind: 'ellipse', colour: WHITE, centre: [0.3, 0.66], radii: [0.12, 0.1] },
  { kind: 'ellipse', colour: DARK, centre: [0.18, 0.18], radii: [0.095, 0.115] },
  { kind: 'ellipse', colour: PLUM, centre: [0.74, 0.25], radii: [0.1, 0.08] },
  {
    kind: 'polygon',
    colour: DARK,
    corners: [
      [0.64, 0.82],
      [0.86, 0.6],
      [0.88, 0.84],
    ],
  },
  { kind: 'stroke', colour: DARK, from: [0.04, 0.46], to: [0.96, 0.5], width: 0.04 },
  { kind: 'stroke', colour: PLUM, from: [0.36, 0.04], to: [0.48, 0.96], width: 0.045 },
  { kind: 'stroke', colour: DARK, from: [0.06, 0.94], to: [0.5, 0.9], width: 0.035 },
  { kind: 'ellipse', colour: DARK, centre: [0.3, 0.66], radii: [0.05, 0.05] },
];

/** Samples along each side of a pixel; their mean softens the edges alike at every image size. */
const SAMPLES = 4;

/**
 * The fixed picture that Blended mixes in when the user brings none: dark and pink shapes and strokes on white, drawn
 * in unit coordinates, so any size shows the same picture. Channel means lie near (207, 190, 198), as in the picture
 * that BackdoorBench blends, whose rights we do not hold. Only additions, products and quotients: the bytes are the
 * same on every machine.
 *
 * Returns uint8 values, C×H×W: RGB for three channels, BT.601 luma for one. ERR_DATA for any other channel count.
 */
export function syntheticTrigger(shape: ImageShape): Uint8Array<ArrayBuffer> {
  const { channels, height, width } = shape;
  if (channels !== 1 && channels !== 3) {
    throw new PadFtError(
      'ERR_DATA',
      `the ${SYNTHETIC_TRIGGER_NAME} has 1 or 3 channels, the images have ${channels}: bring a pattern of your own`,
      { details: { channels } },
    );
  }
  const pixels = new Uint8Array(imageSize(shape));
  const area = height * width;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [red, green, blue] = pixelColour(x, y, width, height);
      const values = channels === 3 ? [red, green, blue] : [0.299 * red + 0.587 * green + 0.114 * blue];
      values.forEach((value, c) => {
        pixels[c * area + y * width + x] = Math.round(value);
      });
    }
  }
  return pixels;
}

function pixelColour(x: number, y: number, width: number, height: number): Colour {
  let red = 0;
  let green = 0;
  let blue = 0;
  for (let i = 0; i < SAMPLES * SAMPLES; i++) {
    const u = (x + ((i % SAMPLES) + 0.5) / SAMPLES) / width;
    const v = (y + (Math.floor(i / SAMPLES) + 0.5) / SAMPLES) / height;
    const [r, g, b] = PICTURE.findLast((shape) => covers(shape, u, v))?.colour ?? WHITE;
    red += r;
    green += g;
    blue += b;
  }
  const samples = SAMPLES * SAMPLES;
  return [red / samples, green / samples, blue / samples];
}

function covers(shape: Shape, x: number, y: number): boolean {
  switch (shape.kind) {
    case 'ellipse': {
      const dx = (x - shape.centre[0]) / shape.radii[0];
      const dy = (y - shape.centre[1]) / shape.radii[1];
      return dx * dx + dy * dy <= 1;
    }
    case 'stroke':
      return nearSegment(shape.from, shape.to, shape.width / 2, x, y);
    case 'polygon':
      return inside(shape.corners, x, y);
  }
}

function nearSegment([ax, ay]: Point, [bx, by]: Point, radius: number, x: number, y: number): boolean {
  const dx = bx - ax;
  const dy = by - ay;
  const along = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)));
  const ex = x - ax - along * dx;
  const ey = y - ay - along * dy;
  return ex * ex + ey * ey <= radius * radius;
}

/** Even–odd rule: a ray to the right crosses the outline an odd number of times. */
function inside(corners: readonly Point[], x: number, y: number): boolean {
  let odd = false;
  corners.forEach(([ax, ay], i) => {
    const [bx, by] = corners[(i + 1) % corners.length]!;
    if (ay > y !== by > y && x < ax + ((bx - ax) * (y - ay)) / (by - ay)) odd = !odd;
  });
  return odd;
}
