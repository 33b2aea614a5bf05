import { expect, test } from 'vitest';
import { METHOD_NAMES } from '../../src/defenses/methods/index.js';
import { PRESETS } from '../../src/defenses/pad-ft/options.js';
import { scoringUnits } from '../../src/defenses/pad-ft/purifiers.js';
import { dataSize, groupUnits, judgingUnits, repairUnits, trainingUnits } from '../../src/reproduce/estimate.js';
import { cellsOf, oneTable } from './support/grids.js';

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
