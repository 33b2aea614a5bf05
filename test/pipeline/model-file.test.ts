import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Dataset } from '../../src/dataset.js';
import { loadDatasetPair } from '../../src/datasets/index.js';
import { readSafetensors, type SafetensorsEntry, writeSafetensors } from '../../src/formats/safetensors.js';
import { Model } from '../../src/model.js';
import { loadModel, saveModel } from '../../src/model-file.js';
import { overruledWarning } from '../../src/model-fit.js';
import { poison } from '../../src/poisoned-set.js';
import { loadTrainingData, savePoisonedSet } from '../../src/poisoned-set-file.js';
import { train } from '../../src/train.js';
import { madeFolder } from './made.js';

const device = 'cpu';
const MEAN = [0.5, 0.5, 0.5];
const STD = [0.2, 0.2, 0.2];

/** Writes a model file that differs from a good one in its metadata or its tensors. */
async function changedModel(
  change: Readonly<Record<string, string>>,
  map: (entry: SafetensorsEntry) => SafetensorsEntry = (entry) => entry,
): Promise<string> {
  const path = join(await madeFolder(), 'model.safetensors');
  using model = Model.create({ classes: 3, width: 4, mean: MEAN, std: STD, device });
  const bounds = new Float32Array(model.siteChannels).fill(1);
  model.bounds = { max: bounds, mean: null };
  await saveModel(model, path);
  const { tensors, metadata } = await readSafetensors(path);
  const entries = Array.from(tensors, ([name, tensor]) => map({ name, ...tensor }));
  await writeSafetensors(path, entries, { ...Object.fromEntries(metadata), ...change });
  return path;
}

function filled(name: string, value: number): (entry: SafetensorsEntry) => SafetensorsEntry {
  return (entry) => {
    if (entry.name !== name) return entry;
    const values = new Float32Array(entry.data.byteLength / 4).fill(value);
    return { ...entry, data: new Uint8Array(values.buffer) };
  };
}

test.each([
  ['pad-ft.mean', '"abc"', /pad-ft\.mean: expected an array/],
  ['pad-ft.mean', 'abc', /pad-ft\.mean: expected JSON/],
  ['pad-ft.mean', 'null', /pad-ft\.mean: expected an array/],
  ['pad-ft.mean', '{}', /pad-ft\.mean: expected an array/],
  ['pad-ft.mean', '[0.5]', /pad-ft\.mean: expected one number for each of the 3/],
  ['pad-ft.mean', '[0.5,null,0.5]', /pad-ft\.mean\[1\]: expected a finite number/],
  ['pad-ft.std', '[0,0,0]', /pad-ft\.std\[0\]: expected a number > 0/],
])('metadata %s: %s is refused with the file', async (key, value, told) => {
  const path = await changedModel({ [key]: value });
  const error = await loadModel(path, { device }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: 'ERR_FILE_FORMAT', message: expect.stringMatching(told), details: { path } });
  expect(error).toMatchObject({ message: expect.stringContaining(path) });
});

test('a small file that speaks of a large network is refused before one is made', async () => {
  const path = join(await madeFolder(), 'model.safetensors');
  const width = 4096;
  const first = new Uint8Array(width * 27 * 4);
  const entries: SafetensorsEntry[] = [
    { name: 'conv1.weight', dtype: 'F32', shape: [width, 3, 3, 3], data: first },
    { name: 'linear.weight', dtype: 'F32', shape: [65_536, 0], data: new Uint8Array(0) },
  ];
  await writeSafetensors(path, entries);
  const error = await loadModel(path, { device, mean: MEAN, std: STD }).catch((reason: unknown) => reason);
  const told = 'a preact-resnet18 of that width more than 45701136384 weights; the file holds 110592';
  expect(error).toMatchObject({ code: 'ERR_MODEL', message: expect.stringContaining(told), details: { path, width } });
});

test('the names of a wrapped network are told from those of another', async () => {
  const path = await changedModel({}, (entry) => ({ ...entry, name: `module.${entry.name}` }));
  const told = `${path}: no tensor conv1.weight: the names begin with module. (as DataParallel and wrapping modules`;
  await expect(loadModel(path, { device })).rejects.toMatchObject({
    ...{ code: 'ERR_MODEL', message: expect.stringContaining(told) },
  });
});

test('an unknown architecture and wrong bounds are refused with the file', async () => {
  const bound = 'clip.layer1.0.relu1.max';
  const cases: readonly [path: string, told: RegExp][] = [
    [await changedModel({ 'pad-ft.model': 'vgg' }), /pad-ft\.model: expected one of preact-resnet18, got "vgg"/],
    [await changedModel({}, filled(bound, -1)), /expected bounds/],
    [await changedModel({}, filled(bound, Number.NaN)), /expected bounds/],
    [
      await changedModel({}, (entry) =>
        entry.name === bound ? { ...entry, dtype: 'I64', shape: [entry.data.byteLength / 8] } : entry,
      ),
      /clip\.layer1\.0\.relu1\.max: expected F32, got I64/,
    ],
  ];
  for (const [path, told] of cases) {
    const error = await loadModel(path, { device }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'ERR_MODEL', message: expect.stringMatching(told), details: { path } });
    expect(error).toMatchObject({ message: expect.stringMatching(`^${path}: `) });
  }
  // What the caller states is the caller's mistake.
  for (const [given, told] of [
    [
      { std: [0, 0, 0] },
      'std: expected 3 numbers in (0, 1], one for each input channel, of pixels in [0, 1], got 0, 0, 0',
    ],
    [{ mean: [0.5, 0.5] }, 'mean: expected 3 numbers in [0, 1]'],
    [{ mean: [125, 122, 113] }, 'mean: expected 3 numbers in [0, 1]'],
  ] as const) {
    await expect(loadModel(await changedModel({}), { device, ...given })).rejects.toMatchObject({
      code: 'ERR_OPTION',
      message: expect.stringContaining(told),
    });
  }
});

test('weights that are no numbers load, and are named', async () => {
  const good = await loadModel(await changedModel({}), { device });
  expect(good.nonFinite).toEqual([]);
  for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
    const { model, nonFinite } = await loadModel(await changedModel({}, filled('linear.bias', value)), { device });
    expect(nonFinite).toEqual(['linear.bias']);
    model.dispose();
  }
  good.model.dispose();
});

test('mean and std that go before those of the file are handed back with what it stated', async () => {
  const read = async (path: string, options: object) => {
    const { model, overruled } = await loadModel(path, { device, ...options });
    const { mean } = model;
    model.dispose();
    return { mean, overruled };
  };
  const path = await changedModel({});
  const own = await read(path, {});
  expect(own.overruled).toEqual(new Map());
  expect(overruledWarning(path, own.overruled)).toBeNull();
  const other = await read(path, { mean: [0.1, 0.2, 0.3] });
  expect(other.mean).toEqual([0.1, 0.2, 0.3]);
  expect(other.overruled).toEqual(new Map([['mean', own.mean]]));
  expect(overruledWarning(path, other.overruled)).toBe(
    `${path} was saved with mean ${own.mean.join(',')}; what was given instead is used, so the model sees its input otherwise than in training: leave mean out unless that is meant`,
  );
  // The same numbers are no other ones, however they are spaced; what cannot be read states nothing.
  const spaced = await changedModel({ 'pad-ft.mean': `[ ${own.mean.join(', ')} ]` });
  expect((await read(spaced, { mean: own.mean })).overruled).toEqual(new Map());
  const damaged = await changedModel({ 'pad-ft.mean': '[0.1,' });
  expect((await read(damaged, { mean: own.mean })).overruled).toEqual(new Map());
});

test('a checkpoint that is none is refused with the file', async () => {
  const pair = await loadDatasetPair('synthetic', { classes: 3, train: 32, test: 8 });
  using data = Dataset.from(pair.train, device);
  const settings = { width: 4, epochs: 2, batchSize: 16, precision: 'fp32' as const };
  const checkpoint = join(await madeFolder(), 'checkpoint.safetensors');
  const run = (epochs: number) => train(data, pair, { ...settings, epochs }, { checkpoint, resume: true });
  (await run(2)).model.dispose();
  const { tensors, metadata } = await readSafetensors(checkpoint);
  const entries = Array.from(tensors, ([name, tensor]): SafetensorsEntry => ({ name, ...tensor }));
  const rewrite = (text: string, kept = entries) =>
    writeSafetensors(checkpoint, kept, { ...Object.fromEntries(metadata), 'pad-ft.train': text });
  const saved = metadata.get('pad-ft.train') ?? '';

  for (const [text, told] of [
    ['abc', 'pad-ft.train: expected JSON'],
    ['null', 'pad-ft.train: expected an object'],
    ['{}', 'pad-ft.train.settings: expected an object'],
    [JSON.stringify({ ...JSON.parse(saved), history: [{}] }), 'pad-ft.train.history[0].epoch: expected an integer'],
  ] as const) {
    await rewrite(text);
    const message = expect.stringContaining(`${checkpoint}: ${told}`);
    await expect(run(2), text).rejects.toMatchObject({ code: 'ERR_FILE_FORMAT', message });
  }
  const momentum = (entry: SafetensorsEntry) => entry.name === 'trainer.momentum';
  await rewrite(
    saved,
    entries.map((entry) => (momentum(entry) ? { ...entry, shape: [1], data: entry.data.slice(0, 4) } : entry)),
  );
  await expect(run(2)).rejects.toMatchObject({ code: 'ERR_MODEL', message: expect.stringContaining(checkpoint) });

  // Untouched it resumes: there is nothing left to train.
  await rewrite(saved);
  const again = await run(2);
  expect(again.history).toHaveLength(2);
  again.model.dispose();
});

test('a manifest with numbers that no network can use is refused with its path', async () => {
  const folder = await madeFolder();
  const path = join(folder, 'manifest.json');
  const pair = await loadDatasetPair('synthetic', { classes: 3, train: 32, test: 8 });
  using set = await poison(pair, { rate: 0.2 }, { device });
  await savePoisonedSet(set, folder);
  const good = await readFile(path, 'utf8');
  for (const [change, told] of [
    [{ std: [0, 0, 0] }, 'dataset.std[0]: expected a number > 0'],
    [{ std: [0.2] }, 'dataset.std: expected as many numbers as mean has (3)'],
    [{ mean: [0.5], std: [0.2] }, 'dataset.mean: expected a number for each of the 3 channels'],
    [{ classNames: [] }, 'dataset.classNames: expected at least two names'],
  ] as const) {
    const manifest = JSON.parse(good) as { dataset: object };
    await writeFile(path, JSON.stringify({ ...manifest, dataset: { ...manifest.dataset, ...change } }));
    const message = expect.stringContaining(`${path}: ${told}`);
    await expect(loadTrainingData(folder, { device })).rejects.toMatchObject({ code: 'ERR_FILE_FORMAT', message });
  }
  const manifest = JSON.parse(good) as { dataset: object };
  await writeFile(path, JSON.stringify({ ...manifest, dataset: { ...manifest.dataset, classNames: ['a', 'b'] } }));
  await expect(loadTrainingData(folder, { device })).rejects.toMatchObject({
    code: 'ERR_DATA',
    message: expect.stringMatching(
      /train\.safetensors: expected labels from 0 to 1, as many as manifest\.json has dataset\.classNames, got 2 in row \d+$/,
    ),
  });
});

/** A folder as one makes it from Python. */
async function ownFolder(entries: readonly SafetensorsEntry[]): Promise<string> {
  const folder = await madeFolder();
  const { bytes, sha256 } = await writeSafetensors(join(folder, 'train.safetensors'), entries);
  const about = { classNames: ['a', 'b'], mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2], flip: true, provenance: {} };
  const files = [{ path: 'train.safetensors', bytes, sha256 }];
  const manifest = {
    kind: 'pad-ft-poisoned-set',
    version: 1,
    tool: 'numpy',
    dataset: { name: 'mine', ...about },
    files,
  };
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
  return folder;
}

const LABELS: SafetensorsEntry = {
  ...{ name: 'labels', dtype: 'I32', shape: [4] },
  data: new Uint8Array(new Int32Array([0, 1, 0, 1]).buffer),
};

test('images with their channels last are refused, with how to turn them', async () => {
  const images = new Uint8Array(4 * 32 * 32 * 3);
  const folder = await ownFolder([{ name: 'images', dtype: 'U8', shape: [4, 32, 32, 3], data: images }, LABELS]);
  await expect(loadTrainingData(folder, { device })).rejects.toMatchObject({
    code: 'ERR_FILE_FORMAT',
    message:
      `${join(folder, 'train.safetensors')}: images: expected rows × 3 channels × height × width, got 4 × 32 × 32 × 3: these ` +
      'have their channels last; from numpy, save np.ascontiguousarray(images.transpose(0, 3, 1, 2))',
  });
});

test('images and labels of other types are refused, with what to save', async () => {
  const pixels = { name: 'images', shape: [4, 3, 8, 8] };
  const whole: SafetensorsEntry = { ...pixels, dtype: 'U8', data: new Uint8Array(4 * 192) };
  const long: SafetensorsEntry = { name: 'labels', dtype: 'I64', shape: [4], data: new Uint8Array(32) };
  const labels = await ownFolder([whole, long]);
  await expect(loadTrainingData(labels, { device })).rejects.toThrow(
    /got .*; from numpy, labels\.astype\(np\.int32\)$/,
  );
  const floats: SafetensorsEntry = { ...pixels, dtype: 'F32', data: new Uint8Array(4 * 4 * 192) };
  const images = await ownFolder([floats, LABELS]);
  await expect(loadTrainingData(images, { device })).rejects.toThrow(/got .*; pixels are whole numbers from 0 to 255/);
});

test('a folder that is not there is told from one without a manifest', async () => {
  const folder = await ownFolder([LABELS]);
  await rm(join(folder, 'manifest.json'));
  await expect(loadTrainingData(folder, { device })).rejects.toThrow(
    /manifest\.json: .*train\.safetensors is there; a set/,
  );
  await rm(join(folder, 'train.safetensors'));
  await expect(loadTrainingData(folder, { device })).rejects.toThrow(/pad-ft poison --dataset NAME --out FOLDER/);
  const none = loadTrainingData(join(folder, 'none'), { device });
  await expect(none).rejects.toThrow(/none: it does not exist \(ENOENT\); name the folder of a training set, /);
});

test('files that the manifest does not name are not the ground truth', async () => {
  const folder = await madeFolder();
  const path = join(folder, 'manifest.json');
  const pair = await loadDatasetPair('synthetic', { classes: 3, train: 32, test: 8 });
  using set = await poison(pair, { rate: 0.2 }, { device });
  await savePoisonedSet(set, folder);
  const manifest = JSON.parse(await readFile(path, 'utf8')) as { files: { path: string }[] };
  const files = manifest.files.filter((file) => file.path === 'train.safetensors');
  await writeFile(path, JSON.stringify({ ...manifest, files }));
  using stray = await loadTrainingData(folder, { device });
  expect(stray.judged).toBe(false);

  // Named and not there: the folder was given away without it.
  await writeFile(path, JSON.stringify(manifest));
  await mkdir(join(folder, 'kept'));
  await rename(join(folder, 'truth.safetensors'), join(folder, 'kept', 'truth.safetensors'));
  using without = await loadTrainingData(folder, { device });
  expect(without.judged).toBe(false);
});
