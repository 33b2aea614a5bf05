import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import type { PoisonManifest } from '../../src/attacks/poison.js';
import { METHOD_NAMES, METHODS } from '../../src/defenses/methods/index.js';
import { INSPECT_DEFAULTS } from '../../src/defenses/mm-bd/inspect.js';
import { scoringKey } from '../../src/defenses/pad-ft/index.js';
import { PRESETS, PURIFIERS } from '../../src/defenses/pad-ft/options.js';
import { scoringUnits } from '../../src/defenses/pad-ft/purifiers.js';
import { purifyBasis } from '../../src/defenses/pad-ft/purify.js';
import type { Precision } from '../../src/device.js';
import { PadFtError } from '../../src/errors.js';
import type { NativeDevice } from '../../src/native/contract.js';
import { poisonSettings } from '../../src/poisoned-set.js';
import type { RunCard } from '../../src/report/card.js';
import { checkCard } from '../../src/report/card-schema.js';
import { formatTable } from '../../src/report/table.js';
import type { TrainingCard } from '../../src/report/training-card.js';
import { isTrainingAskedFor } from '../../src/reproduce/adopt.js';
import { canonicalJson, contentKey } from '../../src/reproduce/canonical-json.js';
import { type DefenseCell, expandGrid, groupCells, type PadFtCell } from '../../src/reproduce/cells.js';
import { drawCleanRows } from '../../src/reproduce/clean-images.js';
import { columnsFor } from '../../src/reproduce/columns.js';
import { cellsCsv, csvCell } from '../../src/reproduce/csv.js';
import { DEFENSE_NAMES } from '../../src/reproduce/defenses.js';
import { meanOf, percentOf } from '../../src/reproduce/deviation.js';
import { differencesHeading, differencesOf } from '../../src/reproduce/differences.js';
import { escapeHtml } from '../../src/reproduce/escape.js';
import { dataSize, groupUnits, judgingUnits, repairUnits, trainingUnits } from '../../src/reproduce/estimate.js';
import { tableLines } from '../../src/reproduce/figures.js';
import { chooseGrid, type Grid, missingAttacks, paperGrid, readGrid } from '../../src/reproduce/grid.js';
import { htmlPage } from '../../src/reproduce/html.js';
import { reproduce } from '../../src/reproduce/index.js';
import { judgementKey } from '../../src/reproduce/judgement.js';
import { markdownTable } from '../../src/reproduce/markdown.js';
import { PAPER_TABLE_3, paperFigure } from '../../src/reproduce/paper-figures.js';
import { defaultFolder } from '../../src/reproduce/reproduce.js';
import { SCALE_NAMES, SCALES, type ScaleName } from '../../src/reproduce/scales.js';
import { CellStore } from '../../src/reproduce/store.js';
import { plot, styleOf } from '../../src/reproduce/svg.js';
import { type Poisoning, TRAIN_DEFAULTS } from '../../src/train.js';

const NOTHING = { defenses: new Map(), victims: new Map() };

/** The grid with its only table of BadNets changed. */
function oneTable(change: Partial<Grid['tables'][number]>): Grid {
  const grid = chooseGrid(paperGrid('cpu'), 'table1', { attacks: ['badnets'] });
  return { ...grid, tables: grid.tables.map((table) => ({ ...table, ...change })) };
}

function isPadFt(cell: DefenseCell): cell is PadFtCell {
  return cell.kind === 'defense';
}

function cellsOf(grid: Grid) {
  const [group] = groupCells(expandGrid(grid));
  if (group === undefined) throw new Error('an empty grid');
  return group;
}

test('canonical JSON has one spelling a value', () => {
  expect(canonicalJson({ b: [1, 'x', null], a: { d: true, c: undefined } })).toBe('{"a":{"d":true},"b":[1,"x",null]}');
  expect(canonicalJson({ a: 1, b: 2 })).toBe(canonicalJson({ b: 2, a: 1 }));
  expect(canonicalJson(0.1)).toBe('0.1');
  for (const value of [Number.NaN, undefined, () => {}, new Map(), new Uint8Array(1)])
    expect(() => canonicalJson(value)).toThrow(PadFtError);
  expect(contentKey({})).toBe('44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');
});

test('the grid of the paper: tables, attacks, and what tables share is one cell', () => {
  const whole = paperGrid('cpu');
  expect(whole.tables.map(({ name }) => name)).toEqual(['table1', 'table2', 'table3', 'methods', 'detectors']);
  const grid = chooseGrid(whole, 'all', {});
  expect(grid.tables.map(({ name }) => name)).toEqual(['table1', 'table2', 'table3']);
  const own = ['default', 'paper'];
  const rivals = [...own, 'oracle', 'random', 'mm-bm', 'dbd'];
  expect(grid.tables.map(({ defenses }) => defenses)).toEqual([rivals, rivals, own]);
  const tables = expandGrid(grid);
  const names = tables.map(({ victims }) => victims.map(({ victim }) => `${victim.attack} ${victim.rate}`));
  expect(names).toEqual([
    ['badnets 0.1', 'blended 0.1', 'wanet 0.1', 'none 0'],
    ['badnets 0.05', 'blended 0.05', 'wanet 0.05', 'sig 0.05', 'none 0'],
    ['badnets 0.1'],
  ]);
  const groups = groupCells(tables);
  // One clean model for both tables, one BadNets victim for tables I and III; n = 3000 is that of `paper`.
  expect(groups.map(({ victim, defenses }) => [victim.name, defenses.length])).toContainEqual([
    'cpu-cifar10-badnets-10pct-s0',
    6 + 6 + 5,
  ]);
  expect(groups.filter(({ victim }) => victim.attack === 'none')).toHaveLength(1);
  expect(new Set(groups.map(({ victim }) => victim.folder)).size).toBe(groups.length);
  const three = tables[2]?.victims[0]?.defenses ?? [];
  expect(three.map(({ column, count }) => `${column} ${count}`)).toContain('paper 6000');
  // What tables share is one folder, whichever of them asks.
  const folders = three.filter(({ column, count }) => column === 'paper' && count === 3000).map(({ folder }) => folder);
  const shared = tables[0]?.victims[0]?.defenses.find(({ column }) => column === 'paper')?.folder;
  expect(folders).toEqual([shared]);
  // n varies alone: the budget of stage 2 stays.
  expect(
    new Set(three.filter(isPadFt).map(({ column, planned }) => `${column} ${planned.settings.clip.steps}`)).size,
  ).toBe(2);
});

test('the cells of scale cpu are what poison and train make with those flags', () => {
  const { victim, defenses } = cellsOf(oneTable({}));
  const { flip: _, ...defaults } = TRAIN_DEFAULTS;
  expect(victim.train).toEqual({
    ...defaults,
    width: 16,
    epochs: 8,
    schedule: 'triangular',
    learningRate: 0.1,
    batchSize: 128,
  });
  expect(victim.poison).toMatchObject({ attack: 'badnets', rate: 0.1, policy: 'all-to-one', draw: 'uniform', seed: 0 });
  expect(defenses.filter(isPadFt).map(({ planned }) => planned.settings)).toContainEqual(PRESETS.paper);
});

test('a scale’s way of drawing rows is left out where none are drawn, and moves no key', () => {
  const cells = (scale: ScaleName) => groupCells(expandGrid(paperGrid(scale))).map(({ victim }) => victim);
  for (const cell of SCALE_NAMES.flatMap(cells)) expect(() => poisonSettings(cell.poison), cell.name).not.toThrow();
  const folders = cells('cpu').map(({ folder }) => folder);
  expect(folders).toContain('cpu-cifar10-wanet-10pct-s0-4ae071a91c8c');
  expect(folders).toContain('cpu-cifar10-badnets-10pct-s0-32bc9a4f2d57');
  const drawn = cells('paper').filter(({ poison }) => poison.draw === 'backdoorbench');
  expect(new Set(drawn.map(({ attack }) => attack))).toEqual(new Set(['badnets', 'blended', 'sig', 'none']));
});

test('a plan takes a victim for there only when it met the poison as the cell wants it', () => {
  for (const [attack, wanted, other] of [
    ['wanet', 'per-batch', 'stored'],
    ['badnets', 'stored', 'per-batch'],
  ] as const) {
    const { victim } = cellsOf(oneTable({ attacks: [{ attack }] }));
    const { policy, target = 0, seed, draw = 'uniform', attackOptions } = victim.poison;
    const made = { policy, target, seed, draw, rate: 0.1, attack: { name: attack, options: attackOptions } };
    const data = { name: 'cifar10', poison: made };
    const training = (poisoning: Poisoning) =>
      ({ data, settings: { flip: true, ...victim.train }, poisoning }) as unknown as TrainingCard;
    expect(isTrainingAskedFor(training(wanted), victim), attack).toBe(true);
    expect(isTrainingAskedFor(training(other), victim), attack).toBe(false);
  }
});

test('an attack that this build lacks is listed, not refused', () => {
  const grid = oneTable({ attacks: [{ attack: 'no-such-attack' }, { attack: 'badnets' }] });
  expect(missingAttacks(grid)).toEqual(['no-such-attack']);
  expect(groupCells(expandGrid(grid)).map(({ victim }) => victim.available)).toEqual([false, true]);
  const lines = expandGrid(grid).flatMap((table) => tableLines(table, NOTHING));
  expect(lines.filter(({ attack }) => attack === 'no-such-attack').map(({ note }) => note)).toContain(
    'not in this build',
  );
});

test('keys change with what a cell depends on, and with nothing else', () => {
  const base = cellsOf(oneTable({ defenses: ['default'] }));
  const key = base.defenses[0]?.key;
  const own = cellsOf(oneTable({ defenses: ['default'], counts: [PRESETS.default.purify.count] }));
  const fewer = cellsOf(oneTable({ defenses: ['default'], counts: [1000] }));
  expect(own.defenses[0]?.key).toBe(key);
  expect(fewer.victim.key).toBe(base.victim.key);
  expect(fewer.defenses[0]?.key).not.toBe(key);
  const changes = [{ seeds: [1] }, { rates: [0.05] }, { attacks: [{ attack: 'blended' }] }, { datasets: ['cifar100'] }];
  const victims = changes.map((change) => cellsOf(oneTable(change)).victim.key);
  expect(new Set([...victims, base.victim.key]).size).toBe(5);
  expect(groupCells(expandGrid(oneTable({}), 'fp32'))[0]?.victim.key).not.toBe(base.victim.key);
  // Another title, or other defences beside it, is not another cell.
  const renamed = cellsOf(oneTable({ title: 'x', defenses: ['paper', 'default'] }));
  expect(renamed.defenses.map((cell) => cell.key)).toContain(key);
});

test('keys of PAD-FT are what they were: a change that would make every cell anew is meant', () => {
  const keys = new Map(cellsOf(oneTable({})).defenses.map(({ column, key }) => [column, key]));
  expect(keys.get('default')).toBe('fccf8110e136a4ec49d8bd611439720903f72fca248cc25485b87b84af5eaf1b');
  expect(keys.get('paper')).toBe('9d83c3e6a68ae382be3d8ffe2683b392bfe8109fe54935aa0c632d329097aa31');
  expect(keys.get('oracle')).toBe('adbf17cfbfaeb0aabcd30e67e49c3dcd4fcae210e8fba07e4adf3ca79164c756');
});

test('other methods and detectors are cells of the same victim, each under what it depends on', () => {
  const defenses = ['ft', 'classifier-only', 'cross-label', 'sce', 'clip-drop', 'mm-bd', 'default', 'paper'];
  const grid = oneTable({ defenses });
  const group = cellsOf(grid);
  expect(group.defenses.map(({ column }) => column)).toEqual(defenses);
  expect(new Set(group.defenses.map(({ key }) => key)).size).toBe(defenses.length);
  const cell = <Kind extends DefenseCell['kind']>(column: string, kind: Kind, of = group) => {
    const found = of.defenses.find((it) => it.column === column);
    if (found?.kind !== kind) throw new Error(`no ${kind} ${column}`);
    return found as Extract<DefenseCell, { readonly kind: Kind }>;
  };
  const ft = cell('ft', 'method');
  expect(ft).toMatchObject({ settings: { epochs: 20, batchSize: 256 }, clean: { share: 0.05, seed: 0 } });
  expect(cell('classifier-only', 'method').clean).toBeNull();
  // Other clean images change the cells that are given them, and nothing else.
  const fewer = cellsOf({ ...grid, cleanShare: 0.01 });
  const moved = group.defenses.filter(({ key }, i) => key !== fewer.defenses[i]?.key).map(({ column }) => column);
  expect(moved).toEqual(['ft']);
  expect(cellsOf(oneTable({ defenses, seeds: [1] })).defenses.map(({ key }) => key)).not.toContain(ft.key);
  // Rows are scored once for a detector and the preset that purifies by it.
  const scoring = (column: string) => scoringKey(cell(column, 'detector').settings);
  expect(scoring('cross-label')).toBe(scoringKey(cell('default', 'defense').planned.settings));
  expect(scoring('sce')).toBe(scoringKey(cell('paper', 'defense').planned.settings));
  // n is varied by PAD-FT alone.
  const varied = cellsOf(oneTable({ defenses: ['ft', 'default', 'strip'], counts: [1000, 2000] }));
  expect(varied.defenses.map(({ column, count }) => `${column} ${count}`)).toEqual([
    ...['ft null', 'default 1000', 'default 2000', 'strip null'],
  ]);
  // A task goes to another process as JSON.
  expect(JSON.parse(JSON.stringify(group.defenses))).toEqual(group.defenses);
});

test('the tables of methods and of detectors name every one that their data allow', () => {
  const names = (scale: ScaleName, what: string) => chooseGrid(paperGrid(scale), what, {}).tables[0]?.defenses;
  expect(names('cpu', 'methods')).toEqual([...METHOD_NAMES.filter((name) => name !== 'none'), 'default', 'paper']);
  expect(names('cpu', 'detectors')).toEqual([...PURIFIERS, 'mm-bd']);
  expect(names('smoke', 'detectors')).toEqual([...PURIFIERS]);
  expect(() => chooseGrid(paperGrid('cpu'), 'methods', { attacks: ['wanet'] })).toThrow(/some of badnets, blended/);
});

test('clean images are the rows that BackdoorBench draws, and the first row of a class that it missed', () => {
  const labels = Int32Array.from({ length: 50_000 }, (_, row) => row % 10);
  const { rows, added } = drawCleanRows(labels, 10, { share: 0.05, seed: 0 });
  expect([rows.length, added]).toEqual([2500, []]);
  expect([...rows.subarray(0, 5)]).toEqual([25247, 49673, 27562, 2653, 16968]);
  // random.seed(0); random.sample(range(100), 2) is [49, 97].
  const few = Int32Array.from({ length: 100 }, (_, row) => (row < 10 ? 2 : row % 2));
  expect(drawCleanRows(few, 4, { share: 0.02, seed: 0 })).toEqual({
    rows: Uint32Array.of(49, 97, 10, 0),
    added: [10, 0],
  });
});

test('axes are checked, and a grid of one’s own is read strictly', async () => {
  const choose = (what: string, choice: object) => chooseGrid(paperGrid('cpu'), what, choice);
  expect(() => choose('table4', {})).toThrow(/table1, table2, table3, methods, detectors/);
  expect(() => choose('all', { datasets: ['mnist'] })).toThrow(/datasets/);
  expect(() => choose('all', { defenses: ['magic'] })).toThrow(/defenses/);
  expect(() => choose('all', { attacks: ['magic'] })).toThrow(/attacks/);
  expect(() => choose('all', { seeds: [1, 1] })).toThrow(/every value once/);

  const folder = await mkdtemp(join(tmpdir(), 'pad-ft-grid-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, 'grid.json');
  const grid: Grid = { ...paperGrid('smoke'), cleanShare: 0.1 };
  await writeFile(path, JSON.stringify(grid));
  expect(await readGrid(path)).toEqual(grid);
  const wrong = async (change: object) => {
    await writeFile(path, JSON.stringify({ ...grid, ...change }));
    return readGrid(path);
  };
  await expect(wrong({ cleanShare: 1.1 })).rejects.toThrow(/cleanShare/);
  await expect(wrong({ scale: 'huge' })).rejects.toThrow(/scale: expected one of/);
  await expect(wrong({ extra: 1 })).rejects.toMatchObject({ code: 'ERR_FILE_FORMAT' });
  await expect(wrong({ tables: [{ ...grid.tables[0], name: '../x' }] })).rejects.toThrow(/tables\[0\]\.name/);
  await expect(wrong({ tables: [{ ...grid.tables[0], rates: [2] }] })).rejects.toThrow(/rates\[0\]/);
});

test('a device without a job of its own is refused', async () => {
  const run = (change: object) => reproduce({ what: 'table1', scale: 'smoke', devices: ['cpu', 'cpu'], ...change });
  const told = 'devices: expected from one to as many as there are jobs (1), got "cpu, cpu"';
  await expect(run({})).rejects.toMatchObject({ code: 'ERR_OPTION', message: told });
  await expect(run({ jobs: 2, devices: [] })).rejects.toMatchObject({ code: 'ERR_OPTION' });
});

test('what would be passed over is refused before anything is written', async () => {
  const out = join(tmpdir(), 'pad-ft-never-made');
  const run = (change: object) => reproduce({ what: 'table1', scale: 'smoke', out, ...change });
  await expect(run({ victims: [join(out, 'trianed')] })).rejects.toMatchObject({
    ...{ code: 'ERR_FILE_MISSING', message: expect.stringMatching(/trianed: it does not exist .*pad-ft train/) },
  });
  await expect(run({ dataPlace: { path: '/data' } })).rejects.toMatchObject({
    ...{ code: 'ERR_OPTION', message: 'dataPlace.path: synthetic is made, not read from files; leave it out' },
  });
  await expect(stat(out)).rejects.toMatchObject({ code: 'ENOENT' });
});

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

test('forward units', () => {
  const cell = { dataset: 'cifar10', datasetOptions: {}, rate: 0.1, train: { epochs: 2, batchSize: 128 } } as const;
  const size = dataSize(cell);
  expect(size).toEqual({ rows: 50_000, testRows: 10_000, classes: 10 });
  // 390 whole batches, three units an image; both test sets after each epoch.
  expect(trainingUnits(cell, size)).toBe(2 * (3 * 390 * 128 + 20_000));
  expect(judgingUnits(cell, size)).toBe(70_000);
  expect(judgingUnits({ rate: 0 }, size)).toBe(60_000);
  expect(scoringUnits(PRESETS.paper, size)).toBe(50_000);
  // As it is, under each statistic's limits, of both kinds, and its features; three looks at the sample a statistic.
  expect(scoringUnits(PRESETS.default, size)).toBe(6 * 50_000 + 3 * 2 * 4000);
  expect(repairUnits(PRESETS.paper, cell, size)).toBe(3 * 150 * 200 + 3000 * 101 + 40_000);
  const group = cellsOf(oneTable({ defenses: ['default', 'random'] }));
  const alone = cellsOf(oneTable({ defenses: ['default'] }));
  const flags = { trains: false, judges: false };
  // The control scores as the default does: once for both.
  expect(groupUnits({ ...group, ...flags }) - groupUnits({ ...alone, ...flags })).toBe(
    repairUnits(PRESETS.default, group.victim, size),
  );
});

test('forward units of methods and detectors', () => {
  const size = { rows: 50_000, testRows: 10_000, classes: 10 };
  const group = cellsOf(
    oneTable({ defenses: [...METHOD_NAMES, 'cross-label', 'clip-drop', 'default', 'strip', 'sce', 'mm-bd'] }),
  );
  const units = (...columns: readonly string[]) => {
    const defenses = group.defenses.filter(({ column }) => columns.includes(column));
    return groupUnits({ ...group, defenses, trains: false, judges: false });
  };
  expect(units('ft')).toBe(3 * 20 * 2500 + 20_000);
  expect(units('mm-bm')).toBe(2 * 2500 + 3 * 150 * 200 + 20_000);
  expect(units('none')).toBe(20_000);
  expect(units('ft-sam')).toBe(2 * 3 * 20 * 2500 + 20_000);
  // Three gradients a step; the accuracy before, and at the thresholds 0.05 to 0.9.
  expect(units('anp')).toBe(9 * 300 * 256 + 19 * 2500 + 20_000);
  // One look at what the channels do, and twenty at the accuracy.
  expect(units('fp')).toBe(3 * 20 * 2500 + 21 * 2500 + 20_000);
  expect(units('nad')).toBe(3 * 10 * 2500 + 4 * 10 * 2500 + 20_000);
  expect(units('classifier-only')).toBe(
    scoringUnits(PRESETS.default, size) + 5 * PRESETS.default.purify.count + 20_000,
  );
  expect(units('abl')).toBe(3 * 4 * 50_000 + 50_000 + 3 * 6 * 49_500 + 3 * 5 * 500 + 20_000);
  expect(units('dbd')).toBe(5 * 6 * 50_000 + 50_000 + 10 * (50_000 + 400 * 64 * 11) + 20_000);
  expect(units('cross-label')).toBe(scoringUnits(PRESETS.default, size));
  expect(units('cross-label', 'default')).toBe(units('default'));
  expect(units('sce')).toBe(50_000);
  // Three rounds of scoring, each after 160 steps of 128 and a look at the 10 000 rows every 5.
  const { rounds } = PRESETS.default.purify;
  expect(units('clip-drop')).toBe(50_000 + rounds * (50_000 + 3 * 160 * 128 + 32 * 10_000) + 50_000);
  const extrapolated = { ...PRESETS.default, purify: { ...PRESETS.default.purify, limits: 'extrapolated' as const } };
  expect(scoringUnits(extrapolated, size)).toBe(4 * 50_000 + 3 * 2 * 4000);
  const observed = { ...PRESETS.default, purify: { ...PRESETS.default.purify, limits: 'observed' as const } };
  expect(scoringUnits(observed, size)).toBe(4 * 50_000 + 2 * 4000);
  const plain = { ...observed, purify: { ...observed.purify, sharpen: false } };
  expect(scoringUnits(plain, size)).toBe(3 * 50_000 + 2 * 4000);
  expect(units('strip')).toBe(18 * 50_000);
  expect(units('mm-bd')).toBe(3 * 300 * 30 * 10);
});

const AXIS = { title: 'x', low: 0, high: 1, ticks: [0, 1] };
const HOSTILE = `<img src=x onerror=alert(1)>"'&|\`*_[x](y)\u202e=1+1`;

/** A real card with something changed: a stranger may have written it. */
async function cardWith(classNames: readonly string[], acc: number): Promise<RunCard> {
  const path = new URL('../../results/demo-two-cores.card.json', import.meta.url);
  const card = JSON.parse(await readFile(path, 'utf8')) as RunCard;
  const evaluation = { acc, asr: 0.9, asrIncludingTarget: 0.91, ra: 0.1 };
  const { config, victim } = card;
  return {
    ...card,
    config: { ...config, dataset: { ...config.dataset, classNames } },
    victim: { ...victim, evaluation },
  };
}

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

test('a judgement is kept under the arithmetic that made it, not under the word that asked for it', async () => {
  const { config } = await cardWith(['a'], 0.9);
  const manifest = config.poison as PoisonManifest;
  const key = (precision: Precision, device: NativeDevice) => judgementKey('model', manifest, precision, device);
  expect(key('auto', 'cpu')).toBe(key('fp32', 'cpu'));
  expect(key('auto', 'cuda:1')).toBe(key('tf32', 'cuda:0'));
  const all = [key('auto', 'cpu'), key('auto', 'cuda'), key('bf16', 'cpu'), key('bf16', 'cuda'), key('fp32', 'cuda')];
  expect(new Set(all).size).toBe(5);
  expect(judgementKey('model', { ...manifest, tool: 'another' }, 'auto', 'cpu')).toBe(key('auto', 'cpu'));
});

test('a defence without its models is finished unless they are asked for', async () => {
  const out = await mkdtemp(join(tmpdir(), 'pad-ft-store-'));
  onTestFinished(() => rm(out, { recursive: true }));
  const [cell] = cellsOf(oneTable({ defenses: ['default'] })).defenses;
  if (cell === undefined) throw new Error('no cell');
  const { config, ...card } = await cardWith(['a'], 0.9);
  const folder = new CellStore(out).defenseFolder(cell);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'card.json'), JSON.stringify({ ...card, config, files: [] }));
  expect(await new CellStore(out).card(cell)).toMatchObject({ files: [] });
  expect(await new CellStore(out, { models: true }).card(cell)).toBeNull();
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

test('a method whose meaning changed is run again: its revision is part of the key, and of no other method’s', () => {
  const grid = oneTable({ defenses: ['ft', 'nad'] });
  const keys = () => new Map(cellsOf(grid).defenses.map(({ column, key }) => [column, key]));
  const before = keys();
  const ft: { revision?: number | undefined } = METHODS.ft;
  const { revision } = ft;
  onTestFinished(() => {
    if (revision === undefined) delete ft.revision;
    else ft.revision = revision;
  });
  ft.revision = (revision ?? 0) + 1;
  const after = keys();
  expect(after.get('ft')).not.toBe(before.get('ft'));
  expect(after.get('nad')).toBe(before.get('nad'));
});

test('a purification depends on what its purifier reads', () => {
  for (const [purifier, reads] of [
    ['cross-label', true],
    ['clip-drop', true],
    ['sce', false],
    ['strip', false],
  ] as const) {
    const [off, on] = [false, true].map((sharpen) => purifyBasis({ ...PRESETS.default.purify, purifier, sharpen }));
    expect(isDeepStrictEqual(off, on), purifier).toBe(!reads);
  }
});

test('tables of one scale do not replace those of another', () => {
  expect(SCALE_NAMES.map((scale) => defaultFolder({ scale }))).toEqual(
    SCALE_NAMES.map((name) => `reproduction-${name}`),
  );
  expect(defaultFolder({})).toBe('reproduction-paper');
  expect(defaultFolder({ grid: paperGrid('smoke') })).toBe('reproduction');
});

test('scores are shared by defences that score alike, and what a verdict decides about them counts', () => {
  const keyWith = (change: Partial<(typeof PRESETS)['default']['purify']>) =>
    scoringKey({ ...PRESETS.default, seed: 0, purify: { ...PRESETS.default.purify, ...change } });
  for (const changed of [{ verdictGain: 0.5 }, { verdictSeparation: 3 }, { suspectPosterior: 0.5 }]) {
    // Which limits these rows are held to is said by a verdict, under `either` and no other.
    const plain = { sharpen: false };
    expect(keyWith({ ...plain, limits: 'either', ...changed })).not.toBe(keyWith({ ...plain, limits: 'either' }));
    expect(keyWith({ ...plain, limits: 'observed', ...changed })).toBe(keyWith({ ...plain, limits: 'observed' }));
    for (const purifier of ['cross-label', 'clip-drop'] as const) {
      const sharpened = { purifier, limits: 'observed' } as const;
      // And which labels are sharpened, by its thresholds.
      const same = keyWith({ ...sharpened, ...changed }) === keyWith(sharpened);
      expect(same).toBe('suspectPosterior' in changed);
    }
  }
  expect(keyWith({ limits: 'either' })).not.toBe(keyWith({ limits: 'extrapolated' }));
  expect(keyWith({ limits: 'observed', count: 100, pool: 0.5 })).toBe(keyWith({ limits: 'observed' }));
  expect(keyWith({ quantile: 0.9 })).not.toBe(keyWith({}));
});
