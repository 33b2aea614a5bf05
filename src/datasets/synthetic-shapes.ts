/**
 * The sixteen shapes of the synthetic data set, as signed distances.
 *
 * A shape maps a point in its own frame (about the unit disc, y down) to its distance from the outline,
 * negative inside. Only +, −, ×, ÷ and √ are used here and in the renderer: IEEE 754 rounds those the same
 * everywhere, so the same seed gives the same bytes on every machine.
 */
export type Shape = (x: number, y: number) => number;

/** Every point of a shape lies within this distance of its centre, in the shape's own units. */
export const SHAPE_REACH = 1.4;

function disc(cx: number, cy: number, radius: number): Shape {
  return (x, y) => Math.sqrt((x - cx) * (x - cx) + (y - cy) * (y - cy)) - radius;
}

/** An axis-aligned box given by its centre and half sizes. */
function box(cx: number, cy: number, halfWidth: number, halfHeight: number): Shape {
  return (x, y) => {
    const dx = Math.abs(x - cx) - halfWidth;
    const dy = Math.abs(y - cy) - halfHeight;
    const outX = Math.max(dx, 0);
    const outY = Math.max(dy, 0);
    return Math.sqrt(outX * outX + outY * outY) + Math.min(Math.max(dx, dy), 0);
  };
}

/** A simple polygon, `x0, y0, x1, y1, …`; inside by the even–odd rule. */
function polygon(...points: readonly number[]): Shape {
  const count = points.length / 2;
  return (x, y) => {
    let nearest = Infinity;
    let inside = false;
    for (let i = 0, j = count - 1; i < count; j = i++) {
      const xi = points[2 * i]!;
      const yi = points[2 * i + 1]!;
      const ex = points[2 * j]! - xi;
      const ey = points[2 * j + 1]! - yi;
      const wx = x - xi;
      const wy = y - yi;
      const t = Math.min(1, Math.max(0, (wx * ex + wy * ey) / (ex * ex + ey * ey)));
      const dx = wx - t * ex;
      const dy = wy - t * ey;
      nearest = Math.min(nearest, dx * dx + dy * dy);
      if (yi > y !== yi + ey > y && wx < (ex * wy) / ey) inside = !inside;
    }
    return inside ? -Math.sqrt(nearest) : Math.sqrt(nearest);
  };
}

function union(...shapes: readonly Shape[]): Shape {
  return (x, y) => {
    let distance = Infinity;
    for (const shape of shapes) distance = Math.min(distance, shape(x, y));
    return distance;
  };
}

function without(shape: Shape, hole: Shape): Shape {
  return (x, y) => Math.max(shape(x, y), -hole(x, y));
}

/** Class k of the data set is row k of this table. */
export const SHAPES: readonly { readonly name: string; readonly distance: Shape }[] = [
  { name: 'disc', distance: disc(0, 0, 0.9) },
  { name: 'ring', distance: without(disc(0, 0, 1), disc(0, 0, 0.55)) },
  { name: 'square', distance: box(0, 0, 0.8, 0.8) },
  { name: 'triangle', distance: polygon(0, -1.1, 1, 0.65, -1, 0.65) },
  { name: 'plus', distance: union(box(0, 0, 1, 0.32), box(0, 0, 0.32, 1)) },
  {
    name: 'star',
    distance: polygon(
      ...[0, -1.15, 0.259, -0.356, 1.094, -0.355, 0.418, 0.136, 0.676, 0.93],
      ...[0, 0.44, -0.676, 0.93, -0.418, 0.136, -1.094, -0.355, -0.259, -0.356],
    ),
  },
  { name: 'crescent', distance: without(disc(0, 0, 1), disc(0.55, 0, 0.8)) },
  { name: 'bars', distance: union(box(0, -0.72, 1, 0.24), box(0, 0, 1, 0.24), box(0, 0.72, 1, 0.24)) },
  { name: 'hourglass', distance: polygon(-0.85, -1, 0.85, -1, 0.12, 0, 0.85, 1, -0.85, 1, -0.12, 0) },
  { name: 'tee', distance: union(box(0, -0.7, 0.95, 0.3), box(0, 0.15, 0.3, 0.85)) },
  { name: 'frame', distance: without(box(0, 0, 0.85, 0.85), box(0, 0, 0.45, 0.45)) },
  { name: 'chevron', distance: polygon(-1, 0.6, 0, -0.8, 1, 0.6, 0.55, 0.85, 0, -0.05, -0.55, 0.85) },
  { name: 'dumbbell', distance: union(disc(-0.72, 0, 0.42), disc(0.72, 0, 0.42), box(0, 0, 0.72, 0.14)) },
  { name: 'semicircle', distance: without(disc(0, 0.4, 1), box(0, 1.4, 1.2, 1)) },
  { name: 'ell', distance: union(box(-0.5, 0, 0.32, 1), box(0.1, 0.7, 0.85, 0.3)) },
  {
    name: 'comb',
    distance: union(box(0, 0.7, 1, 0.26), box(-0.78, 0, 0.22, 0.9), box(0, 0, 0.2, 0.9), box(0.78, 0, 0.22, 0.9)),
  },
];
