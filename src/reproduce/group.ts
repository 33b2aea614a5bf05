import { join } from 'node:path';
import type { DatasetPair } from '../datasets/index.js';
import { type Device, type Precision, resolveDevice } from '../device.js';
import { type ErrorCode, isAbort, originalError, PadFtError } from '../errors.js';
import { type ExperimentContext, type ExperimentEvent, loadPair, RUN_FILES, warnOfWeakVictim } from '../experiment.js';
import { openFolder, removeFile, shareFile } from '../formats/folder.js';
import { MemoryWatch } from '../memory.js';
import type { Model } from '../model.js';
import { loadModel } from '../model-file.js';
import type { NativeDevice } from '../native/contract.js';
import { type PoisonedSet, poison } from '../poisoned-set.js';
import { type CardFile, describeDataset, makeCard, writeCard } from '../report/card.js';
import { describeEnvironment } from '../report/environment.js';
import { judgeVictim, type VictimFigures } from '../report/judge.js';
import { readTraining, saveTraining, TRAINING_FILES, type TrainingCard } from '../report/training-card.js';
import { type Poisoning, TRAIN_DEFAULTS, type TrainSettings } from '../train.js';
import { writeTruth } from '../truth-file.js';
import { trainVictim } from '../victim.js';
import { findTraining, isTrainingOf, modelIsWhole, type WantedTraining } from './adopt.js';
import type { CellGroup } from './cells.js';
import { JUDGEMENT_FILE, judgementKey, readJudgement, writeJudgement } from './judgement.js';
import { runCell } from './run-cell.js';
import { CellStore } from './store.js';

/** Victims meet the poison as their attack was published. */
const POISONING: Poisoning = 'per-batch';

/** A victim with its pending defences, as plain data: it may cross to another process. */
export interface GroupTask extends CellGroup {
  readonly out: string;
  /** Where victims trained elsewhere are looked for. */
  readonly adoptFrom: readonly string[];
  /** Where the data set lies: `path`, `download`. */
  readonly dataPlace: Readonly<Record<string, unknown>>;
  readonly keepModels: boolean;
  readonly device: Device;
  readonly precision: Precision;
  readonly command: readonly string[] | null;
}

/** A cell that could not be made, and why. */
export interface CellFailure {
  /** Of the defence, or of the victim when no defence could be tried. */
  readonly key: string;
  readonly name: string;
  readonly code: ErrorCode;
  readonly message: string;
}

export type GroupEvent = ExperimentEvent | { readonly type: 'cell'; readonly key: string; readonly name: string };

export interface GroupContext {
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: GroupEvent) => void) | undefined;
}

/**
 * Runs one group: loads and poisons the data once, trains, adopts or finds the victim, judges it once, and runs its
 * pending defences, each into a folder of its own, its card last. A defence that fails is reported and the next one
 * runs; when the victim fails, so do all.
 *
 * @throws PadFtError ERR_ABORTED; whatever is not a `PadFtError`
 */
export async function runGroup(task: GroupTask, context: GroupContext = {}): Promise<readonly CellFailure[]> {
  try {
    return await runDefenses(task, context);
  } catch (thrown) {
    const error = originalError(thrown);
    if (isAbort(error) || !(error instanceof PadFtError)) throw error;
    return [failure(task.victim, error), ...task.defenses.map((cell) => failure(cell, error))];
  }
}

function failure({ key, name }: { readonly key: string; readonly name: string }, error: PadFtError): CellFailure {
  return { key, name, code: error.code, message: error.message };
}

async function runDefenses(task: GroupTask, { signal, onEvent }: GroupContext): Promise<readonly CellFailure[]> {
  const say = onEvent ?? (() => {});
  const { victim: cell, defenses, precision } = task;
  const store = new CellStore(task.out);
  const folder = store.victimFolder(cell);
  const device = resolveDevice(task.device);
  const watch = new MemoryWatch(device);
  const evaluation = { signal, precision };
  const context: ExperimentContext = { signal, onEvent: say };

  say({ type: 'stage', stage: 'load', text: `${cell.name}: loading ${cell.dataset}` });
  const datasetOptions = { ...cell.datasetOptions, ...task.dataPlace };
  const pair = await watch.measure('load', () => loadPair({ dataset: cell.dataset, datasetOptions }, context));
  say({ type: 'stage', stage: 'poison', text: `${cell.name}: poisoning the training set` });
  using set = await watch.measure('poison', () => poison(pair, cell.poison, { device, signal }));
  await openFolder(folder, [...Object.values(TRAINING_FILES), RUN_FILES.truth, JUDGEMENT_FILE]);
  const truth = await writeTruth(join(folder, RUN_FILES.truth), set.truth, set.manifest);

  const { model, training } = await obtainVictim(task, folder, pair, set, device, watch, context);
  using victim = model;
  const before = await judged(task, folder, victim, training, set, device, watch, context);
  warnOfWeakVictim(before, say);

  const shared = [...watch.costs];
  const bench = { victim, set, before, evaluation, say, scored: new Map(), pair, keepModels: task.keepModels };
  const failures: CellFailure[] = [];
  for (const defense of defenses) {
    const own = new MemoryWatch(device);
    const home = store.defenseFolder(defense);
    try {
      const done = await runCell(defense, { ...bench, watch: own, home });
      const inputs = task.keepModels ? await shareInputs(folder, home, training, truth) : [];
      const card = makeCard({
        command: task.command,
        config: {
          dataset: describeDataset(pair, datasetOptions),
          poison: set.manifest,
          train: training.settings,
          ...(training.poisoning && { poisoning: training.poisoning }),
          victim: null,
          ...done.config,
        },
        seeds: {
          root: cell.seed,
          poison: set.manifest.seed,
          train: training.settings.seed,
          defenses: done.seeds,
        },
        environment: describeEnvironment(device, {
          ...done.precision,
          // The victim's is not settled here: an adopted one was trained on whatever machine its `training.json` names.
          training: done.precision.training ?? training.environment.precision?.training ?? null,
        }),
        files: [...done.files, ...inputs],
        victim: { history: training.history, evaluation: before.evaluation },
        ...done.rows,
        costs: [...shared, ...own.costs],
      });
      await writeCard(home, card);
      say({ type: 'cell', key: defense.key, name: defense.name });
    } catch (thrown) {
      const error = originalError(thrown);
      if (isAbort(error) || !(error instanceof PadFtError)) throw error;
      failures.push(failure(defense, error));
      say({ type: 'warning', message: `${defense.name}: ${error.code}: ${error.message}` });
    }
  }
  return failures;
}

/** The victim and its ground truth beside the defended models, so that `pad-ft evaluate` can judge the folder. */
async function shareInputs(
  from: string,
  to: string,
  training: TrainingCard,
  truth: { readonly bytes: number; readonly sha256: string },
): Promise<CardFile[]> {
  await shareFile(join(from, RUN_FILES.truth), join(to, RUN_FILES.truth));
  await shareFile(join(from, TRAINING_FILES.victim), join(to, RUN_FILES.victim));
  return [{ path: RUN_FILES.truth, ...truth }, ...training.files.filter(({ path }) => path === RUN_FILES.victim)];
}

interface Victim {
  readonly model: Model;
  readonly training: TrainingCard;
}

/** The victim of the folder, one trained elsewhere on the same data by the same settings, or a new one. */
async function obtainVictim(
  task: GroupTask,
  folder: string,
  pair: DatasetPair,
  set: PoisonedSet,
  device: NativeDevice,
  watch: MemoryWatch,
  context: ExperimentContext,
): Promise<Victim> {
  const { victim: cell, adoptFrom } = task;
  const say = context.onEvent ?? (() => {});
  const settings: TrainSettings = {
    ...TRAIN_DEFAULTS,
    flip: set.flip && TRAIN_DEFAULTS.flip,
    ...cell.train,
  };
  const poisoning = set.recipe === null ? 'stored' : POISONING;
  const wanted: WantedTraining = { manifest: set.manifest, settings, poisoning };
  const store = new CellStore(task.out);
  const own = await store.training(cell);
  if (own !== null && isTrainingOf(own, wanted) && (await modelIsWhole(folder, own))) {
    return { model: await openVictim(folder, device), training: own };
  }
  const found = await findTraining([...adoptFrom, store.victims], (training) => isTrainingOf(training, wanted));
  if (found !== null) {
    say({ type: 'stage', stage: 'train', text: `${cell.name}: the victim of ${found.folder}` });
    // The model first: `training.json` says that it is there.
    await shareFile(join(found.folder, TRAINING_FILES.victim), join(folder, TRAINING_FILES.victim));
    await shareFile(join(found.folder, TRAINING_FILES.card), join(folder, TRAINING_FILES.card));
    return { model: await openVictim(folder, device), training: found.training };
  }
  say({ type: 'stage', stage: 'train', text: `${cell.name}: training the victim` });
  await removeFile(join(folder, TRAINING_FILES.card));
  await watch.measure('train', () => trainInto(folder, pair, set, settings, device, context));
  return { model: await openVictim(folder, device), training: await readTraining(folder) };
}

async function openVictim(folder: string, device: NativeDevice): Promise<Model> {
  return (await loadModel(join(folder, TRAINING_FILES.victim), { device })).model;
}

/** Trains into the folder, from its checkpoint when there is one that fits. */
async function trainInto(
  folder: string,
  pair: DatasetPair,
  set: PoisonedSet,
  settings: TrainSettings,
  device: NativeDevice,
  { signal, onEvent }: ExperimentContext,
): Promise<void> {
  const checkpoint = join(folder, TRAINING_FILES.checkpoint);
  const attempt = () =>
    trainVictim(pair, set, settings, POISONING, {
      signal,
      checkpoint,
      resume: true,
      onProgress: (done, total) => onEvent?.({ type: 'progress', stage: 'train', done, total }),
      onEpoch: (report) => onEvent?.({ type: 'epoch', report }),
    });
  const training = await attempt().catch(async (thrown: unknown) => {
    const error = originalError(thrown);
    const unusable =
      error instanceof PadFtError &&
      (error.code === 'ERR_FILE_FORMAT' || (error.code === 'ERR_MODEL' && error.message.startsWith(checkpoint)));
    if (!unusable) throw error;
    onEvent?.({ type: 'warning', message: `starting anew: ${error.message}` });
    await removeFile(checkpoint);
    return attempt();
  });
  using _ = training.model;
  const subject = { name: set.name, folder: null, rows: set.train.count, poison: set.manifest };
  await saveTraining(folder, training, subject, device);
}

async function judged(
  { victim: cell, precision }: GroupTask,
  folder: string,
  victim: Model,
  training: TrainingCard,
  set: PoisonedSet,
  device: NativeDevice,
  watch: MemoryWatch,
  { signal, onEvent }: ExperimentContext,
): Promise<VictimFigures> {
  const model = training.files.find(({ path }) => path === TRAINING_FILES.victim)?.sha256;
  const key = judgementKey(model, set.manifest, precision, device);
  const before = await readJudgement(folder, key, set.train.count);
  if (before !== null) return before;
  onEvent?.({ type: 'stage', stage: 'judge', text: `${cell.name}: judging the victim` });
  const figures = await watch.measure('judge', () =>
    judgeVictim(victim, set, {
      signal,
      precision,
      onProgress: (done, total) => onEvent?.({ type: 'progress', stage: 'judge', done, total }),
    }),
  );
  await writeJudgement(folder, key, figures);
  return figures;
}
