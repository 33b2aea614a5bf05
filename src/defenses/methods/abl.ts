import type { Dataset } from '../../dataset.js';
import { invalidOption, PadFtError } from '../../errors.js';
import type { EvaluationOptions, Model } from '../../model.js';
import { integer, number } from '../../options.js';
import { Random, type StreamName, streamSeed } from '../../random.js';
import { rankAscending } from '../../statistics.js';
import {
  fineTuneWhole,
  partOf,
  type WholeEpoch,
  type WholeRun,
  type WholeStep,
  WholeTrainer,
} from './fine-tune-whole.js';
import { type Method, type MethodInput, newLike } from './method.js';

export interface AntiBackdoorSettings {
  readonly isolationEpochs: number;
  readonly isolationLearningRate: number;
  readonly ascentBelow: number;
  readonly isolationShare: number;
  readonly epochs: number;
  readonly learningRate: number;
  readonly unlearningEpochs: number;
  readonly unlearningLearningRate: number;
  readonly batchSize: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly cropPadding: number;
}

/**
 * ABL (Li, Lyu, Koren, Lyu, Li and Ma, *Anti-Backdoor Learning*, NeurIPS 2021): trains a network of the victim's shape anew
 * from the poisoned set. First with local gradient ascent, which keeps batches from being learnt further than a loss of
 * `ascentBelow` and leaves planted rows, learnt fastest, lowest; the rows of lowest loss are isolated. Then on the others.
 * Last the loss of the isolated rows is climbed and that of others descended, in turn: a pass over the isolated rows up, then
 * one down over five times as many others, drawn anew each time. These are the terms of eq. 4, weighted 1 : 5.
 *
 * The reference climbs on the isolated rows alone. Their loss has no upper end, so how much is left of the network depends
 * on when that stops; the paper's equation has both terms. Batch norms keep their running statistics meanwhile: a batch of
 * triggered images alone would be normalised by its own, which hides the trigger, and what is climbed then is not the
 * backdoor. Losses that isolate rows are those in evaluation mode, of the rows as the set numbers them. The learning rate
 * of the middle part falls by a cosine; the reference divides it by ten for the last third. No epoch is chosen by accuracy:
 * the last counts.
 */
export const abl: Method<AntiBackdoorSettings> = {
  name: 'abl',
  title: 'ABL: trained anew, rows learnt first isolated and unlearnt',
  paper: 'Li et al., Anti-Backdoor Learning, NeurIPS 2021',
  needs: { training: true, clean: false },
  computes: ['training', 'scoring'],
  defaults: {
    isolationEpochs: 20,
    isolationLearningRate: 0.1,
    ascentBelow: 0.5,
    isolationShare: 0.01,
    epochs: 60,
    learningRate: 0.1,
    unlearningEpochs: 20,
    unlearningLearningRate: 5e-4,
    batchSize: 128,
    momentum: 0.9,
    weightDecay: 1e-4,
    cropPadding: 4,
  },
  help: {
    isolationEpochs: 'passes with local gradient ascent, before rows are isolated',
    isolationLearningRate: 'of these',
    ascentBelow: 'a batch whose mean loss is below is climbed and not descended',
    isolationShare: 'share of the rows that is isolated, in (0, 1)',
    epochs: 'passes over the other rows',
    learningRate: 'peak of their cosine schedule',
    unlearningEpochs: 'passes over the isolated rows, up their loss, each with one over others, down theirs',
    unlearningLearningRate: 'of these',
    batchSize: 'rows a step',
    momentum: 'of SGD',
    weightDecay: 'of SGD',
    cropPadding: 'zero padding of the random crop, in pixels; 0 crops nothing',
  },
  check(settings) {
    integer('abl.isolationEpochs', settings.isolationEpochs, 1, 1e6);
    number('abl.isolationLearningRate', settings.isolationLearningRate, 0, 1e6);
    number('abl.ascentBelow', settings.ascentBelow, 0, 1e6);
    number('abl.isolationShare', settings.isolationShare, 0, 1);
    integer('abl.epochs', settings.epochs, 1, 1e6);
    number('abl.learningRate', settings.learningRate, 0, 1e6);
    integer('abl.unlearningEpochs', settings.unlearningEpochs, 1, 1e6);
    number('abl.unlearningLearningRate', settings.unlearningLearningRate, 0, 1e6);
    integer('abl.batchSize', settings.batchSize, 2, 1 << 20);
    number('abl.momentum', settings.momentum, 0, 1);
    number('abl.weightDecay', settings.weightDecay, 0, 1e6);
    integer('abl.cropPadding', settings.cropPadding, 0, 64);
  },
  fits: ({ training }, { isolationShare }) => {
    if (training === null) return;
    const isolated = Math.round(isolationShare * training.count);
    if (isolated >= 2 && training.count - isolated >= 2) return;
    const path = 'abl.isolationShare';
    const range = `a share of the ${training.count} rows that leaves two at least on either side`;
    throw invalidOption(path, range, isolationShare);
  },
  async run(input, settings) {
    const { training, victim, seed, evaluation, flip } = input;
    if (training === null) throw new PadFtError('ERR_OPTION', 'abl trains from the training set; give it');
    const isolated = Math.round(settings.isolationShare * training.count);
    const { onProgress: _, ...quiet } = evaluation;
    const { isolationEpochs, epochs, unlearningEpochs } = settings;
    const total = isolationEpochs + epochs + unlearningEpochs;
    const part = (stream: StreamName, before: number, more: Partial<WholeRun>): WholeRun => ({
      ...{ flip, seed: streamSeed(seed, stream), evaluation: partOf(evaluation, before, total) },
      ...more,
    });
    const model = newLike(victim, seed);
    try {
      const fast = { ...settings, epochs: isolationEpochs, learningRate: settings.isolationLearningRate };
      const isolation = await fineTuneWhole(
        model,
        training,
        fast,
        part('isolation', 0, { objective: { ascentBelow: settings.ascentBelow }, schedule: 'constant' }),
      );
      // Cross-entropy falls as the log-odds of the given label rise.
      const order = rankAscending((await model.score(training, quiet)).logOdds);
      using first = await training.subset(order.slice(training.count - isolated).sort(), quiet);
      using rest = await training.subset(order.slice(0, training.count - isolated).sort(), quiet);
      const learning = await fineTuneWhole(model, rest, settings, part('learning', isolationEpochs, {}));
      const unlearning = await unlearn(
        model,
        first,
        rest,
        settings,
        input,
        partOf(evaluation, total - unlearningEpochs, total),
      );
      const said = `trained anew for ${isolationEpochs} and ${epochs} epochs; the ${isolated} rows learnt first isolated, and unlearnt for ${unlearningEpochs}`;
      return { model, said, details: { isolated, isolation: isolation.last, last: learning.last, unlearning } };
    } catch (error) {
      model.dispose();
      throw error;
    }
  },
};

/** Others that a round of unlearning descends on, for each isolated row. */
const OTHERS = 5;

/** The first and the last round's loss and accuracy on the isolated rows. */
async function unlearn(
  model: Model,
  isolated: Dataset,
  others: Dataset,
  settings: AntiBackdoorSettings,
  { flip, seed }: MethodInput,
  evaluation: EvaluationOptions,
): Promise<{ readonly first: WholeEpoch; readonly last: WholeEpoch }> {
  const rate = settings.unlearningLearningRate;
  const random = new Random(streamSeed(seed, 'others'));
  // A trainer for each pass: what climbs without end must not gather momentum over the rounds.
  const pass = async (data: Dataset, step: WholeStep) => {
    using trainer = new WholeTrainer(model, settings, evaluation);
    return await trainer.epoch(data, step);
  };
  const rounds: WholeEpoch[] = [];
  for (let round = 0; round < settings.unlearningEpochs; round++) {
    const step = { rates: [rate, rate], seed: streamSeed(seed, 'unlearning') + 2 * round, flip } as const;
    const up = { ascend: true, holdStatistics: true };
    rounds.push(await pass(isolated, { ...step, objective: up }));
    const drawn = random.permutation(others.count).subarray(0, OTHERS * isolated.count);
    using some = await others.subset(drawn, { signal: evaluation.signal });
    await pass(some, { ...step, seed: step.seed + 1, objective: { holdStatistics: true } });
    evaluation.onProgress?.(round + 1, settings.unlearningEpochs);
  }
  return { first: rounds[0] as WholeEpoch, last: rounds.at(-1) as WholeEpoch };
}
