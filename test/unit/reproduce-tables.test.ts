import { expect, test } from 'vitest';
import { METHODS } from '../../src/defenses/methods/index.js';
import { INSPECT_DEFAULTS } from '../../src/defenses/mm-bd/inspect.js';
import { PRESETS } from '../../src/defenses/pad-ft/options.js';
import type { RunCard } from '../../src/report/card.js';
import { checkCard } from '../../src/report/card-schema.js';
import { formatMarkdown, formatTable } from '../../src/report/table.js';
import { expandGrid, groupCells } from '../../src/reproduce/cells.js';
import { columnsFor } from '../../src/reproduce/columns.js';
import { cellsCsv, csvCell } from '../../src/reproduce/csv.js';
import { DEFENSE_NAMES } from '../../src/reproduce/defenses.js';
import { meanOf, percentOf } from '../../src/reproduce/deviation.js';
import { differencesHeading, differencesOf } from '../../src/reproduce/differences.js';
import { escapeHtml } from '../../src/reproduce/escape.js';
import { tableLines } from '../../src/reproduce/figures.js';
import { chooseGrid, type Grid, paperGrid } from '../../src/reproduce/grid.js';
import { htmlPage } from '../../src/reproduce/html.js';
import { markdownTable } from '../../src/reproduce/markdown.js';
import { PAPER_TABLE_3, paperFigure } from '../../src/reproduce/paper-figures.js';
import { SCALES } from '../../src/reproduce/scales.js';
import { plot, styleOf } from '../../src/reproduce/svg.js';
import { cardWith, NOTHING, oneTable } from './support/grids.js';

const AXIS = { title: 'x', low: 0, high: 1, ticks: [0, 1] };

const HOSTILE = `<img src=x onerror=alert(1)>"'&|\`*_[x](y)\u202e=1+1`;

/** A card of one method, and one of each kind of detector, as a cell has them. */
async function rivalCards(acc: number, added: readonly number[] = []) {
  const { rows, ...card } = await cardWith(['a', 'b'], 0.9);
  const [row] = rows;
  if (row?.figures == null) throw new Error('a card without figures');
  const { evaluations: _, der: __, ...figures } = row.figures;
  const cost = (stage: string, mebibytes: number) => ({ stage, seconds: 2, peakBytes: mebibytes * 2 ** 20 });
  const evaluation = { acc, asr: 0.1, asrIncludingTarget: 0.2, ra: 0.7 };
  const clean = { share: 0.05, draw: 'backdoorbench' as const, seed: 0, added };
  const settings = { ...METHODS.ft.defaults };
  const method: RunCard = {
    ...card,
    config: { ...card.config, defenses: [], methods: [{ name: 'ft', settings, seed: 0, flip: true, clean }] },
    rows: [],
    methods: [
      {
        ...{ name: 'ft', given: { training: null, clean: 2500 }, said: 'every weight trained', details: {} },
        ...{ costs: [cost('ft', 300), cost('again', 200)], figures: { evaluation, der: 0.9 } },
      },
    ],
  };
  const verdict = { ...row.verdict, attacked: [0], text: HOSTILE };
  const tprAt = { fpr1: 0.25, fpr5: acc };
  const detection: RunCard = {
    ...card,
    config: { ...card.config, defenses: [], detectors: [{ name: 'strip', settings: PRESETS.default }] },
    rows: [],
    detections: [
      {
        ...{ name: 'strip', purifier: 'strip', verdict, purified: 90, suspects: 7 },
        ...{ costs: [cost('purify', 100)], figures: { ...figures, tprAt } },
      },
    ],
  };
  const labels = [0, 1, 2, 3].map((label) => ({ label, margin: label === 0 ? 9 : 1, steps: 10 }));
  const found = { settings: INSPECT_DEFAULTS, labels, pValue: 0.0125, target: 0, text: 'looks backdoored' };
  const inspections = [{ name: 'mm-bd', ...found, costs: [cost('mm-bd', 50)] }];
  const inspection: RunCard = { ...card, config: { ...card.config, defenses: [] }, rows: [], inspections };
  return { ft: method, strip: detection, 'mm-bd': inspection };
}

test('the paper’s figures', () => {
  const at = (dataset: string, attack: string, rate: number) => ({ dataset, attack, rate, variant: '' });
  expect(paperFigure(at('cifar10', 'badnets', 0.1), 'none')).toEqual({ acc: 91.82, asr: 93.79 });
  expect(paperFigure(at('cifar10', 'blended', 0.1), 'PAD-FT')).toEqual({ acc: 83.4, asr: 6.56 });
  expect(paperFigure(at('cifar10', 'wanet', 0.05), 'DBD')).toEqual({ acc: 86.97, asr: 4.95 });
  expect(paperFigure(at('cifar100', 'blended', 0.05), 'PAD')).toEqual({ acc: 67.36, asr: 0.01 });
  expect(paperFigure(at('cifar100', 'wanet', 0.1), 'MM-BD')).toEqual({ acc: 58.3, asr: 0.7 });
  expect(paperFigure(at('cifar10', 'badnets', 0.01), 'none')).toBeNull();
  expect([...PAPER_TABLE_3.keys()]).toEqual(SCALES.paper.counts);
  expect(PAPER_TABLE_3.get(3000)).toEqual({ acc: 83.91, asr: 8.82 });
});

test('the paper’s figures stand beside the cells that they are of, and beside no other', () => {
  const papers = (change: Partial<Grid['tables'][number]>) =>
    expandGrid(oneTable(change))
      .flatMap((table) => tableLines(table, NOTHING))
      .filter(({ paper, stage }) => paper !== null && stage !== 'victim')
      .map(({ attack, model, paper }) => `${attack}, ${model}: ${paper?.asr}`);
  const three = { defenses: DEFENSE_NAMES, counts: [1000] };
  const ours = ['badnets, default: PAD-FT: 16.1', 'badnets, paper: PAD-FT: 16.1'];
  expect(papers(three)).toEqual(ours);
  for (const change of [{ datasets: ['cifar100'] }, { attacks: [{ attack: 'blended' }] }, { rates: [0.05] }])
    expect(papers({ ...three, ...change })).toEqual([]);
  expect(papers({ ...three, counts: [1500] })).toEqual([]);

  const variants = [
    { attack: 'badnets', policy: 'all-to-one' },
    { attack: 'badnets', policy: 'all-to-all' },
    { attack: 'badnets', options: { patchSize: 5, margin: 0 } },
  ] as const;
  const lines = expandGrid(oneTable({ attacks: variants, defenses: ['default'] })).flatMap((table) =>
    tableLines(table, NOTHING),
  );
  const printed = lines.filter(({ paper }) => paper !== null);
  expect(new Set(printed.map(({ attack }) => attack))).toEqual(new Set(['badnets']));
  expect(printed).toHaveLength(5);
  // Two variants of an attack are told apart.
  const table = markdownTable('x', lines, 'y', []);
  for (const name of ['badnets 10 %', 'badnets (all-to-all) 10 %', 'badnets (patchSize 5) 10 %'])
    expect(table.replaceAll('\\', '')).toContain(`| ${name} | default: PAD-FT |`);
});

test('mean and sample standard deviation', () => {
  expect(meanOf([])).toBeNull();
  expect(meanOf([null, undefined])).toBeNull();
  expect(meanOf([0.5, null])).toEqual({ mean: 0.5, sd: null, n: 1 });
  expect(meanOf([1, 2, 3, 4])?.sd).toBeCloseTo(Math.sqrt(5 / 3), 12);
  expect(percentOf(meanOf([0.8, 0.9]))).toBe('85.00 ± 7.07');
  expect(percentOf(null)).toBe('–');
});

test('a card’s class names are text on the page and in the CSV, and seeds are averaged', async () => {
  const grid = oneTable({ seeds: [0, 1], defenses: ['default'] });
  const tables = expandGrid(grid);
  const groups = groupCells(tables);
  const cards = await Promise.all([0.8, 0.9].map((acc) => cardWith([HOSTILE, 'b'], acc)));
  const defenses = new Map(
    groups.flatMap((group, i) =>
      group.defenses.map(({ key }) => [key, { state: 'done' as const, card: cards[i] as RunCard }] as const),
    ),
  );
  const states = { ...NOTHING, defenses };
  const page = htmlPage(grid, tables, groups, states);
  expect(page).toContain('&lt;img src=x onerror=alert(1)&gt;');
  expect(page).not.toContain('<img');
  expect(page).toContain('85.00 ± 7.07');
  expect(cellsCsv(groups, states)).toContain('"<img src=x onerror=alert(1)>""');
  const [none, , , pad] = tables.flatMap((table) => tableLines(table, states));
  expect(none).toMatchObject({ model: 'none', acc: { n: 2 }, paper: { acc: 91.82 } });
  expect(pad).toMatchObject({ model: 'default: PAD', returned: true, purity: { n: 2, sd: 0 }, note: '' });
});

test('a seed that was not repaired counts in DER as in the rates, as a defence that changed nothing', async () => {
  const card = await cardWith(['a', 'b'], 0.9);
  const [row] = card.rows;
  if (row?.figures == null) throw new Error('a card without figures');
  const { evaluations } = row.figures;
  const kept = {
    ...{ ...row, clipping: null, returned: 'victim' as const },
    figures: {
      ...row.figures,
      ...{ der: { pad: null, 'pad-ft': null }, evaluations: { ...evaluations, pad: null, 'pad-ft': null } },
    },
  };
  const grid = oneTable({ seeds: [0, 1], defenses: ['default'] });
  const tables = expandGrid(grid);
  const groups = groupCells(tables);
  const cards = [card, { ...card, rows: [kept] }];
  const done = groups.flatMap(({ defenses }, i) =>
    defenses.map(({ key }) => [key, { state: 'done' as const, card: cards[i] as RunCard }] as const),
  );
  const states = { ...NOTHING, defenses: new Map(done) };
  const lines = tables.flatMap((table) => tableLines(table, states));
  const line = lines.find(({ model }) => model === 'default: PAD-FT');
  expect(line).toMatchObject({ acc: { n: 2 }, der: { n: 2 }, note: 'not repaired at 1 of 2 seeds' });
  expect(line?.der?.mean).toBeCloseTo(((row.figures.der['pad-ft'] ?? Number.NaN) + 0.5) / 2, 12);
  const [head = [], ...body] = cellsCsv(groups, states)
    .trimEnd()
    .split('\r\n')
    .map((text) => text.split(','));
  expect(body.map((cells) => cells[head.indexOf('der')])[1]).toBe('0.5');
});

test('a table of cells from several machines says so', async () => {
  const card = await cardWith(['a', 'b'], 0.9);
  const grid = oneTable({ seeds: [0, 1], defenses: ['default'] });
  const tables = expandGrid(grid);
  const groups = groupCells(tables);
  const elsewhere = { ...card, environment: { ...card.environment, device: 'cuda:0', deviceName: 'a GPU' } };
  const said = (cards: readonly RunCard[]) => {
    const done = groups.flatMap(({ defenses }, i) =>
      defenses.map(({ key }) => [key, { state: 'done' as const, card: cards[i] as RunCard }] as const),
    );
    const lines = tables.flatMap((table) => tableLines(table, { ...NOTHING, defenses: new Map(done) }));
    return differencesOf(grid, grid.tables[0] as Grid['tables'][number], lines).join('\n');
  };
  expect(said([card, elsewhere])).toContain(`not computed on one machine: ${card.environment.cpu}; a GPU.`);
  expect(said([card, card])).not.toContain('not computed on one machine');
});

test('methods and detectors on their cards, in the tables, on the page and in the CSV', async () => {
  const grid = oneTable({ defenses: ['ft', 'mm-bm', 'strip', 'mm-bd'], seeds: [0, 1] });
  const tables = expandGrid(grid);
  const groups = groupCells(tables);
  const cards = [await rivalCards(0.8), await rivalCards(0.9, [3, 4])];
  for (const card of cards.flatMap((of) => Object.values(of))) {
    expect(checkCard(JSON.parse(JSON.stringify(card)), 'card.json')).toEqual(card);
    expect(formatTable(card)).toContain('victim');
  }
  const done = groups.flatMap(({ defenses }, i) =>
    defenses.flatMap(({ key, column }) => {
      const card = Reflect.get(cards[i] as object, column) as RunCard | undefined;
      return card === undefined ? [] : [[key, { state: 'done' as const, card }] as const];
    }),
  );
  const states = { ...NOTHING, defenses: new Map(done) };
  const lines = tables.flatMap((table) => tableLines(table, states));
  // The paper's MM-BD stands beside mm-bm, its DBD alone.
  expect(lines.map(({ model }) => model)).toEqual(['none', 'DBD', 'ft', 'mm-bm', 'strip', 'mm-bd']);
  const line = (name: string) => lines.find(({ model }) => model === name);
  expect(line('none')).toMatchObject({ acc: { mean: 0.9, n: 2 } });
  expect(line('ft')).toMatchObject({
    ...{ stage: 'method', acc: { n: 2 }, der: { mean: 0.9 }, seconds: { mean: 4 }, peak: { mean: 300 * 2 ** 20 } },
    ...{ given: 'victim, 2500 clean images', paper: null, returned: false },
    note: '2 of the clean images added for classes that the draw missed',
  });
  expect(line('mm-bm')).toMatchObject({ acc: null, given: '', note: 'pending', paper: { acc: 87.33, asr: 28.07 } });
  expect(line('strip')).toMatchObject({ stage: null, given: 'victim, poisoned set', seconds: { mean: 2 } });
  expect(line('strip')?.detection).toMatchObject({
    tprAt1: { mean: 0.25, sd: 0 },
    accused: '0 (2 of 2)',
    pValue: null,
  });
  expect(line('mm-bd')).toMatchObject({ given: 'victim', auroc: null, detection: { pValue: { mean: 0.0125 } } });

  const markdown = markdownTable(
    'x',
    lines,
    'y',
    differencesOf(grid, tables[0]?.table as Grid['tables'][number], lines),
  );
  expect(markdown).toContain('| 85.00 ± 7.07 | 10.00 ± 0.00 |');
  expect(markdown).toContain('| 300 ± 0 | victim, 2500 clean images |');
  expect(markdown).toContain('| 0 (2 of 2) | 0.013 |');
  expect(markdown).toContain('ft differs from its defaults: epochs 20 (100)');
  expect(markdown).toContain('ft, mm-bm: given 5 % of the training set');
  const page = htmlPage(grid, tables, groups, states);
  expect(page).toContain('<th class="word" title="what it worked with">given</th>');
  expect(page).not.toContain('<img');
  const csv = cellsCsv(groups, states).trimEnd().split('\r\n');
  const [head, ...rows] = csv.map((row) => row.split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/));
  const fields = rows.map((row) => Object.fromEntries((head ?? []).map((name, i) => [name, row[i]])));
  const of = (defense: string) => fields.find((it) => it.defense === defense);
  expect(of('ft')).toMatchObject({
    kind: 'method',
    state: 'done',
    acc: '0.8',
    der: '0.9',
    seconds: '4',
    peak_mib: '300',
  });
  expect(of('mm-bm')).toMatchObject({ kind: 'method', state: 'pending', acc: '' });
  expect(of('strip')).toMatchObject({ kind: 'detector', tpr_at_fpr_1: '0.25', accused: '0' });
  expect(of('mm-bd')).toMatchObject({ kind: 'inspection', p_value: '0.0125', verdict: 'looks backdoored' });
});

test('a detector without a ground truth has no table, and says once that nothing could be judged', async () => {
  const { strip } = await rivalCards(0.8);
  const blind: RunCard = {
    ...strip,
    config: { ...strip.config, poison: null },
    victim: { history: [], evaluation: null },
    detections: strip.detections?.map((row) => ({ ...row, figures: null })),
  };
  for (const text of [formatTable(blind), formatMarkdown(blind)]) {
    expect(text.match(/no ground truth/g)).toHaveLength(1);
    expect(text).not.toMatch(/[┌│]|---/);
    expect(text).toContain('strip: ');
  }
});

test('a table of detectors alone has no columns, figures or sentences of repairs', () => {
  const grid = chooseGrid(paperGrid('cpu'), 'detectors', {});
  const tables = expandGrid(grid);
  const lines = tables.flatMap((table) => tableLines(table, NOTHING));
  expect(columnsFor(lines).map(({ title }) => title)).not.toContain('DER');
  expect(lines.map(({ model }) => model)).not.toContain('DBD');
  expect(htmlPage(grid, tables, groupCells(tables), NOTHING)).not.toContain('ACC against ASR');
  expect(differencesOf(grid, grid.tables[0] as Grid['tables'][number], lines).join()).not.toContain('Δ ASR');
  // Where PAD-FT stands alone, all were given the same.
  const titles = (change: Partial<Grid['tables'][number]>) =>
    columnsFor(expandGrid(oneTable(change)).flatMap((table) => tableLines(table, NOTHING))).map(({ title }) => title);
  expect(titles({ defenses: DEFENSE_NAMES })).not.toContain('given');
  expect(titles({})).toEqual(expect.arrayContaining(['paper ACC', 'given']));
  // Of data that the paper does not have, no empty columns.
  const smoke = expandGrid(chooseGrid(paperGrid('smoke'), 'table1', {}));
  const columns = columnsFor(smoke.flatMap((table) => tableLines(table, NOTHING))).map(({ title }) => title);
  expect(columns.filter((title) => /paper|Δ/.test(title))).toEqual([]);
  expect(columns).toEqual(expect.arrayContaining(['ASR incl. target', 'RA', 'DER']));
});

test('a table is headed by what differs from the paper only where the paper has it', () => {
  const heading = (what: string) => {
    const { tables } = chooseGrid(paperGrid('cpu'), what, {});
    return tables.map(differencesHeading);
  };
  expect(heading('all')).toEqual(new Array(3).fill('What differs from the paper'));
  expect([...heading('methods'), ...heading('detectors')]).toEqual(new Array(2).fill('How to read these figures'));
});

test('the page names each group once, its units, and draws no two series alike', () => {
  const grid = chooseGrid(paperGrid('paper'), 'all', {});
  const tables = expandGrid(grid);
  const page = htmlPage(grid, tables, groupCells(tables), NOTHING);
  expect(page.match(/<span>cifar10, blended 10 %<\/span>/g)).toHaveLength(1);
  expect(page).toContain('ACC<span class="unit">%</span>');
  expect(page).toContain('Δ ASR<span class="unit">points</span>');
  const styles = Array.from({ length: 28 }, (_, i) => styleOf(i >> 1, (i & 1) as 0 | 1));
  expect(new Set(styles.map(({ colour, mark }) => `${colour} ${mark}`)).size).toBe(28);
  const figure = plot('figure', AXIS, AXIS, [
    { name: 'a', style: styleOf(0, 0), points: [{ x: 1, y: 1, label: 'a' }], line: false, hollow: false },
    { name: 'b', style: styleOf(0, 1), points: [{ x: 1, y: 1, label: 'b' }], line: false, hollow: false },
  ]);
  // Each mark once in the figure and once in its legend.
  expect([figure.match(/<circle/g)?.length, figure.match(/<polygon/g)?.length]).toEqual([2, 2]);
});

test('the paper’s curve over n is drawn only beside its own setting', () => {
  const drawn = (part: Partial<Grid['tables'][number]>) => {
    const grid = oneTable({ counts: [1000, 3000], defenses: ['paper'], rates: [0.1], ...part });
    const tables = expandGrid(grid);
    return htmlPage(grid, tables, groupCells(tables), NOTHING).includes('the paper, n 3000');
  };
  expect(drawn({})).toBe(true);
  expect(drawn({ datasets: ['cifar100'] })).toBe(false);
  expect(drawn({ rates: [0.05] })).toBe(false);
  expect(drawn({ attacks: [{ attack: 'blended' }] })).toBe(false);
});

test('text from elsewhere is text in HTML, Markdown and CSV', () => {
  expect(escapeHtml(HOSTILE)).not.toMatch(/[<>"'\u202e]/);
  expect(escapeHtml('a & b')).toBe('a &amp; b');
  const grid = oneTable({ title: HOSTILE });
  const tables = expandGrid(grid);
  const page = htmlPage(grid, tables, groupCells(tables), NOTHING);
  expect(page).not.toContain('<img');
  expect(page).not.toContain('<script');
  expect(page).not.toMatch(/https?:/);
  const lines = tables.flatMap((table) => tableLines(table, NOTHING));
  const hostile = lines.map((line) => ({ ...line, note: HOSTILE }));
  const markdown = markdownTable(HOSTILE, hostile, HOSTILE, [HOSTILE]);
  expect(markdown).not.toMatch(/[^\\]<img/);
  for (const row of markdown.split('\n').filter((row) => row.startsWith('| cifar10'))) {
    expect(row.replaceAll('\\|', '').split('|')).toHaveLength(columnsFor(lines).length + 2);
  }
  expect(csvCell('plain')).toBe('plain');
  expect(csvCell('a,"b"\n')).toBe('"a,""b""\n"');
  expect(csvCell('=HYPERLINK("x")')).toBe('"\'=HYPERLINK(""x"")"');
  expect(csvCell(-0.5)).toBe('-0.5');
  expect(csvCell(null)).toBe('');
});
