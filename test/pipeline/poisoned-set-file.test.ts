import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Dataset } from '../../src/dataset.js';
import { type DatasetPair, loadDatasetPair } from '../../src/datasets/index.js';
import { type PoisonedSet, poison } from '../../src/poisoned-set.js';
import { loadPoisonedSet, loadTrainingData, savePoisonedSet, saveTrainingData } from '../../src/poisoned-set-file.js';
import { madeFolder } from './made.js';

const device = 'cpu';

function madePair(): Promise<DatasetPair> {
  return loadDatasetPair('synthetic', { classes: 4, train: 40, test: 20 });
}

function pixels(data: Dataset | null): Uint8Array | null {
  return data === null ? null : data.images(Uint32Array.from({ length: data.count }, (_, row) => row));
}

function contents(set: PoisonedSet) {
  const { train, test, triggered, truth, policy, manifest, name, classNames, mean, std, flip } = set;
  const data = [train, test, triggered].map(
    (one) => one && { pixels: pixels(one), labels: one.labels(), shape: one.shape },
  );
  return { data, truth, policy, manifest, name, classNames, mean, std, flip };
}

test.each([
  ['badnets, all-to-one', { attack: 'badnets', rate: 0.25, target: 2 }],
  ['badnets, all-to-all', { attack: 'badnets', rate: 0.25, policy: 'all-to-all' }],
  ['blended', { attack: 'blended', rate: 0.2, target: 1 }],
  ['sig', { attack: 'sig', rate: 0.2, target: 1 }],
  ['wanet', { attack: 'wanet', rate: 0.1, target: 1 }],
  ['not poisoned', { rate: 0 }],
] as const)('%s: saved and loaded, everything is the same', async (_, settings) => {
  const folder = join(await madeFolder(), 'new', 'set');
  using set = await poison(await madePair(), { ...settings, seed: 5 }, { device });
  await savePoisonedSet(set, folder);
  using loaded = await loadPoisonedSet(folder, { device });
  expect(contents(loaded)).toEqual(contents(set));
});

test('a folder without ground truth is a training set', async () => {
  const folder = await madeFolder();
  using set = await poison(await madePair(), {}, { device });
  await savePoisonedSet(set, folder);
  using whole = await loadTrainingData(folder, { device });
  expect(whole.judged).toBe(true);
  expect(JSON.stringify(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')))).not.toContain('badnets');

  await rm(join(folder, 'truth.safetensors'));
  await rm(join(folder, 'test.safetensors'));
  using data = await loadTrainingData(folder, { device });
  expect(data.judged).toBe(false);
  expect(data.classNames).toEqual(set.classNames);
  expect(pixels(data.train)).toEqual(pixels(set.train));
  expect(data.train.labels()).toEqual(set.train.labels());
  await expect(loadPoisonedSet(folder, { device })).rejects.toMatchObject({ code: 'ERR_FILE_MISSING' });
});

test('a training set of one’s own is saved and loaded, and what does not fit is refused', async () => {
  const folder = join(await madeFolder(), 'mine');
  using set = await poison(await madePair(), {}, { device });
  const { mean, std, classNames } = set;
  const about = { name: 'mine', classNames, mean, std, flip: false };
  await saveTrainingData(folder, set.train, about);
  using data = await loadTrainingData(folder, { device });
  expect(data).toMatchObject({ ...about, judged: false, provenance: {} });
  expect(pixels(data.train)).toEqual(pixels(set.train));
  expect(data.train.labels()).toEqual(set.train.labels());
  await expect(loadPoisonedSet(folder, { device })).rejects.toMatchObject({
    code: 'ERR_FILE_FORMAT',
    message: expect.stringContaining('go into a folder of their own, as train.safetensors'),
  });
  for (const wrong of [{ classNames: ['one'] }, { mean: [0.5] }, { std: [0.5] }])
    await expect(saveTrainingData(folder, set.train, { ...about, ...wrong })).rejects.toMatchObject({
      code: 'ERR_DATA',
    });
});

test('changed, mixed up and broken folders are refused', async () => {
  const folder = await madeFolder();
  const other = await madeFolder();
  const pair = await madePair();
  using set = await poison(pair, { rate: 0.2 }, { device });
  using second = await poison(pair, { rate: 0.2, seed: 1 }, { device });
  await savePoisonedSet(set, folder);
  await savePoisonedSet(second, other);

  const manifest = await readFile(join(folder, 'manifest.json'), 'utf8');
  const truth = await readFile(join(folder, 'truth.safetensors'));
  const foreign = await readFile(join(other, 'truth.safetensors'));
  await writeFile(join(folder, 'truth.safetensors'), foreign);
  await expect(loadPoisonedSet(folder, { device })).rejects.toMatchObject({ code: 'ERR_CHECKSUM' });

  // Even when the manifest was made to fit, the truth must belong to these labels.
  const hashOf = (json: string) =>
    JSON.parse(json).files.find((file: { path: string }) => file.path === 'truth.safetensors').sha256;
  const forged = manifest.replace(hashOf(manifest), hashOf(await readFile(join(other, 'manifest.json'), 'utf8')));
  await writeFile(join(folder, 'manifest.json'), forged);
  await expect(loadPoisonedSet(folder, { device })).rejects.toThrow(/other training labels/);
  await writeFile(join(folder, 'truth.safetensors'), truth);

  await writeFile(join(folder, 'manifest.json'), manifest.replace('"version": 1', '"version": 9'));
  await expect(loadPoisonedSet(folder, { device })).rejects.toThrow(
    /manifest\.json: version: expected one of 1, got 9/,
  );
  await writeFile(join(folder, 'manifest.json'), '{');
  await expect(loadTrainingData(folder, { device })).rejects.toMatchObject({ code: 'ERR_FILE_FORMAT' });
  await expect(loadTrainingData(join(folder, 'none'), { device })).rejects.toMatchObject({ code: 'ERR_FILE_MISSING' });

  await writeFile(join(folder, 'manifest.json'), manifest);
  const train = await readFile(join(folder, 'train.safetensors'));
  train[train.length - 1] = (train.at(-1) ?? 0) ^ 255;
  await writeFile(join(folder, 'train.safetensors'), train);
  await expect(loadTrainingData(folder, { device })).rejects.toMatchObject({ code: 'ERR_CHECKSUM' });
});
