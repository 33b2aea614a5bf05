import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { readAddonRecord } from '../../scripts/lib/addon-record.mjs';
import { PROJECT_ROOT } from '../../scripts/lib/find-libtorch.mjs';
import { Dataset } from '../../src/dataset.js';
import { loadDatasetPair } from '../../src/datasets/index.js';
import { Model } from '../../src/model.js';
import { train } from '../../src/train.js';

/** Lateness, in ms, of a 10 ms timer while `work` runs. A blocked loop is late by as long as it was blocked. */
async function latenessDuring(work: Promise<unknown>): Promise<number[]> {
  const late: number[] = [];
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    late.push(Math.max(0, now - last - 10));
    last = now;
  }, 10);
  try {
    await work;
  } finally {
    clearInterval(timer);
  }
  return late.sort((a, b) => a - b);
}

const share = (sorted: readonly number[], part: number) => sorted[Math.floor(part * (sorted.length - 1))] ?? 0;

test('training leaves the event loop free', async () => {
  const pair = await loadDatasetPair('synthetic', { classes: 4, train: 600, test: 40 });
  using data = Dataset.from(pair.train, 'cpu');
  const settings = { width: 16, epochs: 1, batchSize: 32, cropPadding: 0, schedule: 'constant' } as const;
  const start = performance.now();
  const training = train(data, pair, settings);
  const late = await latenessDuring(training);
  const milliseconds = performance.now() - start;
  (await training).model.dispose();

  expect(milliseconds).toBeGreaterThan(100);
  expect(late.length).toBeGreaterThan(10);
  // The system may give another process our core for a moment: one tick in fifty may be later than the limit.
  expect(share(late, 0.98)).toBeLessThan(50);
  expect(late.at(-1)).toBeLessThan(milliseconds / 2);
});

test('a worker thread that ends leaves the jobs of others alone', async () => {
  const pair = await loadDatasetPair('synthetic', { classes: 4, train: 600, test: 40 });
  using data = Dataset.from(pair.train, 'cpu');
  const settings = { width: 8, epochs: 5, batchSize: 32, cropPadding: 0, schedule: 'constant' } as const;
  let settled = false;
  const training = train(data, pair, settings).finally(() => {
    settled = true;
  });
  // A job of its own behind the training's; its end is what the loader has it do where a thread uses the library.
  const thread = `
    const { parentPort, workerData } = require('node:worker_threads');
    const addon = require(workerData);
    process.once('exit', () => addon.cancelAll());
    const mean = [0.5, 0.5, 0.5];
    const options = { classes: 4, width: 4, inputChannels: 3, mean, std: mean, seed: 0, device: 'cpu' };
    const model = addon.createModel('preact-resnet18', options);
    model.state().promise.catch((error) => parentPort.postMessage(error.code));
    setTimeout(() => process.exit(0), 50);`;
  const worker = new Worker(thread, { eval: true, workerData: readAddonRecord(PROJECT_ROOT)?.addon });
  expect(await once(worker, 'exit')).toEqual([0]);
  expect(settled).toBe(false);
  const { model, history } = await training;
  model.dispose();
  expect(history).toHaveLength(5);
});

test('queued jobs take no thread from the file system', async () => {
  const pair = await loadDatasetPair('synthetic', { classes: 4, train: 600, test: 40 });
  using data = Dataset.from(pair.train, 'cpu');
  const models = [0, 1, 2, 3].map((seed) =>
    Model.create({ classes: 4, width: 16, mean: pair.mean, std: pair.std, seed, device: 'cpu' }),
  );
  // libuv's pool has four threads: as many jobs would starve it if they ran there.
  const jobs = Promise.all(models.map((model) => model.predict(data)));
  let running = true;
  void jobs.finally(() => {
    running = false;
  });
  const waits: number[] = [];
  while (running) {
    const start = performance.now();
    await stat('.');
    waits.push(performance.now() - start);
    await sleep(5);
  }
  for (const predicted of await jobs) expect(predicted).toHaveLength(600);
  for (const model of models) model.dispose();
  waits.sort((a, b) => a - b);
  expect(waits.length).toBeGreaterThan(10);
  expect(share(waits, 0.95)).toBeLessThan(50);
});
