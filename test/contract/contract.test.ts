import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  CONTRACT,
  type NativeAddon,
  type NativeBoundsFitter,
  type NativeClassifierTuner,
  type NativeContrastiveTrainer,
  type NativeDataset,
  type NativeJob,
  type NativeMixMatchTrainer,
  type NativeModel,
  type NativeNeuronMasker,
  type NativeTrainer,
} from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';

const CLASSES = 3;
const ROWS = 12;
const EVALUATION = { batchSize: 4, precision: 'fp32' } as const;
const SCORING = { ...EVALUATION, alpha: 0.1, logZero: -9.2, limits: null };
const RANGES = { ...EVALUATION, statistic: 'max', quantile: 0.9, leaveOneLabelOut: false } as const;
const MARGINS = {
  images: 2,
  height: 8,
  width: 8,
  steps: 2,
  learningRate: 0.01,
  tolerance: 0,
  seed: 0,
  precision: 'fp32',
} as const;
const EPOCH = {
  batchSize: 4,
  dropLast: false,
  learningRate: [0.01, 0.01],
  cropPadding: 0,
  flip: false,
  seed: 0,
  precision: 'fp32',
  recipe: null,
  objective: null,
} as const;
const STEPS = { steps: 1, learningRate: 0.01, lambda: 0.1, mu: 0, batchSize: 4, suspectBatchSize: 4 };
const TUNE = { learningRate: 0.01, batchSize: 4 };
const TUNER = {
  draws: 1,
  jitter: 0.4,
  flip: true,
  seed: 0,
  momentum: 0.9,
  weightDecay: 0,
  alpha: 0.1,
  logZero: -9.2,
  beta: 0.5,
  nu: 0,
  margin: 2,
  precision: 'fp32',
  featureBatchSize: 4,
} as const;
const WARM_UP = {
  epochs: 1,
  batchSize: 4,
  learningRate: 0.01,
  alpha: 0.1,
  logZero: -9.2,
  seed: 0,
  precision: 'fp32',
  featureBatchSize: 4,
} as const;
const CONTRASTIVE = {
  projection: 8,
  temperature: 0.5,
  momentum: 0.9,
  weightDecay: 0,
  smallestCrop: 0.2,
  jitter: 0.4,
  hue: 0.1,
  jitterProbability: 0.8,
  greyProbability: 0.2,
  flip: true,
  seed: 0,
} as const;
const CONTRASTIVE_EPOCH = { batchSize: 4, learningRate: 0.01, seed: 0, precision: 'fp32' } as const;
const MIXMATCH = {
  steps: 1,
  batchSize: 4,
  learningRate: 0.01,
  sharpening: 0.5,
  mixAlpha: 0.75,
  unlabelledWeight: [0, 1],
  cropPadding: 0,
  flip: false,
  seed: 0,
  precision: 'fp32',
} as const;
/** Of the rows of every data set here. */
const LABELLED = Uint32Array.of(0, 2, 4, 6, 8);
const MASKER = {
  batchSize: 4,
  epsilon: 0.4,
  alpha: 0.2,
  learningRate: 0.2,
  momentum: 0.9,
  cropPadding: 0,
  flip: false,
  seed: 0,
  precision: 'fp32',
} as const;
const ROW = Uint32Array.of(1);
const GRID = new Float32Array(32 * 32 * 2);
const RECIPE = { rate: 0.25, crossRatio: 1, rotation: 10, target: 0, grid: GRID };
const TRIGGER = { kind: 'blend', alpha: 0.2, pattern: new Uint8Array(3 * 32 * 32) } as const;

interface Handles {
  readonly dataset: NativeDataset;
  readonly model: NativeModel;
  readonly trainer: NativeTrainer;
  readonly boundsFitter: NativeBoundsFitter;
  readonly classifierTuner: NativeClassifierTuner;
  readonly neuronMasker: NativeNeuronMasker;
  readonly contrastiveTrainer: NativeContrastiveTrainer;
  readonly mixMatchTrainer: NativeMixMatchTrainer;
}
type Kind = keyof Handles;
const KINDS = [
  'dataset',
  'model',
  'trainer',
  'boundsFitter',
  'classifierTuner',
  'neuronMasker',
  'contrastiveTrainer',
  'mixMatchTrainer',
] as const satisfies readonly Kind[];

let addon: NativeAddon;
beforeAll(() => {
  addon = loadAddon();
});
afterAll(() => addon.cancelAll());

function makeDataset(rows = ROWS): NativeDataset {
  const images = Uint8Array.from({ length: rows * 3 * 32 * 32 }, (_, i) => (i * 31) % 251);
  const labels = Int32Array.from({ length: rows }, (_, row) => row % CLASSES);
  return addon.createDataset(
    images,
    labels,
    { count: rows, channels: 3, height: 32, width: 32, classes: CLASSES },
    'cpu',
  );
}

function makeModel(): NativeModel {
  const options = {
    classes: CLASSES,
    width: 4,
    inputChannels: 3,
    mean: [0.5, 0.5, 0.5],
    std: [0.2, 0.2, 0.2],
    seed: 1,
    device: 'cpu',
  } as const;
  return addon.createModel('preact-resnet18', options);
}

/** One of each, the workers on the model. */
function makeHandles(rows = ROWS): Handles {
  const dataset = makeDataset(rows);
  const model = makeModel();
  return {
    dataset,
    model,
    trainer: addon.createTrainer(model, { momentum: 0.9, weightDecay: 0 }),
    boundsFitter: addon.createBoundsFitter(model, dataset, null, {
      parameters: 'absolute',
      granularity: 'per-channel',
      max: new Float32Array(model.sites.reduce((sum, site) => sum + site.channels, 0)).fill(8),
      mean: null,
      scale: 'plain',
      margin: 2,
      precision: 'fp32',
      seed: 0,
    }),
    classifierTuner: addon.createClassifierTuner(model, dataset, null, TUNER),
    neuronMasker: addon.createNeuronMasker(model, dataset, MASKER),
    contrastiveTrainer: addon.createContrastiveTrainer(model, CONTRASTIVE),
    mixMatchTrainer: addon.createMixMatchTrainer(model),
  };
}

type Entry = (handles: Handles) => unknown;

/** How every method of every class is called; what it computes is other tests' business. */
const CALLS: { readonly [K in Kind]: Readonly<Record<string, Entry>> } = {
  dataset: {
    shape: ({ dataset }) => dataset.shape,
    device: ({ dataset }) => dataset.device,
    bytes: ({ dataset }) => dataset.bytes,
    labels: ({ dataset }) => dataset.labels(),
    images: ({ dataset }) => dataset.images(ROW),
    subset: ({ dataset }) => dataset.subset(ROW),
    withTrigger: ({ dataset }) => dataset.withTrigger(ROW, TRIGGER, Int32Array.of(0)),
    withNoiseWarp: ({ dataset }) => dataset.withNoiseWarp(ROW, { grid: GRID, seed: 1 }),
    dispose: ({ dataset }) => dataset.dispose(),
  },
  model: {
    ...Object.fromEntries(
      (
        [
          'name',
          'device',
          'classes',
          'width',
          'inputChannels',
          'mean',
          'std',
          'parameterCount',
          'featureCount',
          'sites',
        ] as const
      ).map((key): [string, Entry] => [key, ({ model }) => model[key]]),
    ),
    clone: ({ model }) => model.clone('cpu'),
    state: ({ model }) => model.state(),
    loadState: ({ model }) => model.loadState([]),
    bounds: ({ model }) => model.bounds(),
    setBounds: ({ model }) => model.setBounds({ max: null, mean: null }),
    predict: ({ model, dataset }) => model.predict(dataset, EVALUATION),
    logits: ({ model, dataset }) => model.logits(dataset, EVALUATION),
    features: ({ model, dataset }) => model.features(dataset, EVALUATION),
    whitenedFeatures: ({ model, dataset }) => model.whitenedFeatures(dataset, EVALUATION),
    score: ({ model, dataset }) => model.score(dataset, SCORING),
    activationRanges: ({ model, dataset }) => model.activationRanges(dataset, RANGES),
    maximumMargins: ({ model }) => model.maximumMargins(MARGINS),
    warmUpClassifier: ({ model, dataset }) => model.warmUpClassifier(dataset, WARM_UP),
    dispose: ({ model }) => model.dispose(),
  },
  trainer: {
    epoch: ({ trainer, dataset }) => trainer.epoch(dataset, EPOCH),
    state: ({ trainer }) => trainer.state(),
    loadState: ({ trainer }) => trainer.loadState(new Float32Array(1)),
    dispose: ({ trainer }) => trainer.dispose(),
  },
  boundsFitter: {
    steps: ({ boundsFitter }) => boundsFitter.steps(STEPS),
    bounds: ({ boundsFitter }) => boundsFitter.bounds(),
    dispose: ({ boundsFitter }) => boundsFitter.dispose(),
  },
  classifierTuner: {
    epoch: ({ classifierTuner }) => classifierTuner.epoch(TUNE),
    dispose: ({ classifierTuner }) => classifierTuner.dispose(),
  },
  neuronMasker: {
    steps: ({ neuronMasker }) => neuronMasker.steps({ steps: 1 }),
    mask: ({ neuronMasker }) => neuronMasker.mask(),
    dispose: ({ neuronMasker }) => neuronMasker.dispose(),
  },
  contrastiveTrainer: {
    epoch: ({ contrastiveTrainer, dataset }) => contrastiveTrainer.epoch(dataset, CONTRASTIVE_EPOCH),
    dispose: ({ contrastiveTrainer }) => contrastiveTrainer.dispose(),
  },
  mixMatchTrainer: {
    epoch: ({ mixMatchTrainer, dataset }) => mixMatchTrainer.epoch(dataset, LABELLED, MIXMATCH),
    dispose: ({ mixMatchTrainer }) => mixMatchTrainer.dispose(),
  },
};

/** These only read what never changes, so a running job does not hinder them. */
const ALWAYS_READABLE = new Set([
  'shape',
  'device',
  'bytes',
  'labels',
  'images',
  'name',
  'classes',
  'width',
  'inputChannels',
  'mean',
  'std',
  'parameterCount',
  'featureCount',
  'sites',
]);
/** A data set may be read by any number of calls at once. */
const SHARED = new Set(['subset', 'withTrigger', 'withNoiseWarp']);

function isJob(value: unknown): value is NativeJob<unknown> {
  return typeof value === 'object' && value !== null && Reflect.get(value, 'promise') instanceof Promise;
}

/** The code of the error a call throws or its job rejects with; null when it succeeds. */
async function codeOf(call: () => unknown): Promise<string | null> {
  try {
    const result = call();
    if (isJob(result)) await result.promise;
    return null;
  } catch (error) {
    return String(Reflect.get(error as object, 'code'));
  }
}

function memberNames(object: object): string[] {
  const names = new Set<string>();
  for (let at: object | null = object; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at)) if (name !== 'constructor') names.add(name);
  }
  return [...names].sort();
}

describe('the addon exports what the contract declares and nothing else', () => {
  test('functions', () => {
    expect(memberNames(addon)).toEqual([...CONTRACT.functions].sort());
    for (const name of CONTRACT.functions) expect(addon[name]).toBeTypeOf('function');
  });

  test.each(KINDS)('%s', (kind) => {
    const handles = makeHandles();
    expect(memberNames(handles[kind])).toEqual([...CONTRACT[kind]].sort());
    expect(Object.keys(CALLS[kind]).sort()).toEqual([...CONTRACT[kind]].sort());
  });
});

describe('every entry answers on a fresh handle', () => {
  for (const kind of KINDS) {
    test.each(Object.keys(CALLS[kind]))(`${kind}.%s`, async (name) => {
      const code = await codeOf(() => CALLS[kind][name]?.(makeHandles()));
      // An empty state and a momentum of one value fit no network; everything else here is valid.
      expect(code).toBe(name === 'loadState' ? 'ERR_MODEL' : null);
    });
  }
});

describe('every entry refuses a disposed handle', () => {
  for (const kind of KINDS) {
    test.each(Object.keys(CALLS[kind]))(`${kind}.%s`, async (name) => {
      const handles = makeHandles();
      handles[kind].dispose();
      const code = await codeOf(() => CALLS[kind][name]?.(handles));
      expect(code).toBe(name === 'dispose' ? null : 'ERR_DISPOSED');
    });
  }

  test('a disposed argument too', async () => {
    const handles = makeHandles();
    handles.dataset.dispose();
    for (const call of [CALLS.model.predict, CALLS.model.score, CALLS.trainer.epoch]) {
      expect(await codeOf(() => call?.(handles))).toBe('ERR_DISPOSED');
    }
    handles.model.dispose();
    expect(await codeOf(() => addon.createTrainer(handles.model, { momentum: 0, weightDecay: 0 }))).toBe(
      'ERR_DISPOSED',
    );
    // The workers' own model is gone: they refuse instead of computing on what is not there.
    expect(await codeOf(() => handles.boundsFitter.steps(STEPS))).toBe('ERR_DISPOSED');
    expect(await codeOf(() => handles.classifierTuner.epoch(TUNE))).toBe('ERR_DISPOSED');
    expect(await codeOf(() => handles.trainer.state())).toBe('ERR_DISPOSED');
    expect(await codeOf(() => handles.neuronMasker.steps({ steps: 1 }))).toBe('ERR_DISPOSED');
    const dataset = makeDataset();
    expect(await codeOf(() => handles.contrastiveTrainer.epoch(dataset, CONTRASTIVE_EPOCH))).toBe('ERR_DISPOSED');
    expect(await codeOf(() => handles.mixMatchTrainer.epoch(dataset, LABELLED, MIXMATCH))).toBe('ERR_DISPOSED');
  });
});

describe('every entry of a busy handle reads, shares or refuses', () => {
  for (const kind of KINDS) {
    test.each(Object.keys(CALLS[kind]))(`${kind}.%s`, async (name) => {
      const handles = makeHandles(400);
      const { dataset, boundsFitter, classifierTuner, neuronMasker, contrastiveTrainer, mixMatchTrainer, trainer } =
        handles;
      const long: Readonly<Partial<Record<Kind, () => NativeJob<unknown>>>> = {
        boundsFitter: () => boundsFitter.steps({ ...STEPS, steps: 200 }),
        classifierTuner: () => classifierTuner.epoch(TUNE),
        neuronMasker: () => neuronMasker.steps({ steps: 200 }),
        contrastiveTrainer: () => contrastiveTrainer.epoch(dataset, CONTRASTIVE_EPOCH),
        mixMatchTrainer: () => mixMatchTrainer.epoch(dataset, LABELLED, { ...MIXMATCH, steps: 200 }),
      };
      const busy = (long[kind] ?? (() => trainer.epoch(dataset, EPOCH)))();
      const outcome = busy.promise.then(
        () => null,
        (error: unknown) => String(Reflect.get(error as object, 'code')),
      );
      // The refusal comes at once, from the call itself; a shared read is a job that waits its turn.
      let code: string | null = null;
      let job: NativeJob<unknown> | undefined;
      try {
        const result = CALLS[kind][name]?.(handles);
        if (isJob(result)) job = result;
      } catch (error) {
        code = String(Reflect.get(error as object, 'code'));
      }
      busy.cancel();
      expect(await outcome).toBe('ERR_ABORTED');
      if (job) await job.promise;
      expect(code).toBe(ALWAYS_READABLE.has(name) || SHARED.has(name) ? null : 'ERR_BUSY');
      expect(await codeOf(() => handles[kind].dispose())).toBeNull();
    });
  }
});

test('a worker is not disposed of while its model is used: that may touch the model', async () => {
  const handles = makeHandles(400);
  const { trainer, boundsFitter, classifierTuner, neuronMasker, contrastiveTrainer, mixMatchTrainer } = handles;
  const workers = [trainer, boundsFitter, classifierTuner, neuronMasker, contrastiveTrainer, mixMatchTrainer];
  const busy = CALLS.model.predict?.(handles) as NativeJob<unknown>;
  for (const worker of workers) {
    expect(await codeOf(() => worker.dispose())).toBe('ERR_BUSY');
  }
  await busy.promise;
  for (const worker of workers) {
    expect(await codeOf(() => worker.dispose())).toBeNull();
  }
});

test('a worker outlives its model', async () => {
  const handles = makeHandles();
  handles.model.dispose();
  expect(await codeOf(() => handles.trainer.dispose())).toBeNull();
});

describe('an objective that cannot be meant is refused', () => {
  const plain = {
    ...{ labelSmoothing: 0, ascentBelow: null },
    ...{ radius: 0, teacher: null, attention: [] },
  };
  const train = (handles: Handles, objective: object) =>
    codeOf(() => handles.trainer.epoch(handles.dataset, { ...EPOCH, objective: { ...plain, ...objective } }));

  test.each([
    ['a smoothing that reads no label', { labelSmoothing: 1 }],
    ['a negative loss to climb below', { ascentBelow: -1 }],
    ['weights without a teacher', { attention: [1] }],
    ['a negative radius', { radius: -1 }],
  ])('%s', async (_, objective) => {
    expect(await train(makeHandles(), objective)).toBe('ERR_OPTION');
  });

  test('a teacher that is no model, is the student, says nothing or is disposed of', async () => {
    const handles = makeHandles();
    const teacher = makeModel();
    expect(await train(handles, { teacher, attention: [1, 2] })).toBeNull();
    expect(await train(handles, { teacher, attention: [] })).toBe('ERR_OPTION');
    expect(await train(handles, { teacher, attention: [-1] })).toBe('ERR_OPTION');
    expect(await train(handles, { teacher: handles.dataset, attention: [1] })).toBe('ERR_HANDLE');
    expect(await train(handles, { teacher: handles.model, attention: [1] })).toBe('ERR_BUSY');
    teacher.dispose();
    expect(await train(handles, { teacher, attention: [1] })).toBe('ERR_DISPOSED');
  });
});

describe('a wrong handle is refused', () => {
  const impostors: readonly [string, (handles: Handles) => unknown][] = [
    ['undefined', () => undefined],
    ['null', () => null],
    ['a number', () => 7],
    ['a plain object', () => ({ shape: {}, labels() {} })],
    ['a handle of another kind', ({ trainer }) => trainer],
    ['an heir of a real handle', ({ dataset }) => Object.create(dataset)],
  ];
  test.each(impostors)('%s', async (_, impostor) => {
    const handles = makeHandles();
    const { model, trainer } = handles;
    const wrong = impostor(handles) as never;
    const calls = [
      () => model.predict(wrong, EVALUATION),
      () => model.logits(wrong, EVALUATION),
      () => model.features(wrong, EVALUATION),
      () => model.score(wrong, SCORING),
      () => model.activationRanges(wrong, RANGES),
      () => trainer.epoch(wrong, EPOCH),
      () => addon.createTrainer(wrong, { momentum: 0, weightDecay: 0 }),
      () => handles.contrastiveTrainer.epoch(wrong, CONTRASTIVE_EPOCH),
      () => handles.mixMatchTrainer.epoch(wrong, LABELLED, MIXMATCH),
      () => model.warmUpClassifier(wrong, WARM_UP),
      () => addon.createContrastiveTrainer(wrong, CONTRASTIVE),
      () => addon.createMixMatchTrainer(wrong),
      () => addon.createClassifierTuner(wrong, handles.dataset, null, TUNER),
      () => addon.createClassifierTuner(model, wrong, null, TUNER),
    ];
    for (const call of calls) expect(await codeOf(call)).toBe('ERR_HANDLE');
  });

  test('a method borrowed from another class, and a handle made by new', async () => {
    const { dataset, model } = makeHandles();
    expect(() => Reflect.apply(model.bounds, dataset, [])).toThrow();
    expect(() => Reflect.apply(dataset.labels, {}, [])).toThrow();
    const made = Reflect.construct(dataset.constructor, []);
    expect(await codeOf(() => made.labels())).toBe('ERR_HANDLE');
    expect(await codeOf(() => model.predict(made, EVALUATION))).toBe('ERR_HANDLE');
  });
});

test('a wrong option is named by its path', async () => {
  const { model, dataset, trainer, contrastiveTrainer, mixMatchTrainer } = makeHandles();
  const refused = (call: () => unknown) => expect(call).toThrow(expect.objectContaining({ code: 'ERR_OPTION' }));
  refused(() => model.predict(dataset, { ...EVALUATION, batchSize: 0 }));
  refused(() => trainer.epoch(dataset, { ...EPOCH, cropPadding: -1 }));
  expect(() => trainer.epoch(dataset, { ...EPOCH, batchSize: 1.5 })).toThrow(/train\.batchSize/);
  const withRecipe = (change: object) => trainer.epoch(dataset, { ...EPOCH, recipe: { ...RECIPE, ...change } });
  expect(() => withRecipe({ target: CLASSES })).toThrow(/train\.recipe\.target/);
  expect(() => withRecipe({ grid: GRID.slice(1) })).toThrow(/train\.recipe\.grid: expected 2048 values/);
  expect(() => withRecipe({ grid: GRID.map(() => Number.NaN) })).toThrow(/train\.recipe\.grid: expected values in/);
  expect(await codeOf(() => withRecipe({ rate: 0.2 }))).toBe('ERR_OPTION');
  expect(await codeOf(() => withRecipe({}))).toBeNull();
  expect(() => dataset.withTrigger(ROW, { kind: 'warp', grid: new Float32Array(2) }, Int32Array.of(0))).toThrow(
    /trigger\.grid: expected 2048 values/,
  );
  expect(() => model.score(dataset, { ...SCORING, alpha: Number.NaN })).toThrow(/score\.alpha/);
  expect(await codeOf(() => dataset.subset(Uint32Array.of(ROWS)))).toBe('ERR_DATA');
  expect(() => model.warmUpClassifier(dataset, { ...WARM_UP, epochs: 0 })).toThrow(/warmUp\.epochs/);
  expect(() => addon.createContrastiveTrainer(model, { ...CONTRASTIVE, temperature: 0 })).toThrow(
    /contrastive\.temperature/,
  );
  expect(() => contrastiveTrainer.epoch(dataset, { ...CONTRASTIVE_EPOCH, batchSize: 1 })).toThrow(
    /contrastive\.batchSize/,
  );
  expect(await codeOf(() => contrastiveTrainer.epoch(dataset, { ...CONTRASTIVE_EPOCH, batchSize: ROWS + 1 }))).toBe(
    'ERR_OPTION',
  );
  const mix = (change: object, rows = LABELLED) => mixMatchTrainer.epoch(dataset, rows, { ...MIXMATCH, ...change });
  expect(() => mix({ sharpening: 0 })).toThrow(/mixmatch\.sharpening/);
  expect(() => mix({ unlabelledWeight: [0, -1] })).toThrow(/mixmatch\.unlabelledWeight/);
  expect(await codeOf(() => mix({ batchSize: LABELLED.length + 1 }))).toBe('ERR_OPTION');
  expect(await codeOf(() => mix({}, Uint32Array.of(1, 2, 3, ROWS)))).toBe('ERR_DATA');
  expect(await codeOf(() => mix({}, Uint32Array.of(1, 2, 3, 3)))).toBe('ERR_DATA');
});

test("activation ranges without a quantile are the mean of the rows' own, and a wrong quantile is named", async () => {
  const { model, dataset } = makeHandles();
  const ranges = (of: NativeDataset, quantile: number | null) => model.activationRanges(of, { ...RANGES, quantile });
  const found = await ranges(dataset, null).promise;
  // Of one row every quantile is that row's own statistic.
  const mean = new Float64Array(found.length);
  for (let row = 0; row < ROWS; row++) {
    const one = await dataset.subset(Uint32Array.of(row)).promise;
    (await ranges(one, 1).promise).forEach((value, channel) => {
      mean[channel]! += value / ROWS;
    });
  }
  expect([...found]).toEqual(Array.from(mean, (value) => expect.closeTo(value, 4)));
  expect(found).not.toEqual(await ranges(dataset, 0.5).promise);

  for (const wrong of [undefined, 'mean', Number.NaN, -0.1, 1.1, {}, false]) {
    expect(() => ranges(dataset, wrong as never)).toThrow(
      expect.objectContaining({ code: 'ERR_OPTION', message: expect.stringContaining('ranges.quantile') }),
    );
  }
  expect(await codeOf(() => ranges(dataset, 0))).toBe('ERR_OPTION');
});
