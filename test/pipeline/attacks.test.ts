import { expect, test } from 'vitest';
import { type ExperimentOptions, runExperiment } from '../../src/experiment.js';
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
