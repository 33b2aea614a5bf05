import { escapeHtml } from './escape.js';

/** A point of a figure; both values in percent or in the axis's own unit. */
export interface PlotPoint {
  readonly x: number;
  readonly y: number;
  /** Shown when somebody points at it. */
  readonly label: string;
}

/** Colour and form of a series' points; no two series of a figure should share both. */
export interface PlotStyle {
  readonly colour: string;
  readonly mark: 'circle' | 'square' | 'diamond' | 'triangle';
}

/** A series: points, joined by a line when `line` is set. `hollow` marks the paper's own figures. */
export interface PlotSeries {
  readonly name: string;
  readonly style: PlotStyle;
  readonly points: readonly PlotPoint[];
  readonly line: boolean;
  readonly hollow: boolean;
}

export interface PlotAxis {
  readonly title: string;
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
}

const WIDTH = 560;
const HEIGHT = 340;
const LEFT = 64;
const RIGHT = 20;
const TOP = 16;
const BOTTOM = 44;

/** Distinct for most colour-blind readers (Okabe and Ito). */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8a6d00'];
const MARKS: readonly PlotStyle['mark'][] = ['circle', 'square', 'diamond', 'triangle'];

/** The paper's own: neutral in light and in dark. */
export const PAPER_STYLE: PlotStyle = { colour: 'currentColor', mark: 'circle' };

export function colourOf(index: number): string {
  return COLOURS[index % COLOURS.length] ?? 'currentColor';
}

/** The colour goes by `index`, the form by the `variant` of it, 0 or 1; where the colours begin anew other forms do too. */
export function styleOf(index: number, variant: 0 | 1): PlotStyle {
  const round = Math.floor(index / COLOURS.length);
  return { colour: colourOf(index), mark: MARKS[(2 * round + variant) % MARKS.length] ?? 'circle' };
}

function markAt(x: number, y: number, { colour, mark }: PlotStyle, hollow: boolean, inside = ''): string {
  const at = (value: number) => value.toFixed(1);
  const paint = `fill="${hollow ? 'none' : colour}" fill-opacity="0.75" stroke="${colour}"`;
  if (mark === 'circle') return `<circle cx="${at(x)}" cy="${at(y)}" r="4" ${paint}>${inside}</circle>`;
  const corners = {
    square: [-4, -4, 4, -4, 4, 4, -4, 4],
    diamond: [0, -5, 5, 0, 0, 5, -5, 0],
    triangle: [0, -5, 5, 4, -5, 4],
  }[mark];
  const points = corners.map((offset, i) => at((i % 2 === 0 ? x : y) + offset)).join(' ');
  return `<polygon points="${points}" ${paint}>${inside}</polygon>`;
}

/** A figure as inline SVG, its legend below it. */
export function plot(title: string, x: PlotAxis, y: PlotAxis, series: readonly PlotSeries[]): string {
  const across = (value: number) => LEFT + ((value - x.low) / (x.high - x.low)) * (WIDTH - LEFT - RIGHT);
  const up = (value: number) => HEIGHT - BOTTOM - ((value - y.low) / (y.high - y.low)) * (HEIGHT - TOP - BOTTOM);
  const at = (value: number) => value.toFixed(1);
  const grid = [
    ...x.ticks.map(
      (tick) =>
        `<line x1="${at(across(tick))}" y1="${TOP}" x2="${at(across(tick))}" y2="${HEIGHT - BOTTOM}" class="grid"/>` +
        `<text x="${at(across(tick))}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${tick}</text>`,
    ),
    ...y.ticks.map(
      (tick) =>
        `<line x1="${LEFT}" y1="${at(up(tick))}" x2="${WIDTH - RIGHT}" y2="${at(up(tick))}" class="grid"/>` +
        `<text x="${LEFT - 6}" y="${at(up(tick) + 4)}" text-anchor="end">${tick}</text>`,
    ),
  ];
  const drawn = series.map(({ points, line, hollow, style }) => {
    const { colour } = style;
    const path = points.map((point) => `${at(across(point.x))},${at(up(point.y))}`).join(' ');
    const dashes = hollow ? ' stroke-dasharray="5 4"' : '';
    const joined = line
      ? `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="1.5"${dashes}/>`
      : '';
    const marks = points.map((point) =>
      markAt(across(point.x), up(point.y), style, hollow, `<title>${escapeHtml(point.label)}</title>`),
    );
    return `${joined}${marks.join('')}`;
  });
  const keys = series.map(
    ({ name, hollow, style }) =>
      `<span class="key"><svg width="12" height="12">${markAt(6, 6, style, hollow)}</svg> ${escapeHtml(name)}</span>`,
  );
  return [
    `<figure><figcaption>${escapeHtml(title)}</figcaption>`,
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(title)}">`,
    ...grid,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escapeHtml(x.title)}</text>`,
    `<text transform="translate(16 ${(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(y.title)}</text>`,
    ...drawn,
    `</svg><div class="legend">${keys.join(' ')}</div></figure>`,
  ].join('\n');
}
