import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import type { PoisonManifest } from '../../src/attacks/poison.js';
import { METHODS } from '../../src/defenses/methods/index.js';
import { scoringKey } from '../../src/defenses/pad-ft/index.js';
import { PRESETS } from '../../src/defenses/pad-ft/options.js';
import { purifyBasis } from '../../src/defenses/pad-ft/purify.js';
import type { Precision } from '../../src/device.js';
import { PadFtError } from '../../src/errors.js';
import type { NativeDevice } from '../../src/native/contract.js';
import { canonicalJson, contentKey } from '../../src/reproduce/canonical-json.js';
import { type DefenseCell, expandGrid, groupCells } from '../../src/reproduce/cells.js';
import { judgementKey } from '../../src/reproduce/judgement.js';
import { CellStore } from '../../src/reproduce/store.js';
import { cardWith, cellsOf, oneTable } from './support/grids.js';

test('canonical JSON has one spelling a value', () => {
  expect(canonicalJson({ b: [1, 'x', null], a: { d: true, c: undefined } })).toBe('{"a":{"d":true},"b":[1,"x",null]}');
  expect(canonicalJson({ a: 1, b: 2 })).toBe(canonicalJson({ b: 2, a: 1 }));
  expect(canonicalJson(0.1)).toBe('0.1');
  for (const value of [Number.NaN, undefined, () => {}, new Map(), new Uint8Array(1)])
    expect(() => canonicalJson(value)).toThrow(PadFtError);
  expect(contentKey({})).toBe('44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');
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
  expect(keys.get('default')).toBe('11505e8086974110e90b07de826d87e71026302032c3f0c6b45db4fe8f583af5');
  expect(keys.get('paper')).toBe('9d83c3e6a68ae382be3d8ffe2683b392bfe8109fe54935aa0c632d329097aa31');
  expect(keys.get('oracle')).toBe('595c10263c1cc3d5b2de840614a0cbe068c6098e2d04421dc57746ae0585414a');
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
