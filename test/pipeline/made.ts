import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { DatasetPair, ImageSet } from '../../src/datasets/image-set.js';
import type { ExperimentOptions } from '../../src/experiment.js';
import { Random } from '../../src/random.js';

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

/** How far the stripes rise above the ground, drawn for each channel, and the noise of a pixel, up and down. */
interface Looks {
  readonly heights: readonly [number, number];
  readonly noise: number;
}

/**
 * Stripes that run in one of four directions, or of as many as asked for, their colours, width and place drawn: crops
 * and colours leave the direction, so a minute of SimCLR learns it. The made pictures of the other tests are told by
 * their shape, in front of a background that is easier to learn without labels than the shape is; that takes far
 * longer.
 */
export function stripes(
  train: number,
  test: number,
  looks: Looks = { heights: [20, 50], noise: 10 },
  classes = 4,
): DatasetPair {
  return {
    name: 'stripes',
    classNames: Array.from({ length: classes }, (_, label) => `${(180 * label) / classes}°`),
    mean: [0.39, 0.39, 0.39],
    std: [0.14, 0.14, 0.14],
    flip: false,
    train: stripedImages(train, 1, looks, classes),
    test: stripedImages(test, 2, looks, classes),
    provenance: {},
  };
}

function stripedImages(count: number, seed: number, { heights, noise }: Looks, classes: number): ImageSet {
  const random = new Random(seed);
  const images = new Uint8Array(count * 3 * 1024);
  const labels = Int32Array.from({ length: count }, (_, row) => row % classes);
  const between = (low: number, high: number) => low + (high - low) * random.uniform();
  for (let row = 0; row < count; row++) {
    const angle = (Math.PI * (row % classes)) / classes;
    const turn = 2 * Math.PI * between(0.12, 0.2);
    const phase = between(0, 2 * Math.PI);
    for (let channel = 0; channel < 3; channel++) {
      const [level, height] = [between(70, 130), between(...heights)];
      for (let pixel = 0; pixel < 1024; pixel++) {
        const along = (pixel % 32) * Math.cos(angle) + Math.floor(pixel / 32) * Math.sin(angle);
        const value = level + height * Math.sin(turn * along + phase) + between(-noise, noise);
        images[(row * 3 + channel) * 1024 + pixel] = value;
      }
    }
  }
  return { images, labels, shape: { count, channels: 3, height: 32, width: 32, classes } };
}
