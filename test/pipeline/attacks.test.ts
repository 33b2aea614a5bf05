import { expect, test } from 'vitest';
import { drawControl } from '../../src/control.js';
import { Dataset } from '../../src/dataset.js';
import { loadDatasetPair } from '../../src/datasets/index.js';
import { type ExperimentOptions, runExperiment } from '../../src/experiment.js';
import { POISON_DEFAULTS, poison } from '../../src/poisoned-set.js';
import { reevaluate } from '../../src/reevaluate.js';
import { formatTable } from '../../src/report/table.js';
import { madeFolder, tinyExperiment } from './made.js';

/** One defence whose D_c does not hang on what a victim of one epoch has learnt. */
function oracleExperiment(folder: string): ExperimentOptions {
  const options = tinyExperiment(folder);
  const small = { purify: { count: 100 }, clip: { steps: 5, batchSize: 50 }, tune: { epochs: 1, batchSize: 50 } };
  return {
    ...options,
    train: { ...options.train, epochs: 1 },
    defenses: [{ name: 'oracle', control: 'oracle', options: { ...small, preset: 'paper' } }],
  };
}

test('SIG: every poisoned row has its right label, and all of them count as planted', async () => {
  const folder = await madeFolder();
  const options = oracleExperiment(folder);
  const { card } = await runExperiment({ ...options, poison: { attack: 'sig', rate: 0.1, target: 1 } });
  const { poison } = card.config;
  expect(poison).toMatchObject({ policy: 'clean-label', target: 1, attack: { name: 'sig' } });
  expect(poison?.counts).toEqual({ poisoned: 60, relabelled: 0, selfLabelled: 60 });
  for (const { figures } of card.rows) {
    expect(figures?.targetLabel).toBe(1);
    expect(figures?.suspects).toMatchObject({ positives: 60, negatives: 540 });
    expect(figures?.purity.perLabel[1]?.baseRate).toBeCloseTo(60 / 150);
    expect(figures?.purity.perLabel[0]?.baseRate).toBe(0);
    expect(figures?.evaluations.victim?.asr).toEqual(expect.any(Number));
  }
  expect(formatTable(card)).toContain('clean-label, target class 1');
  expect((await reevaluate(folder, { device: 'cpu' })).same).toBe(true);

  const refused = runExperiment({ ...options, poison: { attack: 'sig', rate: 0.26 } });
  await expect(refused).rejects.toThrow(/attack\.rate: expected at most 0\.25 for these data/);
  const other = runExperiment({ ...options, poison: { attack: 'sig', policy: 'all-to-one' } });
  await expect(other).rejects.toThrow(/attack\.policy: expected one of clean-label/);
});

test('WaNet: a stored set holds poison and noise, and says which is which', async () => {
  const pair = await loadDatasetPair('synthetic', { classes: 4, train: 150, test: 20 });
  using set = await poison(pair, { attack: 'wanet', seed: 5, target: 1 }, { device: 'cpu' });
  using clean = Dataset.from(pair.train, 'cpu');
  const { poisoned, noise, trigger } = set.truth;
  // 150 = 128 + 22: 12 poisoned rows and 24 noise rows, then 2 and 4.
  expect([poisoned.length, noise.length]).toEqual([14, 28]);
  expect(set.train.labels().filter((_, row) => poisoned.includes(row))).toEqual(new Int32Array(14).fill(1));
  const kept = (labels: Int32Array) => labels.filter((_, row) => !poisoned.includes(row));
  expect(kept(set.train.labels())).toEqual(kept(clean.labels()));

  using warped = await clean.withTrigger(poisoned, trigger!, new Int32Array(14));
  expect(set.train.images(poisoned)).toEqual(warped.images(poisoned));
  const changed = Array.from({ length: 150 }, (_, row) => row).filter((row) => {
    const [now, before] = [set.train, clean].map((data) => data.images(Uint32Array.of(row)));
    return before?.some((value, i) => value !== now?.[i]);
  });
  expect(changed).toEqual([...poisoned, ...noise].sort((a, b) => a - b));

  expect(set.recipe).toMatchObject({ rate: POISON_DEFAULTS.rate, crossRatio: 2, rotation: 10, target: 1 });
  using again = await poison(pair, { attack: 'wanet', seed: 5, target: 1 }, { device: 'cpu' });
  expect(again.train.images(noise)).toEqual(set.train.images(noise));

  // The oracle takes what the attack left alone.
  const rows = drawControl('oracle', set, set.train.labels(), { purify: { count: 150 } });
  expect(Array.from(rows).filter((row) => changed.includes(row))).toEqual([]);
});

test('WaNet: a run poisons batch by batch, or trains on the stored set when asked', async () => {
  const folder = await madeFolder();
  const options = { ...oracleExperiment(folder), poison: { attack: 'wanet', rate: 0.1, target: 1 } } as const;
  const { card } = await runExperiment(options);
  expect(card.config).toMatchObject({ poisoning: 'per-batch', train: { cropPadding: 0 } });
  expect(formatTable(card)).toContain('every batch poisoned anew');
  expect(card.config.poison?.counts).toMatchObject({ poisoned: 56, noise: 112 });
  expect(card.rows[0]?.figures?.suspects.positives).toBe(card.config.poison?.counts.relabelled);
  expect(card.rows[0]?.figures?.purity.overall).toMatchObject({ rows: 100, poisoned: 0 });
  expect((await reevaluate(folder, { device: 'cpu' })).same).toBe(true);

  const stored = await runExperiment({ ...options, folder: await madeFolder(), poisoning: 'stored', defenses: [] });
  expect(stored.card.config.poisoning).toBeUndefined();
  const victim = ({ card: { files } }: { readonly card: typeof card }) =>
    files.find(({ path }) => path === 'victim.safetensors')?.sha256;
  expect(victim(stored)).not.toBe(victim({ card }));

  const rare = runExperiment({ ...options, poison: { ...options.poison, rate: 0.02 }, folder: await madeFolder() });
  await expect(rare).rejects.toThrow(/train\.batchSize: at poison rate 0\.02 expected at least 50/);
});
