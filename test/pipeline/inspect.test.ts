import { expect, test } from 'vitest';
import { inspect } from '../../src/defenses/mm-bd/inspect.js';
import { Model } from '../../src/model.js';

const QUICK = { images: 4, imageSize: 16, steps: 20, learningRate: 0.05 };
const CLASSES = 8;

function fresh(classes = CLASSES): Model {
  return Model.create({ classes, width: 8, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], seed: 3, device: 'cpu' });
}

/** A network in which some image drives one class far above all others, as a backdoor would. */
async function withLoudClass(label: number): Promise<Model> {
  const model = fresh();
  const state = await model.state();
  const bias = state.find(({ name }) => name === 'linear.bias')?.data as Uint8Array;
  new Float32Array(bias.buffer, bias.byteOffset, CLASSES)[label] = 5;
  await model.loadState(state);
  return model;
}

test('a class that can be driven far above the others is named, and a plain network is not accused', async () => {
  using plain = fresh();
  const clean = await inspect(plain, QUICK);
  expect(clean).toMatchObject({ target: null, text: expect.stringContaining('no evidence of a backdoor') });
  expect(clean.labels.map(({ label }) => label)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);

  using loud = await withLoudClass(5);
  const found = await inspect(loud, QUICK);
  expect(found.target).toBe(5);
  expect(found.pValue).toBeLessThan(0.01);
  expect(found.text).toContain('target label 5');
  // Its images were climbed: further in more steps.
  const short = await inspect(loud, { ...QUICK, steps: 1 });
  for (const [i, { margin }] of short.labels.entries()) expect(found.labels[i]?.margin).toBeGreaterThan(margin);
  // The same seed, the same figures; another seed, other images.
  expect(await inspect(loud, QUICK)).toEqual(found);
  expect((await inspect(loud, { ...QUICK, seed: 1 })).labels).not.toEqual(found.labels);
});

test('progress is told in classes, and a raised signal stops it', async () => {
  using model = fresh();
  const seen: number[] = [];
  await inspect(model, QUICK, { onProgress: (done, total) => seen.push(done, total) });
  expect(seen.slice(-2)).toEqual([CLASSES, CLASSES]);
  const stop = new AbortController();
  const running = inspect(model, { ...QUICK, steps: 100_000, tolerance: 0 }, { signal: stop.signal });
  stop.abort();
  await expect(running).rejects.toMatchObject({ code: 'ERR_ABORTED' });
});

test('wrong use is refused', async () => {
  using few = fresh(3);
  await expect(inspect(few, QUICK)).rejects.toMatchObject({
    code: 'ERR_MODEL',
    message: expect.stringContaining('at least 4 classes; this one has 3'),
  });
  await expect(inspect(few, { steps: 0 })).rejects.toMatchObject({ code: 'ERR_OPTION' });
});
