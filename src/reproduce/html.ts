import type { RunCard } from '../report/card.js';
import type { CellGroup, TableCells } from './cells.js';
import { columnsFor } from './columns.js';
import { targetClass, trainSeconds } from './csv.js';
import { differencesOf } from './differences.js';
import { escapeHtml } from './escape.js';
import { type GridStates, stateOf, type TableLine, tableLines, targetPurity } from './figures.js';
import type { Grid } from './grid.js';
import { PAPER_SOURCE, PAPER_TABLE_3 } from './paper-figures.js';
import { SCALES } from './scales.js';
import { colourOf, type PlotAxis, type PlotSeries, plot } from './svg.js';

const STYLE = `
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.6rem; border-bottom: 1px solid #8884; text-align: right; white-space: nowrap; }
th.word, td.word { text-align: left; }
tr.none td { border-top: 2px solid #8888; }
tr.returned td { font-weight: 600; }
td.bad { color: #c0392b; }
figure { display: inline-block; width: min(36rem, 100%); margin: 0 1rem 1rem 0; vertical-align: top; }
figure > svg { width: 100%; height: auto; }
svg text { font-size: 12px; fill: currentColor; }
.grid { stroke: #8884; }
.legend { font-size: 13px; }
.key { margin-right: 0.8rem; white-space: nowrap; }
.bar { display: inline-block; height: 0.8em; }
ul { font-size: 14px; }`;

const WORDS: ReadonlySet<string> = new Set(['data set', 'attack', 'defence', 'note', 'cell', 'state', 'target class']);
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
ACC, ASR, RA, DER and purity in %. Every figure of ours comes from a run card in <code>cards/</code>.</p>
${sections.join('\n')}
${cellSection(groups, states)}
</body>
</html>
`;
}

function tableSection(grid: Grid, cells: TableCells, lines: readonly TableLine[]): string {
  const { table } = cells;
  const columns = columnsFor(lines);
  const head = columns.map(
    ({ title, help }) =>
      `<th${classes(WORDS.has(title) && 'word')}${help === '' ? '' : ` title="${escapeHtml(help)}"`}>${escapeHtml(title)}</th>`,
  );
  const body = lines.map((line) => {
    const row = columns.map(
      ({ title, text }) =>
        `<td${classes(WORDS.has(title) && 'word', title === 'note' && line.note.startsWith('failed') && 'bad')}>${escapeHtml(text(line))}</td>`,
    );
    return `<tr${classes(line.stage === 'victim' && 'none', line.returned && 'returned')}>${row.join('')}</tr>`;
  });
  const differences = differencesOf(grid, table).map((text) => `<li>${escapeHtml(text)}</li>`);
  return `<h2>${escapeHtml(table.title)}</h2>
${table.counts === null ? scatter(lines) : curves(lines)}
<div class="scroll"><table><thead><tr>${head.join('')}</tr></thead><tbody>
${body.join('\n')}
</tbody></table></div>
<h3>What differs from the paper</h3>
<ul>
${differences.join('\n')}
</ul>`;
}

function classes(...names: readonly (string | false)[]): string {
  const given = names.filter((name) => name !== false);
  return given.length === 0 ? '' : ` class="${given.join(' ')}"`;
}

/** ACC against ASR: at the upper left is what a defence wants. */
function scatter(lines: readonly TableLine[]): string {
  const models = [...new Set(lines.filter(({ stage }) => stage !== null).map(({ model }) => model))];
  const ours = models.map((model): PlotSeries => {
    const points = lines.flatMap((line) =>
      line.model !== model || line.acc === null || line.asr === null
        ? []
        : [{ x: 100 * line.asr.mean, y: 100 * line.acc.mean, label: `${line.dataset} ${line.attack}: ${model}` }],
    );
    return { name: model, points, line: false, hollow: false };
  });
  const printed = lines.flatMap(({ paper, dataset, attack, model }) =>
    paper === null ? [] : [{ x: paper.asr, y: paper.acc, label: `${dataset} ${attack}: ${model}, the paper` }],
  );
  const series = [...ours, { name: 'the paper', points: printed, line: false, hollow: true }];
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
  const known = counts.some((count) => PAPER_TABLE_3.has(count));
  const names = [...new Set(varied.map(({ dataset, model }) => `${dataset}: ${model}`))];
  const figure = (title: string, rate: 'acc' | 'asr') => {
    const ours = names.map((name): PlotSeries => {
      const points = varied.flatMap((line) => {
        const value = line[rate];
        if (`${line.dataset}: ${line.model}` !== name || value === null || line.count === null) return [];
        return [{ x: line.count, y: 100 * value.mean, label: `${name}, n ${line.count}` }];
      });
      return { name, points: points.sort((a, b) => a.x - b.x), line: true, hollow: false };
    });
    const printed = Array.from(PAPER_TABLE_3, ([n, it]) => ({ x: n, y: it[rate], label: `the paper, n ${n}` }));
    const series = [...ours, ...(known ? [{ name: 'the paper', points: printed, line: true, hollow: true }] : [])];
    return plot(title, x, { ...PERCENT, title: `${rate.toUpperCase()} %` }, series);
  };
  return `${figure('ACC over n', 'acc')}\n${figure('ASR over n (target class left out)', 'asr')}`;
}

const STAGES = ['purify', 'clip', 'fine-tune'] as const;

/** Cell by cell: what the purifier found, and where the time went. */
function cellSection(groups: readonly CellGroup[], states: GridStates): string {
  const cells = groups.flatMap(({ defenses }) => defenses.map((cell) => ({ cell, found: stateOf(cell, states) })));
  const cards = cells.flatMap(({ found }) => (found.state === 'done' ? [found.card] : []));
  const longest = Math.max(...cards.map((card) => sum(stageSeconds(card))), Number.EPSILON);
  const rows = cells.map(({ cell, found }) => {
    const state = found.state === 'failed' ? `failed: ${found.code}: ${found.message}` : found.state;
    const figures = found.state === 'done' ? cardCells(found.card, longest) : new Array<string>(7).fill('<td></td>');
    const shown = found.state === 'failed' ? 'word bad' : 'word';
    return `<tr><td class="word">${escapeHtml(cell.name)}</td><td class="${shown}">${escapeHtml(state)}</td>${figures.join('')}</tr>`;
  });
  const key = STAGES.map((stage, i) => `<span class="key">${bar(12, i)} ${stage}</span>`);
  const head = ['cell', 'state', 'target class', 'purity %', 'poison in it %', 'AUROC', 'training s', 'defence s', ''];
  return `<h2>Every cell</h2>
<p>Purity of D_c inside the target label beside the share of poison that the label holds, AUROC of the score inside it, and
seconds of the stages: ${key.join(' ')}. Scoring that several defences of a victim shared counts in each of them.</p>
<div class="scroll"><table><thead><tr>${head.map((title) => `<th${classes(WORDS.has(title) && 'word')}>${title}</th>`).join('')}</tr></thead><tbody>
${rows.join('\n')}
</tbody></table></div>`;
}

function cardCells(card: RunCard, longest: number): readonly string[] {
  const row = card.rows[0];
  const inside = row && targetPurity(row);
  const auroc = row?.figures?.auroc.targetLabel ?? row?.figures?.auroc.overall;
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

function stageSeconds({ rows }: RunCard): readonly number[] {
  const costs = rows[0]?.costs ?? [];
  return STAGES.map((stage) => sum(costs.filter((cost) => cost.stage === stage).map(({ seconds }) => seconds)));
}

function bar(width: number, index: number): string {
  return `<span class="bar" style="width:${width.toFixed(1)}px;background:${colourOf(index)}"></span>`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
