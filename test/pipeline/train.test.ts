import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { loadDatasetPair, Model, poison, train } from '../../src/index.js';

const SETTINGS = { width: 8, epochs: 1, batchSize: 20, cropPadding: 0 };

async function madeSet() {
  const pair = await loadDatasetPair('synthetic', { classes: 4, train: 40, test: 20 });
  return poison(pair, { rate: 0 }, { device: 'cpu' });
}

afterEach(() => vi.restoreAllMocks());

test('a precision that the device lacks is refused before there is a model', async () => {
  using set = await madeSet();
  const create = vi.spyOn(Model, 'create');
  await expect(train(set.train, set, { ...SETTINGS, precision: 'tf32' })).rejects.toMatchObject({
    code: 'ERR_OPTION',
    message: 'precision: expected auto, fp32 or bf16 on the CPU, got "tf32"',
  });
  expect(create).not.toHaveBeenCalled();
});

test('a model is freed when its trainer cannot be made', async () => {
  using set = await madeSet();
  const dispose = vi.fn();
  const broken = {
    dispose,
    get native(): never {
      throw new Error('no trainer');
    },
  };
  vi.spyOn(Model, 'create').mockReturnValue(broken as unknown as Model);
  await expect(train(set.train, set, SETTINGS)).rejects.toThrow('no trainer');
  expect(dispose).toHaveBeenCalledOnce();
});

test('a training goes on from its checkpoint, and not from that of another set', async () => {
  using set = await madeSet();
  const folder = await mkdtemp(join(tmpdir(), 'pad-ft-train-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const checkpoint = join(folder, 'checkpoint.safetensors');
  using first = (await train(set.train, set, SETTINGS, { checkpoint })).model;
  using second = (await train(set.train, set, SETTINGS, { checkpoint, resume: true })).model;
  expect(await second.state()).toEqual(await first.state());
  using subset = await set.train.subset(Uint32Array.from({ length: 39 }, (_, row) => row));
  await expect(train(subset, set, SETTINGS, { checkpoint, resume: true })).rejects.toMatchObject({
    code: 'ERR_MODEL',
    details: { changed: ['the training set'] },
  });
  const longer = { ...SETTINGS, epochs: SETTINGS.epochs + 1 };
  await expect(train(set.train, set, longer, { checkpoint, resume: true })).rejects.toMatchObject({
    code: 'ERR_MODEL',
    message: expect.stringContaining(`something else (epochs ${SETTINGS.epochs}, not ${longer.epochs}); use the same`),
    details: { changed: ['epochs'] },
  });
});
