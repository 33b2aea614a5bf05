import type { Dataset } from '../../dataset.js';
import { type Purpose, resolvePrecision } from '../../device.js';
import { invalidOption, PadFtError } from '../../errors.js';
import { counted } from '../../formats/plural.js';
import { LOG_ZERO, type Model } from '../../model.js';
import type { WarmUpResult } from '../../native/contract.js';
import { callNative, runJob } from '../../native/job.js';
import { loadAddon } from '../../native/load.js';
import { integer, number } from '../../options.js';
import { streamSeed } from '../../random.js';
import { learningRate } from '../../schedule.js';
import { rankAscending } from '../../statistics.js';
import { TRAINING_UNITS } from '../units.js';
import {
  type Method,
  type MethodInput,
  naming,
  newLike,
  requireEveryClass,
  requireTraining,
  workOn,
} from './method.js';

export interface DbdSettings {
  readonly contrastiveEpochs: number;
  readonly contrastiveBatchSize: number;
  readonly contrastiveLearningRate: number;
  readonly contrastiveMomentum: number;
  readonly contrastiveWeightDecay: number;
  readonly temperature: number;
  /** Share of the image's area that a contrastive view shows at least. */
  readonly smallestCrop: number;
  /** Factors of brightness, contrast and saturation of a view are drawn from 1 ± this. */
  readonly jitter: number;
  readonly warmUpEpochs: number;
  readonly warmUpBatchSize: number;
  readonly warmUpLearningRate: number;
  /** Weight of the cross-entropy, beside the whole reverse cross-entropy. */
  readonly alpha: number;
  readonly semiEpochs: number;
  readonly semiSteps: number;
  /** Labelled rows a step, and as many unlabelled ones. */
  readonly semiBatchSize: number;
  readonly semiLearningRate: number;
  readonly labelledShare: number;
  readonly sharpening: number;
  readonly mixAlpha: number;
  readonly unlabelledWeight: number;
  readonly cropPadding: number;
}

/** The authors' configuration. */
const DEFAULTS: DbdSettings = {
  contrastiveEpochs: 100,
  contrastiveBatchSize: 512,
  contrastiveLearningRate: 0.4,
  contrastiveMomentum: 0.9,
  contrastiveWeightDecay: 1e-4,
  temperature: 0.5,
  smallestCrop: 0.2,
  jitter: 0.4,
  warmUpEpochs: 10,
  warmUpBatchSize: 128,
  warmUpLearningRate: 0.002,
  alpha: 0.1,
  semiEpochs: 190,
  semiSteps: 1024,
  semiBatchSize: 64,
  semiLearningRate: 0.002,
  labelledShare: 0.5,
  sharpening: 0.5,
  mixAlpha: 0.75,
  unlabelledWeight: 15,
  cropPadding: 4,
};
/** The rest of SimCLR, which is no setting: its head and its views. */
const FIXED = { projection: 128, hue: 0.1, jitterProbability: 0.8, greyProbability: 0.2 } as const;

/** A stated short schedule, to lay over the defaults where a CPU has to do: a twentieth of SimCLR, about a fiftieth of
 * MixMatch. */
export const DBD_SHORT = {
  contrastiveEpochs: 5,
  semiEpochs: 10,
  semiSteps: 400,
} as const satisfies Partial<DbdSettings>;

/** What a stage needs: the network in training, and the set without trust in its labels. */
interface Stage extends MethodInput {
  readonly model: Model;
  readonly training: Dataset;
  readonly settings: DbdSettings;
  readonly onEpoch: () => void;
}

/**
 * DBD (K. Huang et al., *Backdoor Defense via Decoupling the Training Process*, ICLR 2022): a network of the victim's
 * kind is trained anew on the poisoned set. First its backbone without any label (SimCLR); then a classifier on the
 * frozen backbone, by which labels that do not fit the image show in their loss; last the whole by MixMatch, on the
 * half of the rows whose labels fit best and on the others without theirs. Of the victim only the shape and the
 * normalisation are taken.
 *
 * Otherwise than the authors' code: the learning rate of SimCLR falls to 0 over the epochs that are run (they ran the
 * first hundred of a cosine over a thousand); views are cropped bilinearly and not blurred; MixMatch's crops are padded
 * with black, as in all training here; features of the warm-up come from the images as they are, by a backbone in
 * evaluation mode, where it trains on; warm-up and MixMatch each start Adam anew. NT-Xent takes each view for an
 * anchor, where theirs takes one of the two; the rows are split by their images as they are, not by augmented ones; and
 * the unlabelled rows' weight grows from 0, where theirs has come to a nineteenth when MixMatch starts. As there,
 * MixMatch neither averages nor decays the weights, which its own paper does. Rows are ordered by their log-odds, which
 * SCE falls with and which do not saturate. No test image is looked at: the last epoch is taken.
 */
export const dbd: Method<DbdSettings> = {
  name: 'dbd',
  title: 'DBD: training anew, without labels first',
  paper: 'K. Huang et al., Backdoor Defense via Decoupling the Training Process, ICLR 2022',
  needs: { victim: 'shape', training: true, clean: false },
  computes: ['training', 'scoring', 'fitting'],
  note: 'the learning rate of SimCLR falls to 0 over the epochs that are run, and views are not blurred',
  defaults: DEFAULTS,
  help: {
    contrastiveEpochs: 'epochs of SimCLR, without labels',
    contrastiveBatchSize: 'images a step of SimCLR, two views of each',
    contrastiveLearningRate: "peak of SimCLR's cosine schedule",
    contrastiveMomentum: "of SimCLR's SGD",
    contrastiveWeightDecay: "of SimCLR's SGD",
    temperature: 'of the similarities that SimCLR compares',
    smallestCrop: 'share of the image that a view of SimCLR shows at least, in (0, 1]',
    jitter: 'brightness, contrast and saturation factors of a view are drawn from 1 ± this',
    warmUpEpochs: 'epochs of the classifier on the frozen backbone',
    warmUpBatchSize: 'rows a step of the warm-up',
    warmUpLearningRate: "Adam's, in the warm-up",
    alpha: 'weight of the cross-entropy beside the reverse cross-entropy in the warm-up',
    semiEpochs: 'epochs of MixMatch; the rows are split anew before each',
    semiSteps: 'steps an epoch of MixMatch',
    semiBatchSize: 'labelled rows a step of MixMatch, and as many unlabelled ones',
    semiLearningRate: "Adam's, in MixMatch",
    labelledShare: 'share of the rows that keep their label: those whose label fits best',
    sharpening: 'temperature that guessed labels are sharpened with, in [0.01, 1]',
    mixAlpha: 'pairs are mixed by Beta(α, α), α in [0.1, 4]',
    unlabelledWeight: "weight of the unlabelled rows' loss at the end; it grows from 0",
    cropPadding: "zero padding of MixMatch's random crop, in pixels; 0 crops nothing",
  },
  check(settings) {
    integer('dbd.contrastiveEpochs', settings.contrastiveEpochs, 1, 1e6);
    integer('dbd.contrastiveBatchSize', settings.contrastiveBatchSize, 2, 1 << 20);
    number('dbd.contrastiveLearningRate', settings.contrastiveLearningRate, 0, 1e6);
    number('dbd.contrastiveMomentum', settings.contrastiveMomentum, 0, 1);
    number('dbd.contrastiveWeightDecay', settings.contrastiveWeightDecay, 0, 1e6);
    number('dbd.temperature', settings.temperature, 1e-3, 1e3);
    number('dbd.smallestCrop', settings.smallestCrop, 1e-3, 1);
    number('dbd.jitter', settings.jitter, 0, 1);
    integer('dbd.warmUpEpochs', settings.warmUpEpochs, 1, 1 << 20);
    integer('dbd.warmUpBatchSize', settings.warmUpBatchSize, 1, 1 << 20);
    number('dbd.warmUpLearningRate', settings.warmUpLearningRate, 0, 1e6);
    number('dbd.alpha', settings.alpha, 0, 1e6);
    integer('dbd.semiEpochs', settings.semiEpochs, 1, 1e6);
    integer('dbd.semiSteps', settings.semiSteps, 1, 1 << 20);
    integer('dbd.semiBatchSize', settings.semiBatchSize, 1, 1 << 20);
    number('dbd.semiLearningRate', settings.semiLearningRate, 0, 1e6);
    number('dbd.labelledShare', settings.labelledShare, 0, 1);
    number('dbd.sharpening', settings.sharpening, 0.01, 1);
    number('dbd.mixAlpha', settings.mixAlpha, 0.1, 4);
    number('dbd.unlabelledWeight', settings.unlabelledWeight, 0, 1e6);
    integer('dbd.cropPadding', settings.cropPadding, 0, 64);
  },
  fits: ({ training }, settings) => {
    if (training === null) return;
    checkBatches(settings, training.count);
    checkImages(training);
  },
  // Two views of a row; the features for the warm-up; for MixMatch a score of every row an epoch, and three batches a step,
  // two of which are looked at before.
  units: (settings, { rows }) =>
    2 * TRAINING_UNITS * settings.contrastiveEpochs * rows +
    rows +
    settings.semiEpochs * (rows + settings.semiSteps * settings.semiBatchSize * (3 * TRAINING_UNITS + 2)),
  async run(input, settings) {
    const { victim, evaluation } = input;
    const training = requireTraining(dbd, input);
    const epochs = settings.contrastiveEpochs + settings.warmUpEpochs + settings.semiEpochs;
    let done = 0;
    const onEpoch = () => evaluation.onProgress?.(++done, epochs);
    const model = newLike(victim, input.seed);
    const stage = { ...input, model, training, settings, onEpoch };
    return await workOn(model, async () => {
      const contrastive = await contrast(stage);
      const warmUp = await warmUpClassifier(stage);
      const semi = await mixMatch(stage);
      const said = `trained anew on ${counted(training.count, 'row')}, for ${settings.contrastiveEpochs} epochs without labels and ${settings.semiEpochs} with those of the ${counted(semi.labelled, 'row')} that fit best`;
      return { said, details: { contrastive, warmUp, semi } };
    });
  },
};

/** Rows that keep their label. */
function labelledCount({ labelledShare }: DbdSettings, rows: number): number {
  return Math.floor(labelledShare * rows);
}

/** The core refuses the same batches, but the second kind only when the first stage is done. ERR_OPTION. */
function checkBatches(settings: DbdSettings, rows: number): void {
  const { contrastiveBatchSize, semiBatchSize } = settings;
  if (contrastiveBatchSize > rows) {
    const expected = `at most the ${counted(rows, 'row')} of the training set`;
    throw invalidOption('dbd.contrastiveBatchSize', expected, contrastiveBatchSize);
  }
  const labelled = labelledCount(settings, rows);
  if (semiBatchSize > Math.min(labelled, rows - labelled)) {
    const expected = `at most the rows of either part, ${labelled} labelled and ${rows - labelled} others`;
    throw invalidOption('dbd.semiBatchSize', expected, semiBatchSize);
  }
}

/** The views are coloured, and what no row is labelled cannot be learnt. ERR_DATA */
function checkImages(training: Dataset): void {
  const { channels } = training.shape;
  if (channels !== 3) {
    const message = `dbd: expected images of 3 channels, whose colours its views change, got ${channels}; take another method`;
    throw new PadFtError('ERR_DATA', message, { details: { channels } });
  }
  requireEveryClass(dbd, training);
}

function precisionOf({ evaluation, model }: Stage, purpose: Purpose) {
  return resolvePrecision(evaluation.precision ?? 'auto', model.device, purpose);
}

/** Trains the backbone in place, without labels. Returns the mean loss of the first and of the last epoch. */
async function contrast(stage: Stage): Promise<{ readonly first: number; readonly last: number }> {
  const { model, training, settings, flip, seed, evaluation } = stage;
  const precision = precisionOf(stage, 'training');
  const trainer = callNative(() =>
    loadAddon().createContrastiveTrainer(model.native, {
      ...FIXED,
      ...{ temperature: settings.temperature, smallestCrop: settings.smallestCrop, jitter: settings.jitter, flip },
      momentum: settings.contrastiveMomentum,
      weightDecay: settings.contrastiveWeightDecay,
      seed: streamSeed(seed, 'anew') + 1,
    }),
  );
  try {
    const losses: number[] = [];
    for (let epoch = 0; epoch < settings.contrastiveEpochs; epoch++) {
      const [rate] = learningRate('cosine', settings.contrastiveLearningRate, epoch, settings.contrastiveEpochs);
      const options = {
        ...{ batchSize: settings.contrastiveBatchSize, learningRate: rate, precision },
        seed: streamSeed(seed, 'views') + epoch,
      };
      const { loss } = await naming({ 'contrastive.learningRate': 'dbd.contrastiveLearningRate' }, () =>
        runJob(evaluation.signal, () => trainer.epoch(training.native, options)),
      );
      losses.push(loss);
      stage.onEpoch();
    }
    return { first: losses[0] as number, last: losses.at(-1) as number };
  } finally {
    callNative(() => trainer.dispose());
  }
}

/** Trains a new classifier on the frozen backbone, in place. */
async function warmUpClassifier(stage: Stage): Promise<Omit<WarmUpResult, 'seconds'>> {
  const { model, training, settings, seed, evaluation } = stage;
  const options = {
    ...{ epochs: settings.warmUpEpochs, batchSize: settings.warmUpBatchSize },
    ...{ learningRate: settings.warmUpLearningRate, alpha: settings.alpha, logZero: LOG_ZERO },
    seed: streamSeed(seed, 'anew') + 2,
    precision: precisionOf(stage, 'fitting'),
    featureBatchSize: evaluation.batchSize ?? 256,
  };
  const { loss, accuracy } = await naming({ 'warmUp.learningRate': 'dbd.warmUpLearningRate' }, () =>
    runJob(evaluation.signal, () => model.native.warmUpClassifier(training.native, options)),
  );
  for (let epoch = 0; epoch < settings.warmUpEpochs; epoch++) stage.onEpoch();
  return { loss, accuracy };
}

interface SemiOutcome {
  /** Rows that keep their label in an epoch; of the last one, how many of each label. */
  readonly labelled: number;
  readonly ofLabel: readonly number[];
  /** Mean losses of the first and of the last epoch. */
  readonly first: SemiLosses;
  readonly last: SemiLosses;
}
interface SemiLosses {
  readonly labelled: number;
  readonly unlabelled: number;
}

/** Trains every weight in place, the rows split anew before each epoch. */
async function mixMatch(stage: Stage): Promise<SemiOutcome> {
  const { model, training, settings, flip, seed, evaluation } = stage;
  const { onProgress: _, ...quiet } = evaluation;
  const scoring = { ...quiet, precision: precisionOf(stage, 'scoring') };
  const precision = precisionOf(stage, 'training');
  const given = training.labels();
  const count = labelledCount(settings, training.count);
  const trainer = callNative(() => loadAddon().createMixMatchTrainer(model.native));
  try {
    const losses: SemiLosses[] = [];
    let labelled = new Uint32Array();
    for (let epoch = 0; epoch < settings.semiEpochs; epoch++) {
      const { logOdds } = await model.score(training, scoring);
      labelled = rankAscending(logOdds.map((odds) => -odds)).slice(0, count);
      const weight = (at: number) => (settings.unlabelledWeight * at) / settings.semiEpochs;
      const options = {
        ...{ steps: settings.semiSteps, batchSize: settings.semiBatchSize, learningRate: settings.semiLearningRate },
        ...{ sharpening: settings.sharpening, mixAlpha: settings.mixAlpha, cropPadding: settings.cropPadding },
        ...{ flip, precision, unlabelledWeight: [weight(epoch), weight(epoch + 1)] as const },
        seed: streamSeed(seed, 'mix') + epoch,
      };
      const rows = labelled;
      const result = await naming({ 'mixmatch.learningRate': 'dbd.semiLearningRate' }, () =>
        runJob(evaluation.signal, () => trainer.epoch(training.native, rows, options)),
      );
      losses.push({ labelled: result.labelledLoss, unlabelled: result.unlabelledLoss });
      stage.onEpoch();
    }
    const ofLabel = Array.from({ length: training.classes }, () => 0);
    for (const row of labelled) ofLabel[given[row] as number]!++;
    return { labelled: count, ofLabel, first: losses[0] as SemiLosses, last: losses.at(-1) as SemiLosses };
  } finally {
    callNative(() => trainer.dispose());
  }
}
