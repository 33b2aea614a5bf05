import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { ExperimentOptions } from '../../src/experiment.js';

/** A folder that is gone after the test. */
export async function madeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pad-ft-test-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Everything a run does, in seconds: the figures mean nothing, the path does. In float32, so every machine trains alike. */
export function tinyExperiment(folder: string): ExperimentOptions {
  const small = {
    always: true,
    holdout: 40,
    purify: { count: 100, rowsPerLabel: 20 },
    clip: { steps: 20, batchSize: 50 },
    tune: { epochs: 3, batchSize: 50 },
  };
  return {
    dataset: 'synthetic',
    datasetOptions: { classes: 4, train: 600, test: 120 },
    poison: { rate: 0.1, target: 1 },
    train: {
      width: 8,
      epochs: 6,
      batchSize: 32,
      learningRate: 0.05,
      schedule: 'triangular',
      cropPadding: 0,
      precision: 'fp32',
    },
    defenses: [
      { name: 'default', options: small },
      { name: 'paper', options: { ...small, preset: 'paper' } },
    ],
    folder,
    device: 'cpu',
    seed: 3,
  };
}
