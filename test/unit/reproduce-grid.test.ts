import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { METHOD_NAMES } from '../../src/defenses/methods/index.js';
import { PRESETS, PURIFIERS } from '../../src/defenses/pad-ft/options.js';
import { poisonSettings } from '../../src/poisoned-set.js';
import type { TrainingCard } from '../../src/report/training-card.js';
import { isTrainingAskedFor } from '../../src/reproduce/adopt.js';
import { expandGrid, groupCells } from '../../src/reproduce/cells.js';
import { drawCleanRows } from '../../src/reproduce/clean-images.js';
import { tableLines } from '../../src/reproduce/figures.js';
import { chooseGrid, type Grid, missingAttacks, paperGrid, readGrid } from '../../src/reproduce/grid.js';
import { reproduce } from '../../src/reproduce/index.js';
import { defaultFolder } from '../../src/reproduce/reproduce.js';
import { SCALE_NAMES, type ScaleName } from '../../src/reproduce/scales.js';
import { type Poisoning, TRAIN_DEFAULTS } from '../../src/train.js';
import { cellsOf, isPadFt, NOTHING, oneTable } from './support/grids.js';

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

test('tables of one scale do not replace those of another', () => {
  expect(SCALE_NAMES.map((scale) => defaultFolder({ scale }))).toEqual(
    SCALE_NAMES.map((name) => `reproduction-${name}`),
  );
  expect(defaultFolder({})).toBe('reproduction-paper');
  expect(defaultFolder({ grid: paperGrid('smoke') })).toBe('reproduction');
});
