import { describe, expect, it } from 'vitest';
import { ATTACKS } from '../../src/attacks/index.js';
import {
  POISON_DRAWS,
  type PoisonDraw,
  type PoisonOptions,
  planPoison,
  poisonedLabels,
  poisonManifest,
} from '../../src/attacks/poison.js';
import { checkFile } from '../../src/formats/json-shape.js';
import { checkPoisonManifest } from '../../src/formats/poison-manifest.js';
import { sha256Hex } from '../../src/formats/sha256.js';
import { poisonSettings } from '../../src/poisoned-set.js';

const labels = Int32Array.from({ length: 1000 }, (_, i) => i % 10);
const base: PoisonOptions = {
  labels,
  classes: 10,
  rate: 0.1,
  policy: 'all-to-one',
  target: 0,
  seed: 0,
  draw: 'uniform',
};

describe.each(POISON_DRAWS)('planPoison, draw %s', (draw) => {
  const plan = (changes: Partial<PoisonOptions> = {}) => planPoison({ ...base, draw, ...changes });

  it('draws exactly round(rate · N) distinct rows, some of them of the target class', () => {
    const { indices, originalLabels, poisonedLabels: given } = plan();
    expect(indices).toHaveLength(100);
    expect(new Set(indices).size).toBe(100);
    expect(Math.max(...indices)).toBeLessThan(1000);
    expect(Array.from(originalLabels)).toEqual(Array.from(indices, (row) => row % 10));
    expect(originalLabels.includes(0)).toBe(true);
    expect(new Set(given)).toEqual(new Set([0]));
  });

  it('gives the same rows at the same seed, others at another', () => {
    expect(plan()).toEqual(plan());
    expect(plan({ seed: 1 }).indices).not.toEqual(plan().indices);
  });

  it('makes a lower rate a prefix of a higher one, whatever the policy and the target', () => {
    const all = plan({ rate: 1 }).indices;
    expect(plan({ rate: 0.05 }).indices).toEqual(all.slice(0, 50));
    expect(plan({ rate: 0.5, policy: 'all-to-all' }).indices).toEqual(all.slice(0, 500));
    expect(plan({ rate: 0.1, target: 7 }).indices).toEqual(all.slice(0, 100));
    expect(new Set(all).size).toBe(1000);
  });

  it('follows the policy', () => {
    const { originalLabels, poisonedLabels: given } = plan({ policy: 'all-to-all' });
    expect(Array.from(given)).toEqual(Array.from(originalLabels, (label) => (label + 1) % 10));
  });

  it('clean-label draws from the target class alone and changes no label', () => {
    const { indices, originalLabels, poisonedLabels: given } = plan({ policy: 'clean-label', rate: 0.05, target: 3 });
    expect(new Set(indices).size).toBe(50);
    expect(new Set(originalLabels)).toEqual(new Set([3]));
    expect(given).toEqual(originalLabels);
    const all = plan({ policy: 'clean-label', rate: 0.1, target: 3 }).indices;
    expect(new Set(all).size).toBe(100);
    expect(indices).toEqual(all.slice(0, 50));
  });

  it('clean-label refuses more rows than the target class has, and says the largest rate', () => {
    expect(() => plan({ policy: 'clean-label', rate: 0.101 })).toThrow(
      expect.objectContaining({
        code: 'ERR_OPTION',
        message:
          'attack.rate: expected at most 0.1 for these data (100 of 1000 rows are of the target class 0), got 0.101',
      }),
    );
    const none = { policy: 'clean-label', labels: new Int32Array(9).fill(1) } as const;
    expect(() => plan({ ...none, rate: 0.2 })).toThrow('expected at most 0 for these data (0 of 9 rows');
    expect(plan({ ...none, rate: 0 }).indices).toHaveLength(0);
  });

  it('gives an empty plan at rate 0', () => {
    const empty = plan({ rate: 0 });
    expect(empty.indices).toHaveLength(0);
    expect(poisonedLabels(empty, labels)).toEqual(labels);
  });

  it.each<[string, Partial<PoisonOptions>]>([
    ['attack.rate: expected a number in [0, 1], got 1.5', { rate: 1.5 }],
    ['attack.rate: expected a number in [0, 1], got -0.1', { rate: -0.1 }],
    ['attack.rate: expected a number in [0, 1], got NaN', { rate: Number.NaN }],
    ['attack.rate: expected 0, or a rate that poisons at least one of 1000 rows, got 0.0004', { rate: 0.0004 }],
    ['attack.target: expected a class in [0, 10), got 10', { target: 10 }],
    ['seed: expected an integer', { seed: -1 }],
    ['seed: expected an integer', { seed: 1.5 }],
  ])('refuses %s', (message, changes) => {
    expect(() => plan(changes)).toThrow(
      expect.objectContaining({ code: 'ERR_OPTION', message: expect.stringContaining(message) }),
    );
  });

  it('refuses no rows, and labels out of range', () => {
    expect(() => plan({ labels: new Int32Array(0) })).toThrow(expect.objectContaining({ code: 'ERR_DATA' }));
    expect(() => plan({ labels: Int32Array.of(0, 11) })).toThrow('labels[1]');
  });
});

it('poisons the rows that BackdoorBench poisons', () => {
  const options = { ...base, labels: new Int32Array(50000), draw: 'backdoorbench' } as const;
  expect(Array.from(planPoison(options).indices.subarray(0, 5))).toEqual([11841, 19602, 45519, 25747, 42642]);
  expect(planPoison(options).indices).toHaveLength(5000);
});

it("draws clean-label rows as NumPy's choice among the target class's rows", () => {
  // rows = np.flatnonzero(np.arange(1000) % 10 == 4); np.random.seed(0); np.random.choice(rows, 5, replace=False)
  const options = { ...base, policy: 'clean-label', target: 4, rate: 0.005, draw: 'backdoorbench' } as const;
  expect(Array.from(planPoison(options).indices)).toEqual([264, 864, 24, 554, 754]);
});

it('rounds halves to even, as Python does', () => {
  const count = (rows: number) => planPoison({ ...base, labels: new Int32Array(rows), rate: 0.5 }).indices.length;
  // round(2.5) == 2, round(3.5) == 4, round(1.5) == 2
  expect([5, 7, 3].map(count)).toEqual([2, 4, 2]);
});

it('refuses an unknown draw', () => {
  expect(() => planPoison({ ...base, draw: 'numpy' as PoisonDraw })).toThrow(
    'attack.draw: expected one of uniform, backdoorbench, got "numpy"',
  );
});

describe('an attack that poisons batches', () => {
  const plan = (changes: Partial<PoisonOptions> = {}) =>
    planPoison({ ...base, perBatch: { crossRatio: 2, rotation: 10 }, ...changes });

  it('marks each block of 128 rows: int(rate · rows) poisoned, twice as many noise', () => {
    const { indices, noise, originalLabels, poisonedLabels: given } = plan();
    // 1000 = 7 · 128 + 104: 12 and 24 a block, 10 and 20 in the last.
    expect([indices.length, noise.length]).toEqual([7 * 12 + 10, 7 * 24 + 20]);
    expect(Array.from(indices.subarray(0, 14))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 128, 129]);
    expect(Array.from(noise.subarray(23, 26))).toEqual([35, 140, 141]);
    expect(noise.at(-1)).toBe(7 * 128 + 29);
    expect(Array.from(originalLabels)).toEqual(Array.from(indices, (row) => row % 10));
    expect(new Set(given)).toEqual(new Set([0]));
    expect(plan({ seed: 5, draw: 'backdoorbench' })).toEqual(plan());
  });

  it('takes no other draw of rows when one is asked for: there is none', () => {
    const wanet = (change: object) => poisonSettings({ attack: 'wanet', ...change });
    expect(() => wanet({ draw: 'backdoorbench' })).toThrow(
      expect.objectContaining({
        code: 'ERR_OPTION',
        message:
          'attack.draw: expected it to be left out: wanet draws no rows, it marks blocks of them, got "backdoorbench"',
      }),
    );
    expect(wanet({ draw: 'uniform' })).toEqual(wanet({}));
    expect(poisonSettings({ attack: 'sig', draw: 'backdoorbench' }).draw).toBe('backdoorbench');
    for (const attack of Object.values(ATTACKS)) {
      const { perBatch } = attack.build({}, { channels: 3, height: 32, width: 32 });
      expect(attack.poisonsBatches, attack.name).toBe(perBatch !== null);
    }
  });

  it('marks as many CIFAR-10 rows as BackdoorBench: 4688 of 50 000, and 9376 noise', () => {
    const { indices, noise } = plan({ labels: new Int32Array(50000) });
    expect([indices.length, noise.length]).toEqual([4688, 9376]);
  });

  it('refuses a rate that leaves blocks without poison, or without room for their noise', () => {
    const refused = (changes: Partial<PoisonOptions>, message: string) =>
      expect(() => plan(changes)).toThrow(
        expect.objectContaining({ code: 'ERR_OPTION', message: expect.stringContaining(message) }),
      );
    refused({ rate: 0.007 }, 'attack.rate: expected 0, or at least 0.0078125: one row of each block of 128, got 0.007');
    refused({ rate: 0.05, labels: new Int32Array(19) }, 'one row of each block of 19');
    refused({ rate: 0.5 }, 'attack.rate: expected at most 0.328125 with 2 noise rows for each poisoned one in a block');
    expect(plan({ rate: 0.328125 }).indices).toHaveLength(7 * 42 + 34);
    expect(plan({ rate: 0 })).toMatchObject({ indices: new Uint32Array(0), noise: new Uint32Array(0) });
  });

  it('says in the manifest how many rows are noise, and which', () => {
    const attack = ATTACKS.wanet.build({}, { channels: 3, height: 32, width: 32 });
    const planned = plan();
    const manifest = poisonManifest('0.1.0', { name: 'made', provenance: '' }, attack, base, planned);
    expect(manifest.counts).toMatchObject({ poisoned: 94, noise: 188 });
    expect(manifest.noiseSha256).toBe(sha256Hex(planned.noise));
    const read = checkFile(checkPoisonManifest, JSON.parse(JSON.stringify(manifest)), 'made');
    expect(read).toEqual(manifest);
  });
});

describe('the poisoned labels and the manifest', () => {
  const plan = planPoison(base);
  const after = poisonedLabels(plan, labels);

  it('changes the planned rows only', () => {
    const planned = new Set(plan.indices);
    after.forEach((label, row) => {
      expect(label).toBe(planned.has(row) ? 0 : labels[row]);
    });
    expect(labels[1]).toBe(1);
  });

  it('refuses a plan made for more rows', () => {
    expect(() => poisonedLabels(plan, labels.slice(0, 10))).toThrow(expect.objectContaining({ code: 'ERR_DATA' }));
  });

  it('survives JSON and says all that is needed to make the set again', () => {
    const attack = ATTACKS.badnets.build({}, { channels: 3, height: 32, width: 32 });
    const manifest = poisonManifest('0.1.0', { name: 'made', provenance: 'this test' }, attack, base, plan);
    const selfLabelled = plan.originalLabels.filter((label) => label === 0).length;
    expect(selfLabelled).toBeGreaterThan(0);
    expect(JSON.parse(JSON.stringify(manifest))).toEqual({
      kind: 'pad-ft-poison',
      version: 1,
      tool: '0.1.0',
      dataset: { name: 'made', provenance: 'this test', rows: 1000, classes: 10 },
      attack: {
        name: 'badnets',
        options: { patchSize: 3, margin: 0 },
        triggerName: '3×3 white square',
        trigger: attack.description,
      },
      policy: 'all-to-one',
      target: 0,
      rate: 0.1,
      seed: 0,
      draw: 'uniform',
      counts: { poisoned: 100, relabelled: 100 - selfLabelled, selfLabelled },
      indicesSha256: sha256Hex(plan.indices),
      labelsSha256: sha256Hex(after),
    });
    const toAll = { ...base, policy: 'all-to-all' } as const;
    const other = poisonManifest('0.1.0', { name: 'made', provenance: '' }, attack, toAll, planPoison(toAll));
    expect(other.target).toBeNull();
    expect(other.counts.selfLabelled).toBe(0);
  });
});
