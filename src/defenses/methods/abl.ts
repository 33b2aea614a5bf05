import type { Dataset } from '../../dataset.js';
import { invalidOption } from '../../errors.js';
import { integer, number } from '../../options.js';
import { type StreamName, streamSeed } from '../../random.js';
import { rankAscending } from '../../statistics.js';
import {
  checkWhole,
  fineTuneWhole,
  partOf,
  WHOLE_HELP,
  type WholeRun,
  type WholeSettings,
  wholeUnits,
} from './fine-tune-whole.js';
import { type Method, newLike, requireEveryClass, requireTraining, workOn } from './method.js';

export interface AntiBackdoorSettings extends WholeSettings {
  readonly isolationEpochs: number;
  readonly isolationLearningRate: number;
  readonly ascentBelow: number;
  readonly isolationShare: number;
  readonly unlearningEpochs: number;
  readonly unlearningLearningRate: number;
}

/**
 * ABL (Li, Lyu, Koren, Lyu, Li and Ma, *Anti-Backdoor Learning*, NeurIPS 2021): trains a network of the victim's shape anew
 * from the poisoned set. First with local gradient ascent, which keeps batches from being learnt further than a loss of
 * `ascentBelow` and leaves planted rows, learnt fastest, lowest; the rows of lowest loss are isolated. Then on the others.
 * Last the loss of the isolated rows alone is climbed, as the reference implementations do it; the paper's eq. 4 also
 * descends that of the others. A loss that is climbed has no end, so the last part is short.
 *
 * As in the authors' code, images are cropped and mirrored in the middle part only; BackdoorBench's climbs on augmented
 * ones. Otherwise than there: local gradient ascent is the paper's, where the code floods the loss by default; momentum
 * is plain and starts anew in each part, theirs is Nesterov's and runs on into the last; the rate of the middle part
 * falls by a cosine, where they divide it by ten for the last third, and its images are not cut out. The rows to
 * isolate are ordered by the network in evaluation mode. No epoch is chosen by accuracy: the last counts.
 */
export const abl: Method<AntiBackdoorSettings> = {
  name: 'abl',
  title: 'ABL: trained anew, rows learnt first isolated and unlearnt',
  paper: 'Li et al., Anti-Backdoor Learning, NeurIPS 2021',
  needs: { victim: 'shape', training: true, clean: false },
  computes: ['training'],
  note: 'momentum is plain and starts anew in each part, and the rate of the middle part falls by a cosine',
  // 1: isolates and climbs on plain images.
  revision: 1,
  defaults: {
    isolationEpochs: 10,
    isolationLearningRate: 0.1,
    ascentBelow: 0.5,
    isolationShare: 0.01,
    epochs: 60,
    learningRate: 0.1,
    unlearningEpochs: 5,
    unlearningLearningRate: 5e-4,
    batchSize: 128,
    momentum: 0.9,
    weightDecay: 1e-4,
    cropPadding: 4,
  },
  help: {
    ...WHOLE_HELP,
    isolationEpochs: 'passes with local gradient ascent, before rows are isolated',
    isolationLearningRate: 'of these',
    ascentBelow: 'a batch whose mean loss is below is climbed and not descended',
    isolationShare: 'share of the rows that is isolated, in (0, 1)',
    epochs: 'passes over the other rows',
    learningRate: 'peak of their cosine schedule',
    unlearningEpochs: 'passes over the isolated rows, up their loss',
    unlearningLearningRate: 'of these',
    batchSize: 'rows a step',
    cropPadding: 'zero padding of the random crop of the passes over the other rows, in pixels; 0 crops nothing',
  },
  check(settings) {
    checkWhole('abl', settings);
    integer('abl.isolationEpochs', settings.isolationEpochs, 1, 1e6);
    number('abl.isolationLearningRate', settings.isolationLearningRate, 0, 1e6);
    number('abl.ascentBelow', settings.ascentBelow, 0, 1e6);
    number('abl.isolationShare', settings.isolationShare, 0, 1);
    integer('abl.unlearningEpochs', settings.unlearningEpochs, 1, 1e6);
    number('abl.unlearningLearningRate', settings.unlearningLearningRate, 0, 1e6);
  },
  fits: ({ training }, settings) => {
    if (training === null) return;
    requireEveryClass(abl, training);
    const isolated = isolatedCount(settings, training.count);
    if (isolated >= 2 && training.count - isolated >= 2) return;
    const range = `a share of the ${training.count} rows that leaves two at least on either side`;
    throw invalidOption('abl.isolationShare', range, settings.isolationShare);
  },
  units(settings, { rows }) {
    const { isolationEpochs, epochs, unlearningEpochs } = settings;
    const isolated = isolatedCount(settings, rows);
    return (
      wholeUnits({ epochs: isolationEpochs }, rows) +
      rows +
      wholeUnits({ epochs }, rows - isolated) +
      wholeUnits({ epochs: unlearningEpochs }, isolated)
    );
  },
  async run(input, settings) {
    const { victim, seed, evaluation, flip } = input;
    const training = requireTraining(abl, input);
    const { onProgress: _, ...quiet } = evaluation;
    const { isolationEpochs, epochs, unlearningEpochs } = settings;
    const total = isolationEpochs + epochs + unlearningEpochs;
    const part = (stream: StreamName, before: number, rateOption: string): WholeRun => {
      return { flip, seed: streamSeed(seed, stream), rateOption, evaluation: partOf(evaluation, before, total) };
    };
    const model = newLike(victim, seed);
    // The first and the last part: images as they are, at one rate, up the loss where it is below `ascentBelow`.
    const onPlainImages = (data: Dataset, own: PlainSettings, run: WholeRun) => {
      const objective = { ascentBelow: own.ascentBelow };
      const plain = { ...settings, ...own, cropPadding: 0 };
      return fineTuneWhole(model, data, plain, { ...run, flip: false, schedule: 'constant', objective });
    };
    return await workOn(model, async () => {
      const { ascentBelow, isolationLearningRate, unlearningLearningRate } = settings;
      const isolation = await onPlainImages(
        training,
        { epochs: isolationEpochs, learningRate: isolationLearningRate, ascentBelow },
        part('isolation', 0, 'abl.isolationLearningRate'),
      );
      const isolated = isolatedCount(settings, training.count);
      // Cross-entropy falls as the log-odds of the given label rise.
      const order = rankAscending((await model.score(training, quiet)).logOdds);
      const first = order.slice(training.count - isolated);
      using rest = await training.subset(order.slice(0, training.count - isolated), quiet);
      const learning = await fineTuneWhole(
        model,
        rest,
        settings,
        part('learning', isolationEpochs, 'abl.learningRate'),
      );
      using climbed = await training.subset(first, quiet);
      const unlearning = await onPlainImages(
        climbed,
        { epochs: unlearningEpochs, learningRate: unlearningLearningRate, ascentBelow: ALWAYS },
        part('unlearning', isolationEpochs + epochs, 'abl.unlearningLearningRate'),
      );
      const said = `trained anew for ${isolationEpochs} and ${epochs} epochs; the ${isolated} rows learnt first isolated, and unlearnt for ${unlearningEpochs}`;
      const figures = { isolation: isolation.last, learning: learning.last, unlearning };
      return { said, details: { isolated: Array.from(first), ...figures } };
    });
  },
};

type PlainSettings = Pick<AntiBackdoorSettings, 'epochs' | 'learningRate' | 'ascentBelow'>;

/** No mean loss reaches this in float32: every batch is climbed. */
const ALWAYS = 1e300;

/** Rows that are isolated. */
function isolatedCount({ isolationShare }: Pick<AntiBackdoorSettings, 'isolationShare'>, rows: number): number {
  return Math.round(isolationShare * rows);
}
