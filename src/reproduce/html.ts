import type { RunCard } from '../report/card.js';
import { detectionOf, rowCosts, secondsOf, targetClass, targetIn, trainSeconds } from './card-figures.js';
import type { CellGroup, TableCells } from './cells.js';
import { columnsFor, type TableColumn } from './columns.js';
import { differencesHeading, differencesOf } from './differences.js';
import { escapeHtml } from './escape.js';
import { type GridStates, stateOf, type TableLine, tableLines } from './figures.js';
import type { Grid, GridTable } from './grid.js';
import { PAPER_SOURCE, PAPER_TABLE_3 } from './paper-figures.js';
import { SCALES } from './scales.js';
import { colourOf, PAPER_STYLE, type PlotAxis, type PlotSeries, type PlotStyle, plot, styleOf } from './svg.js';

const STYLE = `
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 92rem; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.25; }
p, ul { max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.5rem; border-bottom: 1px solid #8884; text-align: right; white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; line-height: 1.25; }
th.word, td.word { text-align: left; }
td.long { white-space: normal; min-width: 13rem; max-width: 30rem; }
tr > :first-child { position: sticky; left: 0; background: Canvas; }
tr.group th { text-align: left; padding-top: 0.9rem; border-bottom: 2px solid #8888; }
tr.group span { position: sticky; left: 0.5rem; }
.unit { display: block; font-weight: 400; opacity: 0.75; }
tr.returned td { font-weight: 600; }
td.bad { color: #c0392b; }
@media (prefers-color-scheme: dark) { td.bad { color: #ff8a80; } }
figure { display: inline-block; width: min(36rem, 100%); margin: 0 1rem 1rem 0; vertical-align: top; }
figure > svg { width: 100%; height: auto; }
svg text { font-size: 12px; fill: currentColor; }
@media (max-width: 40rem) { svg text { font-size: 17px; } }
.grid { stroke: #8884; }
.legend { font-size: 13px; }
.key { margin-right: 0.8rem; white-space: nowrap; }
.bar { display: inline-block; height: 0.8em; }
ul { font-size: 14px; }`;

const WORDS: ReadonlySet<string> = new Set([
  ...['defence', 'note', 'cell', 'state', 'target class', 'given', 'accused', 'verdict'],
]);
/** Those that may take several lines. */
const LONG: ReadonlySet<string> = new Set(['note', 'verdict']);
/** What stands above a group of lines and not in each of them. */
const ABOVE: ReadonlySet<string> = new Set(['data set', 'attack']);
const PERCENT: PlotAxis = { title: '', low: 0, high: 100, ticks: [0, 20, 40, 60, 80, 100] };

/** Everything on one page that needs no network: styles and figures are inline, there is no script, all text is escaped. */
export function htmlPage(
  grid: Grid,
  tables: readonly TableCells[],
  groups: readonly CellGroup[],
  states: GridStates,
): string {
  const sections = tables.map((cells) => tableSection(grid, cells, tableLines(cells, states)));
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>PAD-FT: the paper’s tables, reproduced</title>
<style>${STYLE}
</style>
</head>
<body>
<h1>PAD-FT: the paper’s tables, reproduced</h1>
<p>Scale “${escapeHtml(grid.scale)}”: ${escapeHtml(SCALES[grid.scale].summary)}. The paper’s figures: ${escapeHtml(PAPER_SOURCE)}.
Every figure of ours comes from a run card in <code>cards/</code>.</p>
${sections.join('\n')}
${cellSection(groups, states)}
</body>
</html>
`;
}

function tableSection(grid: Grid, cells: TableCells, lines: readonly TableLine[]): string {
  const { table } = cells;
  const all = columnsFor(lines);
  const heading = all.filter(({ title }) => ABOVE.has(title));
  // The defence comes first: that column stays in sight when the others are scrolled.
  const columns = all.filter(({ title }) => !ABOVE.has(title)).sort(byDefenceFirst);
  const body = groupsOf(lines, (line) => heading.map(({ text }) => text(line)).join(', ')).map(([name, group]) => {
    const head = `<tr class="group"><th colspan="${columns.length}" scope="rowgroup"><span>${escapeHtml(name)}</span></th></tr>`;
    return `<tbody>${head}\n${group.map((line) => tableRow(line, columns)).join('\n')}</tbody>`;
  });
  const differences = differencesOf(grid, table, lines).map((text) => `<li>${escapeHtml(text)}</li>`);
  return `<h2>${escapeHtml(table.title)}</h2>
${figuresOf(table, lines)}
<div class="scroll"><table><thead><tr>${columns.map(headCell).join('')}</tr></thead>
${body.join('\n')}
</table></div>
<h3>${differencesHeading(table)}</h3>
<ul>
${differences.join('\n')}
</ul>`;
}

function byDefenceFirst(a: TableColumn, b: TableColumn): number {
  return Number(b.title === 'defence') - Number(a.title === 'defence');
}

/** Runs of lines that stand below the same heading. */
function groupsOf(lines: readonly TableLine[], nameOf: (line: TableLine) => string): [string, TableLine[]][] {
  const groups: [string, TableLine[]][] = [];
  for (const line of lines) {
    const name = nameOf(line);
    const last = groups.at(-1);
    if (last?.[0] === name) last[1].push(line);
    else groups.push([name, [line]]);
  }
  return groups;
}

function headCell({ title, help, unit }: TableColumn): string {
  const shown = `${escapeHtml(title)}${unit === undefined ? '' : `<span class="unit">${escapeHtml(unit)}</span>`}`;
  return `<th${classes(WORDS.has(title) && 'word')}${help === '' ? '' : ` title="${escapeHtml(help)}"`}>${shown}</th>`;
}

function tableRow(line: TableLine, columns: readonly TableColumn[]): string {
  const cells = columns.map(({ title, text }) => {
    const bad = title === 'note' && line.note.startsWith('failed');
    const names = classes(WORDS.has(title) && 'word', LONG.has(title) && 'long', bad && 'bad');
    return `<td${names}>${escapeHtml(text(line))}</td>`;
  });
  return `<tr${classes(line.returned && 'returned')}>${cells.join('')}</tr>`;
}

function classes(...names: readonly (string | false)[]): string {
  const given = names.filter((name) => name !== false);
  return given.length === 0 ? '' : ` class="${given.join(' ')}"`;
}

/** None where nothing was repaired. */
function figuresOf({ counts }: GridTable, lines: readonly TableLine[]): string {
  if (counts !== null) return curves(lines);
  return lines.some(({ defense, stage }) => defense !== null && stage !== null) ? scatter(lines) : '';
}

/** ACC against ASR: at the upper left is what a defence wants. */
function scatter(lines: readonly TableLine[]): string {
  const drawn = lines.filter(({ stage }) => stage !== null);
  const models = [...new Set(drawn.map(({ model }) => model))];
  const styles = stylesOf(
    drawn,
    ({ model }) => model,
    ({ defense }) => String(defense),
  );
  const ours = models.map((model): PlotSeries => {
    const points = lines.flatMap((line) =>
      line.model !== model || line.acc === null || line.asr === null
        ? []
        : [{ x: 100 * line.asr.mean, y: 100 * line.acc.mean, label: `${line.dataset} ${line.attack}: ${model}` }],
    );
    return { name: model, style: styles.get(model) ?? PAPER_STYLE, points, line: false, hollow: false };
  });
  const printed = lines.flatMap(({ paper, dataset, attack, model }) =>
    paper === null ? [] : [{ x: paper.asr, y: paper.acc, label: `${dataset} ${attack}: ${model}, the paper` }],
  );
  const series = [...ours, { name: 'the paper', style: PAPER_STYLE, points: printed, line: false, hollow: true }];
  return plot(
    'ACC against ASR (target class left out)',
    { ...PERCENT, title: 'ASR %' },
    { ...PERCENT, title: 'ACC %' },
    series.filter(({ points }) => points.length > 0),
  );
}

function curves(lines: readonly TableLine[]): string {
  const varied = lines.filter(({ count, stage }) => count !== null && stage !== null);
  const counts = [...new Set(varied.map(({ count }) => count ?? 0))].sort((a, b) => a - b);
  const x: PlotAxis = { title: 'n', low: 0, high: Math.max(1, ...counts) * 1.05, ticks: counts };
  // Where a line has a figure of the paper beside it, the whole curve is comparable: the same setting, another n.
  const known = varied.some(({ paper }) => paper !== null);
  const nameOf = ({ dataset, model }: TableLine) => `${dataset}: ${model}`;
  const names = [...new Set(varied.map(nameOf))];
  const styles = stylesOf(varied, nameOf, ({ dataset, defense }) => `${dataset}: ${defense}`);
  const figure = (title: string, rate: 'acc' | 'asr') => {
    const ours = names.map((name): PlotSeries => {
      const points = varied.flatMap((line) => {
        const value = line[rate];
        if (nameOf(line) !== name || value === null || line.count === null) return [];
        return [{ x: line.count, y: 100 * value.mean, label: `${name}, n ${line.count}` }];
      });
      const style = styles.get(name) ?? PAPER_STYLE;
      return { name, style, points: points.sort((a, b) => a.x - b.x), line: true, hollow: false };
    });
    const printed = Array.from(PAPER_TABLE_3, ([n, it]) => ({ x: n, y: it[rate], label: `the paper, n ${n}` }));
    const series = [
      ...ours,
      ...(known ? [{ name: 'the paper', style: PAPER_STYLE, points: printed, line: true, hollow: true }] : []),
    ];
    return plot(title, x, { ...PERCENT, title: `${rate.toUpperCase()} %` }, series);
  };
  return `${figure('ACC over n', 'acc')}\n${figure('ASR over n (target class left out)', 'asr')}`;
}

/** A colour for each defence, a form for each of its stages: no two series look alike. */
function stylesOf(
  lines: readonly TableLine[],
  nameOf: (line: TableLine) => string,
  defenseOf: (line: TableLine) => string,
): ReadonlyMap<string, PlotStyle> {
  const defenses = [...new Set(lines.map(defenseOf))];
  return new Map(
    lines.map((line) => [nameOf(line), styleOf(defenses.indexOf(defenseOf(line)), line.stage === 'pad-ft' ? 1 : 0)]),
  );
}

const STAGES = ['purify', 'clip', 'fine-tune'] as const;
/** The bars of a cell: PAD-FT's stages, and the work of any other method, which is one piece. */
const BARS = [...STAGES, 'another method'] as const;

/** Cell by cell: what the purifier found, and where the time went. */
function cellSection(groups: readonly CellGroup[], states: GridStates): string {
  const cells = groups.flatMap(({ defenses }) => defenses.map((cell) => ({ cell, found: stateOf(cell, states) })));
  const cards = cells.flatMap(({ found }) => (found.state === 'done' ? [found.card] : []));
  const longest = Math.max(...cards.map((card) => sum(stageSeconds(card))), Number.EPSILON);
  const rows = cells.map(({ cell, found }) => {
    const state = found.state === 'failed' ? `failed: ${found.code}: ${found.message}` : found.state;
    const figures = found.state === 'done' ? cardCells(found.card, longest) : new Array<string>(7).fill('<td></td>');
    const shown = found.state === 'failed' ? 'word long bad' : 'word';
    return `<tr><td class="word">${escapeHtml(cell.name)}</td><td class="${shown}">${escapeHtml(state)}</td>${figures.join('')}</tr>`;
  });
  const key = BARS.map((stage, i) => `<span class="key">${bar(12, i)} ${stage}</span>`);
  const head = ['cell', 'state', 'target class', 'purity %', 'poison in it %', 'AUROC', 'training s', 'defence s', ''];
  return `<h2>Every cell</h2>
<p>Purity of D_c inside the target label beside the share of poison that the label holds, AUROC of the score inside it, and
seconds of the stages: ${key.join(' ')}. Scoring that several defences of a victim shared counts in each of them.</p>
<div class="scroll"><table><thead><tr>${head.map((title) => `<th${classes(WORDS.has(title) && 'word')}>${title}</th>`).join('')}</tr></thead><tbody>
${rows.join('\n')}
</tbody></table></div>`;
}

function cardCells(card: RunCard, longest: number): readonly string[] {
  const figures = card.rows[0]?.figures ?? detectionOf(card)?.figures ?? null;
  const inside = figures === null ? undefined : targetIn(figures);
  const auroc = figures?.auroc.targetLabel ?? figures?.auroc.overall;
  const percent = (value: number | null | undefined) => (value == null ? '–' : (100 * value).toFixed(2));
  const seconds = stageSeconds(card);
  const bars = seconds.map((value, i) => bar((180 * value) / longest, i));
  return [
    `<td class="word">${escapeHtml(targetClass(card))}</td>`,
    `<td>${percent(inside?.purity)}</td>`,
    `<td>${percent(inside?.baseRate)}</td>`,
    `<td>${auroc == null ? '–' : auroc.toFixed(4)}</td>`,
    `<td>${trainSeconds(card).toFixed(1)}</td>`,
    `<td>${sum(seconds).toFixed(1)}</td>`,
    `<td class="word">${bars.join('')}</td>`,
  ];
}

function stageSeconds(card: RunCard): readonly number[] {
  const costs = rowCosts(card);
  const own = STAGES.map((stage) => secondsOf(costs.filter((cost) => cost.stage === stage)));
  return [...own, secondsOf(costs) - sum(own)];
}

function bar(width: number, index: number): string {
  return `<span class="bar" style="width:${width.toFixed(1)}px;background:${colourOf(index)}"></span>`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
