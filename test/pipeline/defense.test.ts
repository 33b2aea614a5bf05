import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Dataset } from '../../src/dataset.js';
import { loadDatasetPair } from '../../src/datasets/index.js';
import { spectralScores } from '../../src/defenses/detectors/spectral-signatures.js';
import { HELD_OUT_SHOWN } from '../../src/defenses/pad-ft/clip.js';
import { costOf } from '../../src/defenses/pad-ft/outcome.js';
import { rankedBySce, scoreRefined } from '../../src/defenses/pad-ft/purify.js';
import {
  type ClipInput,
  type ClipSettings,
  clip,
  fineTune,
  type Model,
  type PadFtOptions,
  type PoisonedSet,
  PRESETS,
  padFt,
  padFtSettings,
  poison,
  purify,
  type Training,
  train,
} from '../../src/index.js';
import { loadAddon } from '../../src/native/load.js';
import { Random, streamSeed } from '../../src/random.js';
import { auroc } from '../../src/statistics.js';

/**
 * The method on one small network that was really backdoored, and on its twin that was not. Small batches and a high
 * rate: 3000 pictures of ten kinds and a patch on 300 of them are learnt in 15 seconds of one thread.
 */
const TRAINING = {
  width: 8,
  epochs: 6,
  batchSize: 32,
  learningRate: 0.05,
  schedule: 'triangular',
  cropPadding: 0,
  flip: false,
} as const;
/** A busy machine takes several times as long. */
const PATIENCE = 15 * 60_000;

const handles: Disposable[] = [];
function keep<T extends Disposable>(handle: T): T {
  handles.push(handle);
  return handle;
}

interface Case {
  readonly set: PoisonedSet;
  readonly training: Training;
  readonly victim: Model;
}

let attacked: Case;
let clean: Case;
/** Of the attacked set: 300 clean rows, 200 other ones, and 100 planted ones, drawn by the ground truth. */
let purified: Dataset;
let heldOut: Dataset;
let suspects: Dataset;

async function makeCase(rate: number): Promise<Case> {
  const pair = await loadDatasetPair('synthetic', { train: 3000, test: 200 });
  const set = keep(await poison(pair, { attack: 'badnets', rate, target: 0 }, { device: 'cpu' }));
  const training = await train(set.train, set, TRAINING);
  return { set, training, victim: keep(training.model) };
}

beforeAll(async () => {
  // The same sums, hence the same networks, whatever the number of processors.
  loadAddon().setThreads(1);
  attacked = await makeCase(0.1);
  clean = await makeCase(0);
  const { train: data, truth } = attacked.set;
  const poisoned = new Set(truth.poisoned);
  const order = Array.from(new Random(1).permutation(data.count)).filter((row) => !poisoned.has(row));
  const planted = truth.poisoned.filter((_, i) => truth.originalLabels[i] !== 0);
  purified = keep(await data.subset(Uint32Array.from(order.slice(0, 300))));
  heldOut = keep(await data.subset(Uint32Array.from(order.slice(300, 500))));
  suspects = keep(await data.subset(planted.slice(0, 100)));
}, PATIENCE);

afterAll(() => {
  for (const handle of handles.reverse()) handle[Symbol.dispose]();
});

/** AUROC of the planted rows among the rows labelled 0 that the victim classifies so; self-labelled poison left out. */
function separation({ set }: Case, found: Awaited<ReturnType<typeof purify>>): number {
  const { poisoned, originalLabels } = set.truth;
  const planted = new Map(Array.from(poisoned, (row, i) => [row, originalLabels[i] !== 0]));
  const labels = set.train.labels();
  const rows = Array.from(labels.keys()).filter(
    (row) => labels[row] === 0 && (found.logOdds[row] as number) > 0 && planted.get(row) !== false,
  );
  const scores = rows.map((row) => found.score[row] as number);
  const value = auroc(
    scores,
    rows.map((row) => planted.has(row)),
  );
  return value ?? Number.NaN;
}

async function bytesOf(model: Model): Promise<Map<string, string>> {
  return new Map((await model.state()).map(({ name, data }) => [name, Buffer.from(data).toString('base64')]));
}

describe('purifiers', () => {
  const find = (options: PadFtOptions['purify'], clipping: PadFtOptions['clip'] = {}) =>
    purify(attacked.victim, attacked.set.train, padFtSettings({ purify: { count: 400, ...options }, clip: clipping }));

  test(
    'cross-label tells planted rows from clean ones, and its verdict names the target and nothing else',
    async () => {
      const found = await find({ purifier: 'cross-label' });
      expect(separation(attacked, found)).toBeGreaterThan(0.95);
      expect(found.verdict.attacked).toEqual([0]);
      expect(found.verdict.text).toMatch(/^label 0: \d+ % of its rows look planted$/);
      const poisoned = new Set(attacked.set.truth.poisoned);
      const right = found.suspects.filter(({ row }) => poisoned.has(row)).length;
      expect(right / found.suspects.length).toBeGreaterThan(0.9);
      expect(found.purified.filter((row) => poisoned.has(row)).length).toBeLessThanOrEqual(4);
    },
    PATIENCE,
  );

  test(
    'clip-drop, which starts from what SCE keeps, ends well above it',
    async () => {
      const sce = separation(attacked, await find({ purifier: 'sce' }));
      const found = separation(
        attacked,
        await find({ purifier: 'clip-drop', rounds: 3 }, { steps: 90, batchSize: 32 }),
      );
      // 0.84 beside 0.06 on the machine this was written on. How far it gets hangs on how tight the bounds happen to end
      // (0.55 after 60 steps a round, 0.62 after 45, 0.61 after 30); that it turns the order round, and by far, does not.
      expect(found).toBeGreaterThan(0.5);
      expect(found - sce).toBeGreaterThan(0.4);
    },
    PATIENCE,
  );

  test(
    'clip-drop fits its bounds to the cleanest rows, wherever D_c is drawn from',
    async () => {
      const quick = { steps: 10, batchSize: 32 };
      const pooled = await find({ purifier: 'clip-drop', rounds: 1, pool: 0.8 }, quick);
      const cleanest = await find({ purifier: 'clip-drop', rounds: 1, pool: 0 }, quick);
      expect(pooled.score).toEqual(cleanest.score);
      expect(pooled.score.some((score) => score !== 0)).toBe(true);
      expect(pooled.purified).not.toEqual(cleanest.purified);
    },
    PATIENCE,
  );

  test.each(['activation-clustering', 'strip'] as const)(
    '%s ranks planted rows above clean ones',
    async (purifier) => {
      const found = await find({ purifier, overlays: 8 });
      // 0.95 and 0.88 on the machine this was written on.
      expect(separation(attacked, found)).toBeGreaterThan(0.75);
      expect(found.verdict.attacked).toEqual([]);
      const again = await find({ purifier, overlays: 8 });
      expect(again.score).toEqual(found.score);
    },
    PATIENCE,
  );

  test('spectral signatures score the rows of a label by the spread of their features', async () => {
    const { victim, set } = attacked;
    const found = await find({ purifier: 'spectral-signatures' });
    const values = await victim.features(set.train);
    const width = values.length / set.train.count;
    const labels = set.train.labels();
    for (const label of [0, 7]) {
      const rows = Array.from(labels.keys()).filter((row) => labels[row] === label);
      const expected = spectralScores({ values, width, rows });
      expect(rows.map((row) => found.score[row])).toEqual(expected.map((value) => expect.closeTo(value, 3)));
    }
    // Half of label 0 is planted, and what spreads it has two ends: not the order that finds them.
    expect(separation(attacked, found)).toBeLessThan(0.7);
  });

  test("sce takes planted rows for the cleanest of their label, the paper's flaw", async () => {
    const found = await find({ purifier: 'sce' });
    expect(separation(attacked, found)).toBeLessThan(0.5);
  });

  test('sce keeps the rows that float32 keeps, scoring few of them in it', async () => {
    const { victim, set } = attacked;
    const labels = set.train.labels();
    for (const count of [300, 1000]) {
      const settings = padFtSettings({ preset: 'paper', purify: { count } });
      const { purify: own, clip: bounds, seed, holdout } = settings;
      const input = { victim, data: set.train, settings: own, clip: bounds, seed, holdout, evaluation: {} };
      const { scores, rescored } = await scoreRefined(input, 'bf16');
      const kept = (context: Parameters<typeof purify>[3]) => purify(victim, set.train, settings, context);
      const exact = await kept({ precision: 'fp32' });
      const refined = await kept({ scores: rankedBySce(scores, labels) });
      expect(scores.logOdds).not.toEqual(exact.logOdds);
      expect(new Set(refined.purified)).toEqual(new Set(exact.purified));
      expect(rescored.length).toBeGreaterThan(0);
      expect(rescored.length).toBeLessThan(set.train.count / 3);
      // Where bfloat16 is fast that is what `auto` does; elsewhere it is float32.
      expect(new Set((await kept({})).purified)).toEqual(new Set(exact.purified));
    }
  });
});

test(
  'a clean victim is not accused, and comes back as it was',
  async () => {
    expect(clean.training.history.at(-1)?.trainAccuracy).toBeGreaterThan(0.9);
    const before = await bytesOf(clean.victim);
    using result = await padFt(clean.victim, clean.set.train, { purify: { count: 400 }, holdout: 300 });
    // A label may come near it: how a net's clean groups lie hangs on the arithmetic it was trained in.
    expect(result.purification.verdict.attacked).toEqual([]);
    expect(result.purification.verdict.text).toMatch(/^no evidence of a backdoor/);
    expect(result.purification.suspects).toEqual([]);
    expect(result).toMatchObject({ stage: 'victim', pad: null, padFt: null, clipping: null, tuning: null });
    expect(result.gate.reason).toContain('returned as it is');
    expect(result.model).toBe(clean.victim);
    expect(await bytesOf(clean.victim)).toEqual(before);
    expect(clean.victim.bounds).toEqual({ max: null, mean: null });
  },
  PATIENCE,
);

describe('scores sharpened by features', () => {
  test(
    'tell planted rows from clean ones better than limits do, and accuse no label of a clean set',
    async () => {
      const found = (of: Case, options: PadFtOptions['purify']) =>
        purify(of.victim, of.set.train, padFtSettings({ purify: { count: 400, ...options } }));
      // Statistics of one kind see less of a patch: there is something left to find.
      const plain = await found(attacked, { sharpen: false, statistic: 'mean' });
      const sharp = await found(attacked, { statistic: 'mean' });
      expect(plain.labels[0]?.sharpened).toBeUndefined();
      expect(sharp.labels[0]).toMatchObject({ attacked: true, sharpened: { taken: true } });
      expect(sharp.labels[0]?.separation).toBeCloseTo(sharp.labels[0]?.sharpened?.separation ?? 0, 3);
      expect(separation(attacked, sharp)).toBeGreaterThan(separation(attacked, plain));
      expect(separation(attacked, sharp)).toBeGreaterThan(0.99);
      // Of labels with too few rows for as many features nothing is asked, and their scores are as they were.
      const labels = attacked.set.train.labels();
      const others = Array.from(labels.keys()).filter((row) => labels[row] !== 0);
      expect(others.map((row) => sharp.score[row])).toEqual(others.map((row) => plain.score[row]));
      expect((await found(clean, {})).verdict.attacked).toEqual([]);
    },
    PATIENCE,
  );

  test('features are whitened over the rows together', async () => {
    const { victim } = attacked;
    const values = await victim.whitenedFeatures(purified, { batchSize: 64 });
    const { featureCount: width } = victim;
    expect(values.length).toBe(purified.count * width);
    const columns = Array.from({ length: width }, (_, k) => values.filter((_, i) => i % width === k));
    const product = (a: Float32Array, b: Float32Array) =>
      a.reduce((sum, x, i) => sum + x * (b[i] as number), 0) / a.length;
    const ones = new Float32Array(purified.count).fill(1);
    columns.forEach((column, k) => {
      expect(product(column, ones)).toBeCloseTo(0, 4);
      // The ridge takes a share of the variance, and of directions that hardly vary all of it.
      expect(product(column, column)).toBeLessThanOrEqual(1.0001);
      for (const other of columns.slice(0, k)) expect(Math.abs(product(column, other))).toBeLessThan(1);
    });
    expect(Math.max(...columns.map((column) => product(column, column)))).toBeGreaterThan(0.5);
    await expect(victim.whitenedFeatures(purified, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
  });
});

describe('the suspects, found again by the fitted bounds', () => {
  const QUICK = {
    // By limits alone: sharpened scores leave the bounds next to nothing to find.
    purify: { count: 400, sharpen: false },
    holdout: 300,
    clip: { steps: 80, batchSize: 16, suspectBatchSize: 16 },
    tune: { epochs: 5, batchSize: 50, draws: 1 },
  } as const;
  const planted = () => new Set(attacked.set.truth.poisoned);
  const rightOf = (rows: readonly { readonly row: number }[]) => rows.filter(({ row }) => planted().has(row)).length;

  test(
    'are told from clean rows better than by the limits, and are not kept',
    async () => {
      const { victim, set } = attacked;
      using once = await padFt(victim, set.train, { ...QUICK, rejudge: 0 });
      using again = await padFt(victim, set.train, QUICK);
      const [before, after] = [once.purification, again.purification];
      expect(before.labels[0]?.rejudged).toBeUndefined();
      expect(after.labels[0]?.separation).toBe(before.labels[0]?.separation);
      expect(after.labels[0]?.rejudged).toBeDefined();
      expect(after.verdict.attacked).toEqual([0]);
      // Rows that the victim classifies as labelled are all that can be found.
      const findable = set.truth.poisoned.filter((row) => before.correct[row] === 1).length;
      expect(rightOf(after.suspects)).toBeGreaterThanOrEqual(rightOf(before.suspects));
      expect(rightOf(after.suspects) / findable).toBeGreaterThan(0.9);
      expect(rightOf(after.suspects) / after.suspects.length).toBeGreaterThan(0.9);
      const suspected = new Set(after.suspects.map(({ row }) => row));
      expect(after.purified.some((row) => suspected.has(row))).toBe(false);
      expect(after.purified.length).toBeGreaterThan(200);
      // The bounds are measured on the same rows, whomever they suspect.
      expect(after.heldOut).toEqual(before.heldOut);
      // The gate looks at these suspects.
      using shown = await set.train.subset(Uint32Array.from(after.suspects, ({ row }) => row));
      const pad = again.pad as Model;
      const kept = (await pad.predict(shown)).filter((label) => label === 0).length;
      expect(again.gate.views[1]?.suspectsKept).toBeCloseTo(kept / after.suspects.length, 10);
      expect(after.suspects.map(({ row }) => row)).not.toEqual(before.suspects.map(({ row }) => row));
      expect(again.costs.map(({ stage }) => stage)).toEqual(['purify', 'clip', 'fine-tune']);
    },
    PATIENCE,
  );

  test(
    'leave a D_c from elsewhere as it is',
    async () => {
      const { victim, set } = attacked;
      // Planted rows among them, as in a random control; few, or the bounds would be fitted to the trigger.
      const clean = Array.from({ length: 396 }, (_, i) => 7 * i + 1).filter((row) => !planted().has(row));
      const rows = Uint32Array.from([...clean, ...set.truth.poisoned.slice(0, 4)]);
      using result = await padFt(victim, set.train, QUICK, { purified: rows });
      const { labels, suspects, purified } = result.purification;
      expect(labels[0]?.rejudged).toBeDefined();
      expect(suspects.some(({ row }) => rows.includes(row))).toBe(true);
      expect(purified).toEqual(rows);
    },
    PATIENCE,
  );
});

describe('the controllers of stage 2', () => {
  async function fitBounds(
    settings: Partial<ClipSettings>,
    {
      preset = 'default' as keyof typeof PRESETS,
      ...change
    }: Partial<ClipInput> & { preset?: keyof typeof PRESETS } = {},
  ) {
    using model = await attacked.victim.clone();
    const steps: [done: number, total: number][] = [];
    const result = await clip({
      model,
      purified,
      suspects,
      heldOut,
      settings: { ...PRESETS[preset].clip, batchSize: 16, suspectBatchSize: 16, ...settings },
      maxAccDrop: 0.02,
      accuracyPrice: 5,
      seed: 0,
      evaluation: { onProgress: (done, total) => steps.push([done, total]) },
      ...change,
    });
    const labels = heldOut.labels();
    const right = (await model.predict(heldOut)).filter((label, row) => label === labels[row]).length;
    return { ...result, bounds: model.bounds, accuracy: right / labels.length, last: steps.at(-1) };
  }

  test('settle takes the cheapest look at or above its floor', async () => {
    const { looks, step, floor, bounds, accuracy } = await fitBounds({ steps: 60 });
    expect(floor).not.toBeNull();
    expect(looks.map((look) => look.step)).toEqual(looks.map((_, i) => 5 * (i + 1)));
    looks.forEach(({ mu, lambda }, i) => {
      expect(mu).toBeCloseTo(0.1 * 1.2 ** i, 10);
      expect(lambda).toBe(0);
    });
    const allowed = looks.filter((look) => look.accuracy >= (floor ?? 1));
    const costs = allowed.map((look) => costOf({ accuracy: look.accuracy, suspectsKept: look.suspectsKept ?? 1 }, 5));
    const taken = allowed[costs.indexOf(Math.min(...costs))];
    // The evidence works: some look forgets suspects at a price worth paying.
    expect(taken?.suspectsKept).toBeLessThan(0.9);
    expect(step).toBe(taken?.step);
    expect(accuracy).toBe(taken?.accuracy);
    expect(accuracy).toBeGreaterThanOrEqual(floor ?? 1);
    expect(bounds.max).not.toBeNull();
  });

  test('settle stops after five looks below the floor, and clips nothing where nothing is worth its price', async () => {
    const { looks, step, floor, bounds, accuracy } = await fitBounds(
      { steps: 160, mu: 20, learningRate: 0.3 },
      { maxAccDrop: 0, accuracyPrice: 1e6 },
    );
    expect(looks.filter((look) => look.accuracy < (floor ?? 0))).toHaveLength(5);
    expect(looks.at(-1)?.accuracy).toBeLessThan(floor ?? 0);
    expect(looks.length).toBeLessThan(32);
    expect({ step, bounds }).toEqual({ step: 0, bounds: { max: null, mean: null } });
    expect(accuracy).toBe(floor);
  });

  test('settle steps back from a look that holds its floor on the held-out rows shown, and not on all', async () => {
    const { train: data, truth } = attacked.set;
    const labels = data.labels();
    const predicted = await attacked.victim.predict(data);
    const right = (row: number) => predicted[row] === labels[row];
    const poisoned = new Set(truth.poisoned);
    const clean = Array.from(labels.keys()).filter((row) => right(row) && !poisoned.has(row));
    const planted = truth.poisoned.filter((row, i) => truth.originalLabels[i] !== 0 && right(row));
    // 2000 of 2500 are shown, drawn like this. The others are what the bounds are made to deny: planted rows.
    const shown = new Set(new Random(streamSeed(0, 'clip')).permutation(2500).slice(0, HELD_OUT_SHOWN));
    const rows = Array.from({ length: 2500 }, (_, i) => (shown.has(i) ? clean[i % 100] : planted[i % planted.length]));
    using all = await data.subset(Uint32Array.from(rows as number[]));
    using model = await attacked.victim.clone();
    const settings = { ...PRESETS.default.clip, batchSize: 16, suspectBatchSize: 16, steps: 60 };
    const { looks, step, floor } = await clip({
      ...{ model, purified, suspects, heldOut: all, settings },
      ...{ maxAccDrop: 0.02, accuracyPrice: 5, seed: 0, evaluation: {} },
    });
    const cost = ({ accuracy, suspectsKept }: (typeof looks)[number]) =>
      costOf({ accuracy, suspectsKept: suspectsKept ?? 1 }, 5);
    const [cheapest] = looks.filter((look) => look.accuracy >= (floor ?? 1)).sort((a, b) => cost(a) - cost(b));
    expect(cheapest?.suspectsKept).toBeLessThan(0.8);
    expect(step).toBeLessThan(cheapest?.step ?? 0);
    const kept = (await model.predict(all)).filter((label, i) => label === all.labels()[i]).length;
    expect(kept / 2500).toBeGreaterThanOrEqual(0.98);
  });

  test('settle without suspects presses on the bounds and takes the latest look that holds the floor', async () => {
    const { looks, step, floor } = await fitBounds({ steps: 40 }, { suspects: null });
    expect(looks.every(({ suspectsKept, mu }) => suspectsKept === null && mu === 0)).toBe(true);
    looks.forEach(({ lambda }, i) => {
      expect(lambda).toBeCloseTo(0.02 * 1.2 ** i, 10);
    });
    const allowed = looks.filter((look) => look.accuracy >= (floor ?? 1));
    expect(step).toBe(allowed.at(-1)?.step ?? 0);
  });

  const mmBm = (settings: Partial<ClipSettings>) =>
    fitBounds(settings, { preset: 'paper', suspects: null, heldOut: null });

  test.each([1, 2, 3, 4, 5, 150])('mm-bm takes exactly %i steps', async (steps) => {
    const { looks, step, floor, last, bounds } = await mmBm({ steps, batchSize: 8 });
    expect({ step, floor, last }).toEqual({ step: steps, floor: null, last: [steps, steps] });
    expect(looks.at(-1)?.step).toBe(steps);
    expect(bounds.mean).toBeNull();
    expect(bounds.max?.every(Number.isFinite)).toBe(true);
    if (steps === 150) expect(looks.map((look) => look.step)).toEqual([60, 90, 120, 150]);
  });

  test.each([
    ['up while 95 % of the purified rows keep their label', 1e-6, 0.01, true],
    ['down while they do not', 1e3, 2, false],
  ])('mm-bm moves lambda by 1.2, %s', async (_, lambda, learningRate, holds) => {
    const { looks } = await mmBm({ steps: 10, batchSize: 8, lambda, learningRate });
    expect(looks).toHaveLength(4);
    expect(looks.map(({ accuracy }) => accuracy >= 0.95)).toEqual([holds, holds, holds, holds]);
    looks.forEach((look, i) => {
      expect(look.lambda / (lambda * 1.2 ** (holds ? i : -i))).toBeCloseTo(1, 10);
    });
  });
});

describe('a stage alone', () => {
  test('clip puts finite bounds on the model and leaves every weight as it was', async () => {
    using model = await attacked.victim.clone();
    const before = await bytesOf(model);
    const settings = { ...PRESETS.default.clip, steps: 10, batchSize: 16, suspectBatchSize: 16 };
    await clip({
      model,
      purified,
      suspects: null,
      heldOut: null,
      settings,
      maxAccDrop: 1,
      accuracyPrice: 0,
      seed: 0,
      evaluation: {},
    });
    for (const bounds of [model.bounds.max, model.bounds.mean]) {
      expect(bounds).toHaveLength(model.siteChannels);
      expect(bounds?.every((bound) => Number.isFinite(bound) && bound >= 0)).toBe(true);
    }
    expect(await bytesOf(model)).toEqual(before);
  });

  test('fineTune changes the classifier and nothing else, bounds included', async () => {
    using model = await attacked.victim.clone();
    model.bounds = { max: new Float32Array(model.siteChannels).fill(5), mean: null };
    const before = await bytesOf(model);
    const settings = { ...PRESETS.default.tune, epochs: 2, batchSize: 50, draws: 1 };
    const { first, last } = await fineTune({ model, purified, suspects, settings, seed: 0, evaluation: {} });
    for (const { loss } of [first, last]) expect(loss).toBeGreaterThan(0);
    const after = await bytesOf(model);
    const changed = [...after.keys()].filter((name) => after.get(name) !== before.get(name));
    expect(changed.sort()).toEqual(['linear.bias', 'linear.weight']);
    expect(after.size).toBe(before.size);
    expect(model.bounds).toEqual({ max: new Float32Array(model.siteChannels).fill(5), mean: null });
  });
});
