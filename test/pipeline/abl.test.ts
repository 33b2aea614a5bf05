import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  defendByMethod,
  evaluate,
  type MethodResult,
  Model,
  type PoisonedSet,
  planMethod,
  poison,
} from '../../src/index.js';
import { loadAddon } from '../../src/native/load.js';
import { stripes } from './made.js';

/** What each part was trained on and how, in order; the training itself is the real one. */
const parts = vi.hoisted(() => [] as { labels: number[]; settings: object; run: object }[]);
vi.mock('../../src/defenses/methods/fine-tune-whole.js', async (original) => {
  const real = await original<typeof import('../../src/defenses/methods/fine-tune-whole.js')>();
  const fineTuneWhole: typeof real.fineTuneWhole = (model, data, settings, run) => {
    parts.push({ labels: [...data.labels()], settings, run });
    return real.fineTuneWhole(model, data, settings, run);
  };
  return { ...real, fineTuneWhole };
});

/** Faint stripes under much noise and a large patch on them: here, as on photographs, what is planted is learnt first. */
const FAINT = { heights: [12, 12], noise: 70 } as const;
const QUICK = {
  isolationEpochs: 6,
  isolationLearningRate: 0.02,
  isolationShare: 0.03,
  epochs: 6,
  learningRate: 0.05,
  batchSize: 32,
  cropPadding: 0,
};
const PATIENCE = 15 * 60_000;

/** What the method says of itself. */
interface Told {
  readonly isolated: readonly number[];
  readonly unlearning: Record<'first' | 'last', { readonly loss: number }>;
}

let set: PoisonedSet;
let victim: Model;

beforeAll(async () => {
  loadAddon().setThreads(1);
  const pair = stripes(2000, 400, FAINT);
  set = await poison(
    pair,
    { attack: 'badnets', rate: 0.1, target: 0, attackOptions: { patchSize: 10 } },
    { device: 'cpu' },
  );
  // Only its shape is taken.
  victim = Model.create({ classes: 4, width: 8, mean: pair.mean, std: pair.std, device: 'cpu', seed: 3 });
}, PATIENCE);

afterAll(() => {
  for (const handle of [victim, set]) handle.dispose();
});

function run(options: object, seed = 0): Promise<MethodResult> {
  const request = { victim, training: set.train, clean: null, flip: false, seed };
  return defendByMethod(planMethod('abl', { ...QUICK, ...options }), request, { precision: 'fp32' });
}

describe('abl', () => {
  test(
    'isolates rows that are mostly planted, and climbing them takes the backdoor out',
    async () => {
      const steps: (readonly [number, number])[] = [];
      const planted = new Set(set.truth.poisoned);
      const learnt = await run({ unlearningEpochs: 1, unlearningLearningRate: 0 });
      using before = learnt.model;
      const request = { victim, training: set.train, clean: null, flip: false, seed: 0 };
      const { model, given, said, details } = await defendByMethod(
        planMethod('abl', { ...QUICK, unlearningEpochs: 10, unlearningLearningRate: 2e-3 }),
        request,
        { precision: 'fp32', onProgress: (...step) => steps.push(step) },
      );
      using after = model;
      const { isolated, unlearning } = details as unknown as Told;
      // 48 on the machine this was written on, and 44 and 45 by seeds 1 and 2; by chance it were 6, a tenth of the rows.
      expect(isolated).toHaveLength(60);
      expect(isolated.filter((row) => planted.has(row)).length).toBeGreaterThan(25);
      // ASR from 100 to 0 % and ACC from 98 to 64 % there; by seed 1 to 23 and from 98 to 60 %, by seed 2 to 0 and from
      // 74 to 49 %.
      const [was, is] = [await evaluate(before, set), await evaluate(after, set)];
      expect(was.asr).toBeGreaterThan(0.8);
      expect(was.acc).toBeGreaterThan(0.6);
      expect(is.asr).toBeLessThan((was.asr ?? 0) - 0.5);
      expect(is.acc).toBeGreaterThan(0.35);
      // From 0.13 to 8.5; by the other two from 0.02 to 0.31 and from 0.94 to 18.
      expect(unlearning.last.loss).toBeGreaterThan(4 * unlearning.first.loss);
      expect(given).toEqual({ victim: 'shape', training: 2000, clean: null });
      expect(said).toContain('the 60 rows learnt first isolated, and unlearnt for 10');
      expect(steps).toEqual(Array.from({ length: 22 }, (_, i) => [i + 1, 22]));
    },
    PATIENCE,
  );

  test('the same seed trains the same network, whatever the victim learnt', async () => {
    const tiny = { isolationEpochs: 1, epochs: 1, unlearningEpochs: 1 };
    const bytes = async (seed: number) => {
      const { model } = await run(tiny, seed);
      using _ = model;
      return (await model.state()).map(({ name, data }) => `${name} ${Buffer.from(data).toString('base64')}`);
    };
    const first = await bytes(1);
    const weights = await victim.state();
    await victim.loadState(weights.map((entry) => ({ ...entry, data: new Uint8Array(entry.data.length) })));
    const blank = await bytes(1).finally(() => victim.loadState(weights));
    expect(blank).toEqual(first);
    expect(await bytes(2)).not.toEqual(first);
  });

  test('isolates and climbs on images as they are, and learns from the others in between', async () => {
    parts.length = 0;
    const options = { isolationEpochs: 1, epochs: 1, unlearningEpochs: 1, cropPadding: 2, isolationShare: 0.1 };
    const planned = planMethod('abl', { ...QUICK, ...options });
    const request = { victim, training: set.train, clean: null, flip: true, seed: 0 };
    const { model, details } = await defendByMethod(planned, request, { precision: 'fp32' });
    model.dispose();
    const labels = [...set.train.labels()];
    const isolated = new Set((details as unknown as Told).isolated);
    const labelsOf = (inside: boolean) => labels.filter((_, row) => isolated.has(row) === inside).sort();
    expect(isolated.size).toBe(200);
    expect(parts.map((part) => [...part.labels].sort())).toEqual([[...labels].sort(), labelsOf(false), labelsOf(true)]);
    const plain = { settings: { cropPadding: 0 }, run: { flip: false, schedule: 'constant' } };
    expect(parts).toMatchObject([
      { ...plain, run: { ...plain.run, objective: { ascentBelow: 0.5 } } },
      { settings: { cropPadding: 2, learningRate: 0.05 }, run: { flip: true } },
      { ...plain, run: { ...plain.run, objective: { ascentBelow: 1e300 } } },
    ]);
    expect(parts[1]?.run).not.toHaveProperty('objective');
  });

  test('local gradient ascent keeps the loss up while rows are isolated', async () => {
    const isolation = async (ascentBelow: number) => {
      const { model, details } = await run({ ascentBelow, isolationEpochs: 3, epochs: 1, unlearningEpochs: 1 });
      model.dispose();
      return (details as { readonly isolation: { readonly loss: number } }).isolation.loss;
    };
    // Where no batch may fall below 1.2, none ends far below it.
    expect(await isolation(1.2)).toBeGreaterThan(1);
    expect(await isolation(0)).toBeLessThan(0.9);
  });

  test('a share that isolates nothing, or leaves nothing, is refused', async () => {
    for (const isolationShare of [0.0001, 0.9999]) {
      await expect(run({ isolationShare })).rejects.toMatchObject({
        code: 'ERR_OPTION',
        message: expect.stringContaining('abl.isolationShare: expected a share of the 2000 rows'),
      });
    }
  });

  test('a rate at which a part diverges is named as the option it is', async () => {
    const tiny = { isolationEpochs: 1, epochs: 1, unlearningEpochs: 1 };
    await expect(run({ ...tiny, learningRate: 1e6 })).rejects.toMatchObject({
      code: 'ERR_NUMERIC',
      message: expect.stringContaining('lower abl.learningRate (it is 1e+06'),
    });
  });
});
