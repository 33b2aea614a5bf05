import type { DefenseRequest } from './defense-request.js';
import type { PadFtOptions } from './defenses/pad-ft/index.js';
import { type ExperimentContext, type ExperimentOptions, type ExperimentResult, runExperiment } from './experiment.js';

/** n and the batches fit 4000 training images, as the presets' own fit 50 000. */
const SMALL = {
  clip: { batchSize: 32, suspectBatchSize: 32 },
  tune: { epochs: 50, batchSize: 64, draws: 4 },
} as const satisfies PadFtOptions;

/** Sizes apart, both presets as they are; every change is on the card and below the table. */
const DEFENSES: readonly DefenseRequest[] = [
  { name: 'default', options: { ...SMALL, preset: 'default', purify: { count: 500 }, holdout: 300 } },
  { name: 'paper', options: { ...SMALL, preset: 'paper', purify: { count: 500 } } },
];

/**
 * The demonstration: a thin network on made pictures, BadNets on 10 % of them, both presets. One to three minutes on
 * two cores, no data needed. Without crops and flips, in small batches and at a triangular rate, six epochs are enough
 * for the pictures and the backdoor.
 */
export const DEMO: ExperimentOptions = {
  dataset: 'synthetic',
  datasetOptions: { train: 4000, test: 1000 },
  poison: { attack: 'badnets', rate: 0.1 },
  train: {
    width: 16,
    epochs: 6,
    batchSize: 64,
    learningRate: 0.05,
    schedule: 'triangular',
    cropPadding: 0,
    flip: false,
  },
  defenses: DEFENSES,
  folder: 'pad-ft-demo',
  seed: 0,
};

/**
 * Runs the demonstration, with settings laid over its own. On another data set only poison and network stay: its
 * options, its flips and both presets as they are. `formatTable(card)` is its end.
 *
 * @throws PadFtError as `runExperiment`
 */
export function runDemo(
  options: Partial<ExperimentOptions> = {},
  context: ExperimentContext = {},
): Promise<ExperimentResult> {
  const elsewhere = options.dataset !== undefined && options.dataset !== DEMO.dataset;
  const base = elsewhere
    ? { ...DEMO, datasetOptions: {}, defenses: undefined, train: { ...DEMO.train, flip: undefined } }
    : DEMO;
  const { poison, train, ...rest } = options;
  // A given victim is not trained: the demonstration's own settings are not asked for then.
  const own = options.victim === undefined ? base.train : {};
  return runExperiment(
    {
      ...base,
      ...given(rest),
      poison: { ...base.poison, ...given(poison ?? {}) },
      train: given({ ...own, ...given(train ?? {}) }),
    },
    context,
  );
}

/** Without the fields that are undefined: a flag that was left out must not hide the demonstration's own. */
function given<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const set = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(set) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
