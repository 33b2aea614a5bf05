import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Dataset, loadDatasetPair, Model, type PoisonedSet, padFt, poison, train } from '../../src/index.js';

let set: PoisonedSet;
let data: Dataset;
let model: Model;
const warnings: Error[] = [];
const note = (warning: Error) => warnings.push(warning);

beforeAll(async () => {
  process.on('warning', note);
  const pair = await loadDatasetPair('synthetic', { classes: 4, train: 600, test: 20 });
  set = await poison(pair, { rate: 0 }, { device: 'cpu' });
  data = set.train;
  model = Model.create({ classes: 4, width: 8, mean: set.mean, std: set.std, device: 'cpu' });
});

afterAll(() => {
  process.off('warning', note);
  model.dispose();
  set.dispose();
});

/** A progress callback that throws whenever it is called, and counts how often that is. */
function throwing(thrown: unknown, before: () => void = () => {}) {
  const callback = () => {
    callback.calls++;
    before();
    throw thrown;
  };
  callback.calls = 0;
  return callback;
}

test.each([new Error('the window was closed'), new RangeError('Array buffer allocation failed'), 'a word', undefined])(
  'what onProgress throws is what the call rejects with: %s',
  async (thrown) => {
    const onProgress = throwing(thrown);
    const outcome = await model.predict(data, { batchSize: 10, onProgress }).then(
      () => 'resolved',
      (error: unknown) => ({ error }),
    );
    expect(outcome).toEqual({ error: thrown });
    if (thrown instanceof Error) expect((outcome as { error: unknown }).error).toBe(thrown);
    // The first one ends it: the callback is not called again, and the handles are free.
    expect(onProgress.calls).toBe(1);
    expect(await model.predict(data)).toHaveLength(600);
  },
);

test('also when the signal was raised too, by the callback itself', async () => {
  const stop = new AbortController();
  const error = new Error('enough');
  const onProgress = throwing(error, () => stop.abort());
  await expect(model.predict(data, { batchSize: 10, onProgress, signal: stop.signal })).rejects.toBe(error);
});

test('a training that is stopped says what it leaves: nothing without a checkpoint', async () => {
  const stop = new AbortController();
  const settings = { width: 8, epochs: 3, batchSize: 10, cropPadding: 0 };
  const stopped = train(data, set, settings, { signal: stop.signal, onEpoch: () => stop.abort() });
  const message = 'training was stopped in epoch 2 of 3; no checkpoint was asked for, so nothing is kept';
  await expect(stopped).rejects.toMatchObject({ code: 'ERR_ABORTED', message });
});

test('also on the way through training and a whole defence', async () => {
  const error = new Error('enough');
  const settings = { width: 8, epochs: 3, batchSize: 10, cropPadding: 0 };
  const onProgress = throwing(error);
  await expect(train(data, set, settings, { onProgress })).rejects.toBe(error);
  expect(onProgress.calls).toBe(1);
  const inDefence = throwing(error);
  await expect(padFt(model, data, {}, { batchSize: 10, onProgress: inDefence })).rejects.toBe(error);
  expect(inDefence.calls).toBe(1);
});

test('and Node has nothing to warn of', async () => {
  await new Promise((resolve) => setImmediate(resolve));
  expect(warnings.map(({ message }) => message)).toEqual([]);
});
