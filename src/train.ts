import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { Dataset } from './dataset.js';
import { PRECISIONS, type Precision, resolvePrecision } from './device.js';
import { invalidOption, isAbort, originalError, PadFtError } from './errors.js';
import { type Evaluation, evaluate, type TestSets } from './evaluate.js';
import { checkJson, listOf, object, record, sha256 } from './formats/json-shape.js';
import { counted } from './formats/plural.js';
import { safeText } from './formats/terminal.js';
import { checkEpoch, checkTrainSettings } from './formats/training-shape.js';
import { MODEL_NAMES, Model, type ModelName } from './model.js';
import { loadModel, saveModel } from './model-file.js';
import type { NativePrecision, NativeTrainer, StateEntry, WarpRecipe } from './native/contract.js';
import { callNative, type RunContext, runJob, throwIfAborted } from './native/job.js';
import { loadAddon } from './native/load.js';
import { boolean, choice, integer, number, withDefaults } from './options.js';
import { streamSeed } from './random.js';
import { learningRate, SCHEDULES, type ScheduleName } from './schedule.js';

/** How a victim meets the poison: in a set that was marked before, or in batches that a recipe poisons one by one. */
export const POISONINGS = ['stored', 'per-batch'] as const;
export type Poisoning = (typeof POISONINGS)[number];

/** How a victim is trained. The defaults are BackdoorBench's. */
export interface TrainSettings {
  readonly model: ModelName;
  /** Channels of the first stage: 64 is the published network, 16 suits a CPU. */
  readonly width: number;
  readonly epochs: number;
  readonly batchSize: number;
  /** The peak of the schedule. */
  readonly learningRate: number;
  readonly schedule: ScheduleName;
  readonly momentum: number;
  readonly weightDecay: number;
  /** Zero padding of the random crop in pixels; 0 crops nothing. With a recipe, of its crop, and `flip` of its mirror. */
  readonly cropPadding: number;
  readonly flip: boolean;
  /** Leaves out the last, smaller batch of each epoch. */
  readonly dropLast: boolean;
  readonly seed: number;
  readonly precision: Precision;
}

export const TRAIN_DEFAULTS: TrainSettings = {
  model: 'preact-resnet18',
  width: 64,
  epochs: 100,
  batchSize: 128,
  learningRate: 0.01,
  schedule: 'cosine',
  momentum: 0.9,
  weightDecay: 5e-4,
  cropPadding: 4,
  flip: true,
  dropLast: true,
  seed: 0,
  precision: 'auto',
};

export interface EpochReport {
  /** 1 for the first. */
  readonly epoch: number;
  readonly epochs: number;
  readonly learningRate: number;
  /** Mean cross-entropy and accuracy over the epoch's own augmented batches. */
  readonly loss: number;
  readonly trainAccuracy: number;
  readonly imagesPerSecond: number;
  readonly seconds: number;
  /** On the test sets after the epoch; null when none were given. */
  readonly evaluation: Evaluation | null;
}

/** Training runs where its data are. */
export interface TrainContext extends RunContext {
  /** Poisons every batch of the data, which are clean then (`PoisonedSet.recipe`); without one rows are taken as they are. */
  readonly recipe?: WarpRecipe | null | undefined;
  /** Judged after each epoch when given. */
  readonly testSets?: TestSets | undefined;
  /** Called after each epoch, once its checkpoint, if it has one, is on the disk. */
  readonly onEpoch?: ((report: EpochReport) => void) | undefined;
  /**
   * Written atomically after every epoch (less often when writing takes more than a twentieth of the time) and after the
   * last; training can be resumed from it, on the CPU to the same bytes.
   */
  readonly checkpoint?: string | undefined;
  /** Continues from the checkpoint when it is there. */
  readonly resume?: boolean | undefined;
}

/** The data's own normalisation, for the model. */
export interface Normalisation {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

export interface Training {
  readonly model: Model;
  readonly history: readonly EpochReport[];
  readonly settings: TrainSettings;
  /** The arithmetic of its convolutions, never `auto`. */
  readonly precision: NativePrecision;
  /** What poisoned the batches; null when rows were taken as they are. */
  readonly recipe: WarpRecipe | null;
}

const MOMENTUM = 'trainer.momentum';

/** Checkpoints may cost this share of the time: small networks keep every epoch, large ones on a fast device some. */
const CHECKPOINT_SHARE = 0.05;

/**
 * Trains a network on a data set. On abort the promise rejects with ERR_ABORTED; the checkpoint then holds the last
 * epoch saved.
 *
 * @throws PadFtError ERR_OPTION, also when a recipe's rate poisons no row of a batch; ERR_NUMERIC when the loss is no
 * longer a number; ERR_OOM; ERR_MODEL when a checkpoint was made with other settings
 */
export async function train(
  data: Dataset,
  normalisation: Normalisation,
  given: Partial<TrainSettings> = {},
  context: TrainContext = {},
): Promise<Training> {
  const settings = trainSettings(given);
  checkBatches(settings, data.count, context.recipe);
  throwIfAborted(context.signal);
  // Whatever may be refused comes before there is a model and a trainer to free.
  const precision = resolvePrecision(settings.precision, data.device, 'training');
  const recipe = context.recipe ?? null;
  const identity = fingerprint(data, normalisation, recipe);
  const start = await begin(data, normalisation, settings, identity, context);
  const { model, trainer } = start;
  const history = [...start.history];
  const checkpoint = new CheckpointWriter(context.checkpoint, history.length, identity);
  try {
    for (let epoch = history.length; epoch < settings.epochs; epoch++) {
      const rates = learningRate(settings.schedule, settings.learningRate, epoch, settings.epochs);
      const { batchSize, dropLast, cropPadding, flip } = settings;
      const seed = streamSeed(settings.seed, 'shuffle') + epoch;
      const result = await runJob(context.signal, () =>
        trainer.epoch(
          data.native,
          { batchSize, dropLast, cropPadding, flip, learningRate: rates, seed, precision, recipe, objective: null },
          context.onProgress,
        ),
      );
      const evaluation = context.testSets ? await evaluate(model, context.testSets, { signal: context.signal }) : null;
      const report: EpochReport = {
        epoch: epoch + 1,
        epochs: settings.epochs,
        learningRate: rates[0],
        loss: result.loss,
        trainAccuracy: result.correct / result.count,
        imagesPerSecond: result.count / result.seconds,
        seconds: result.seconds,
        evaluation,
      };
      history.push(report);
      await checkpoint.offer(model, trainer, settings, history);
      context.onEpoch?.(report);
    }
    return { model, history, settings, precision, recipe };
  } catch (error) {
    model.dispose();
    throw isAbort(error) ? checkpoint.explain(history.length, settings.epochs, originalError(error)) : error;
  } finally {
    callNative(() => trainer.dispose());
  }
}

/**
 * Complete settings, checked as far as they can be before the data set is known. ERR_OPTION names the first that is
 * unknown or out of range.
 */
export function trainSettings(given: Partial<TrainSettings> = {}): TrainSettings {
  const settings = withDefaults('train', TRAIN_DEFAULTS, given);
  choice('train.model', settings.model, MODEL_NAMES);
  integer('train.width', settings.width, 1, 1024);
  integer('train.epochs', settings.epochs, 1, 1e6);
  integer('train.batchSize', settings.batchSize, 2, 1 << 20);
  number('train.learningRate', settings.learningRate, 0, 1e6);
  choice('train.schedule', settings.schedule, SCHEDULES);
  number('train.momentum', settings.momentum, 0, 1);
  number('train.weightDecay', settings.weightDecay, 0, 1e6);
  integer('train.cropPadding', settings.cropPadding, 0, 64);
  boolean('train.flip', settings.flip);
  boolean('train.dropLast', settings.dropLast);
  integer('train.seed', settings.seed, 0);
  choice('train.precision', settings.precision, PRECISIONS);
  return settings;
}

/**
 * The batches that settings make of this many rows. The core refuses the same ones, but only at the first epoch, when
 * files of an earlier training are gone. ERR_OPTION where there is none, a last one of a single row, or one that a recipe
 * cannot poison.
 */
export function checkBatches(
  { batchSize, dropLast }: TrainSettings,
  rows: number,
  recipe: WarpRecipe | null | undefined,
): void {
  if (dropLast && batchSize > rows) {
    throw invalidOption('train.batchSize', `at most the ${counted(rows, 'row')} of the data set`, batchSize);
  }
  if (!dropLast && rows % batchSize === 1) {
    throw invalidOption('train.batchSize', 'a size that leaves no last batch of one row, or to drop it', batchSize);
  }
  if (!recipe) return;
  const { rate, crossRatio } = recipe;
  const poisoned = Math.trunc(rate * batchSize);
  if (poisoned === 0) {
    const least = `at least ${Math.ceil(1 / rate)}, for one poisoned image a batch`;
    throw new PadFtError('ERR_OPTION', `train.batchSize: at poison rate ${rate} expected ${least}, got ${batchSize}`, {
      details: { path: 'train.batchSize', rate, got: batchSize },
    });
  }
  if (poisoned + Math.trunc(crossRatio * poisoned) > batchSize) {
    throw invalidOption(
      'train.batchSize',
      `a batch that holds ${crossRatio} noise images for each of ${poisoned} poisoned ones`,
      batchSize,
    );
  }
}

interface Start {
  readonly model: Model;
  readonly trainer: NativeTrainer;
  readonly history: readonly EpochReport[];
}

async function begin(
  data: Dataset,
  normalisation: Normalisation,
  settings: TrainSettings,
  identity: string,
  context: TrainContext,
): Promise<Start> {
  const { momentum, weightDecay } = settings;
  const makeTrainer = (model: Model) =>
    callNative(() => loadAddon().createTrainer(model.native, { momentum, weightDecay }));
  if (context.resume && context.checkpoint !== undefined && existsSync(context.checkpoint)) {
    return resume(context.checkpoint, data, settings, identity, context, makeTrainer);
  }
  const model = Model.create({
    name: settings.model,
    classes: data.classes,
    width: settings.width,
    mean: normalisation.mean,
    std: normalisation.std,
    seed: streamSeed(settings.seed, 'init'),
    device: data.device,
  });
  try {
    return { model, trainer: makeTrainer(model), history: [] };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

interface Checkpoint {
  readonly settings: TrainSettings;
  readonly history: readonly EpochReport[];
  /** The fingerprint of what it was trained on. */
  readonly data: string;
}

const checkCheckpoint = object<Checkpoint>({
  // A setting that the file's version did not have yet was at what is its default now.
  settings: (value, at) => checkTrainSettings({ ...TRAIN_DEFAULTS, ...record(value, at) }, at),
  history: listOf(checkEpoch),
  data: sha256,
});

async function resume(
  path: string,
  data: Dataset,
  settings: TrainSettings,
  identity: string,
  context: TrainContext,
  makeTrainer: (model: Model) => NativeTrainer,
): Promise<Start> {
  const { model, metadata, extra } = await loadModel(path, {
    device: data.device,
    extraPrefixes: ['trainer.'],
  }).catch((error: unknown) => {
    if (!(error instanceof PadFtError) || error.code !== 'ERR_FILE_FORMAT') throw error;
    throw new PadFtError(error.code, `${error.message}; ${ANEW}`, { details: error.details, cause: error });
  });
  try {
    const saved = metadata.get('pad-ft.train');
    const momentum = extra.get(MOMENTUM);
    if (saved === undefined || momentum?.dtype !== 'F32') {
      throw checkpointError(path, `is a model, not a checkpoint; ${ANEW}`);
    }
    const before = checkJson(checkCheckpoint, saved, { file: path, path: 'pad-ft.train' });
    const changed: string[] = Object.keys(settings).filter(
      (key) => Reflect.get(before.settings, key) !== Reflect.get(settings, key),
    );
    const differences = changed.map(
      (key) => `${key} ${Reflect.get(before.settings, key)}, not ${Reflect.get(settings, key)}`,
    );
    if (before.data !== identity) {
      changed.push('the training set');
      differences.push('another training set');
    }
    if (changed.length > 0) {
      const problem = `was made with something else (${differences.join('; ')}); use the same, or ${ANEW}`;
      throw checkpointError(path, problem, { changed });
    }
    const trainer = makeTrainer(model);
    // Not slice(): on a Buffer that is a view, and its buffer the whole file.
    const bytes = new Uint8Array(momentum.data);
    await runJob(context.signal, () => trainer.loadState(new Float32Array(bytes.buffer))).catch((error: unknown) => {
      callNative(() => trainer.dispose());
      const unfit = error instanceof PadFtError && error.code === 'ERR_MODEL';
      throw unfit ? checkpointError(path, `does not fit: ${error.message}`) : error;
    });
    return { model, trainer, history: before.history };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** What to do about a checkpoint that is of no use. */
const ANEW = 'start anew without it (`--overwrite` on the command line)';

function checkpointError(path: string, problem: string, details: Readonly<Record<string, unknown>> = {}): PadFtError {
  return new PadFtError('ERR_MODEL', safeText(`${path} ${problem}`), { details: { path, ...details } });
}

/** Rows whose pixels tell two training sets apart: a trigger shows in a tenth of them, or in one of a hundred. */
const FINGERPRINT_ROWS = 2048;

/** SHA-256 over all labels, pixels of rows spread over the set, normalisation and recipe: what a checkpoint belongs to. */
function fingerprint(data: Dataset, { mean, std }: Normalisation, recipe: WarpRecipe | null): string {
  const count = Math.min(FINGERPRINT_ROWS, data.count);
  const rows = Uint32Array.from({ length: count }, (_, i) => Math.floor((i * data.count) / count));
  const hash = createHash('sha256').update(JSON.stringify({ mean, std, shape: data.shape }));
  hash.update(data.labels()).update(data.images(rows));
  if (recipe !== null) {
    const { grid, ...numbers } = recipe;
    hash.update(JSON.stringify(numbers)).update(grid);
  }
  return hash.digest('hex');
}

/** Writes checkpoints, no more often than they are worth. */
class CheckpointWriter {
  readonly #path: string | undefined;
  readonly #data: string;
  #savedEpochs: number;
  #lastEnd = performance.now();
  #lastCost = 0;

  constructor(path: string | undefined, savedEpochs: number, data: string) {
    this.#path = path;
    this.#data = data;
    this.#savedEpochs = savedEpochs;
  }

  async offer(
    model: Model,
    trainer: NativeTrainer,
    settings: TrainSettings,
    history: readonly EpochReport[],
  ): Promise<void> {
    if (this.#path === undefined) return;
    const start = performance.now();
    const due = start - this.#lastEnd >= this.#lastCost / CHECKPOINT_SHARE;
    if (!due && history.length < settings.epochs) return;
    const momentum = await runJob(undefined, () => trainer.state());
    const bytes = new Uint8Array(momentum.buffer, momentum.byteOffset, momentum.byteLength);
    const tensor: StateEntry = { name: MOMENTUM, dtype: 'F32', shape: [momentum.length], data: bytes };
    await saveModel(model, this.#path, {
      tensors: [tensor],
      metadata: { 'pad-ft.train': JSON.stringify({ settings, history, data: this.#data }) },
    });
    this.#savedEpochs = history.length;
    this.#lastEnd = performance.now();
    this.#lastCost = this.#lastEnd - start;
  }

  /** ERR_ABORTED that says what the checkpoint holds. */
  explain(epochsDone: number, epochs: number, cause: unknown): PadFtError {
    const where = `training was stopped in epoch ${Math.min(epochs, epochsDone + 1)} of ${epochs}`;
    return new PadFtError('ERR_ABORTED', `${where}; ${this.#whatIsKept()}`, {
      details: { checkpoint: this.#path ?? null, epochs: this.#savedEpochs },
      cause,
    });
  }

  #whatIsKept(): string {
    if (this.#path === undefined) return 'no checkpoint was asked for, so nothing is kept';
    if (this.#savedEpochs === 0) return 'no epoch was complete, so there is no checkpoint to resume from';
    return `${this.#path} holds the first ${this.#savedEpochs}: continue with --resume`;
  }
}
