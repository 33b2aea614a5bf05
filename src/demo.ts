import { type ExperimentContext, type ExperimentOptions, type ExperimentResult, runExperiment } from './experiment.js';

/**
 * The demonstration: a thin network on made pictures, BadNets on 10 % of them, both presets. Two to three minutes on
 * two cores, no data needed. Padding 0, small batches and a triangular rate teach it in six epochs.
 */
export const DEMO: ExperimentOptions = {
  dataset: 'synthetic',
  datasetOptions: { train: 4000, test: 1000 },
  poison: { attack: 'badnets', rate: 0.1 },
  train: { width: 16, epochs: 6, batchSize: 64, learningRate: 0.05, schedule: 'triangular', cropPadding: 0 },
  folder: 'pad-ft-demo',
  seed: 0,
};

/** Runs the demonstration, with settings laid over its own. `formatTable(card)` is its end. */
export function runDemo(
  options: Partial<ExperimentOptions> = {},
  context: ExperimentContext = {},
): Promise<ExperimentResult> {
  const { poison, train, ...rest } = options;
  const data = options.dataset === undefined ? {} : { datasetOptions: options.datasetOptions };
  return runExperiment(
    { ...DEMO, ...rest, ...data, poison: { ...DEMO.poison, ...poison }, train: { ...DEMO.train, ...train } },
    context,
  );
}
