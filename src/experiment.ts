import { basename, dirname, join, resolve } from 'node:path';
import { DATASETS, type DatasetName, type DatasetPair, type DatasetSource, isDatasetName } from './datasets/index.js';
import { defendAndJudge } from './defend-and-judge.js';
import { DEFAULT_DEFENSES, type DefenseRequest, planDefenses } from './defense-request.js';
import { type DefenseProgress, requireUnbounded } from './defenses/pad-ft/index.js';
import { type Device, type Precision, resolveDevice, resolvePrecision } from './device.js';
import { invalidOption, PadFtError } from './errors.js';
import { openFolder, removeFile } from './formats/folder.js';
import { safeText } from './formats/terminal.js';
import { MemoryWatch } from './memory.js';
import type { Model } from './model.js';
import { loadModel } from './model-file.js';
import { nonFiniteWarning, requireFit } from './model-fit.js';
import { choice, integer, onlyKnown } from './options.js';
import { type PoisonedSet, type PoisonSettings, poison, poisonSettings } from './poisoned-set.js';
import {
  CARD_FILE,
  type CardFile,
  type CardRow,
  describeDataset,
  makeCard,
  type RunCard,
  writeCard,
} from './report/card.js';
import { defenseFiles, isDefenseFile, removeRun, saveDefense, saveModelFile } from './report/defense-files.js';
import { defensePrecision, describeEnvironment } from './report/environment.js';
import { judgeVictim, type VictimFigures } from './report/judge.js';
import {
  type EpochReport,
  POISONINGS,
  type Poisoning,
  type Training,
  type TrainSettings,
  trainSettings,
} from './train.js';
import { TRUTH_FILE, writeTruth } from './truth-file.js';
import { checkVictim, trainVictim } from './victim.js';

export interface ExperimentOptions {
  readonly dataset: DatasetName;
  /** The data set's own options (`path`, `train`, …); the source checks them. */
  readonly datasetOptions?: Readonly<Record<string, unknown>> | undefined;
  readonly poison?: Partial<PoisonSettings> | undefined;
  readonly train?: Partial<TrainSettings> | undefined;
  /**
   * How the victim meets the poison. `per-batch`, the default where the attack has a recipe (WaNet), trains on the clean
   * rows and poisons every batch anew, as published; `stored` trains on the set that the defender sees, as for all others.
   */
  readonly poisoning?: Poisoning | undefined;
  /** A trained victim's file, instead of training one: `train`, `poisoning` and `resume` are refused beside it. */
  readonly victim?: string | undefined;
  /** Defaults to both presets. */
  readonly defenses?: readonly DefenseRequest[] | undefined;
  /** Where everything is written; made when it is not there. */
  readonly folder: string;
  readonly device?: Device | undefined;
  /** Of evaluation and defence; training has its own in `train`. */
  readonly precision?: Precision | undefined;
  /** Feeds the seeds of poisoning, training and defence that are not given themselves. Defaults to 0. */
  readonly seed?: number | undefined;
  /** Continues training from the folder's checkpoint when there is one. */
  readonly resume?: boolean | undefined;
  /** The command line, for the card. */
  readonly command?: readonly string[] | undefined;
}

export type ExperimentStage = 'load' | 'poison' | 'train' | 'judge' | 'defend';

/** What a run reports while it works; `text` is for people. */
export type ExperimentEvent =
  | { readonly type: 'stage'; readonly stage: ExperimentStage; readonly text: string }
  | { readonly type: 'progress'; readonly stage: ExperimentStage; readonly done: number; readonly total: number }
  | { readonly type: 'epoch'; readonly report: EpochReport }
  | ({ readonly type: 'defense'; readonly name: string } & DefenseProgress)
  | { readonly type: 'row'; readonly row: CardRow }
  | { readonly type: 'warning'; readonly message: string };

export interface ExperimentContext {
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: ExperimentEvent) => void) | undefined;
}

export interface ExperimentResult {
  readonly card: RunCard;
  readonly folder: string;
}

/** The files of a run beside those of its defences. */
export const RUN_FILES = {
  victim: 'victim.safetensors',
  checkpoint: 'checkpoint.safetensors',
  truth: TRUTH_FILE,
} as const;

/** A misspelt option must not pass for its default. */
const KNOWN: { readonly [K in keyof Required<ExperimentOptions>]: true } = {
  dataset: true,
  datasetOptions: true,
  poison: true,
  train: true,
  poisoning: true,
  victim: true,
  defenses: true,
  folder: true,
  device: true,
  precision: true,
  seed: true,
  resume: true,
  command: true,
};

/**
 * The whole method, from a clean data set to a run card: poison it, train a victim, defend that, and only then look at
 * the ground truth. The card is written last; a run that fails or is stopped leaves none, and `resume` continues from
 * the last epoch saved. What an earlier run left in the folder is taken away only when every setting was found to fit.
 *
 * @throws PadFtError ERR_OPTION for an option that is unknown or out of range; whatever its steps throw; ERR_ABORTED when
 * the signal was raised
 */
export async function runExperiment(
  options: ExperimentOptions,
  context: ExperimentContext = {},
): Promise<ExperimentResult> {
  const { folder, seed = 0 } = options;
  const requests = options.defenses ?? DEFAULT_DEFENSES;
  checkSettings(options, requests);
  const device = resolveDevice(options.device);
  resolvePrecision(options.train?.precision ?? 'auto', device, 'training');
  const watch = new MemoryWatch(device);
  const say = context.onEvent ?? (() => {});
  const { signal } = context;
  const precision = options.precision ?? 'auto';
  resolvePrecision(precision, device, 'evaluation');
  const evaluation = { signal, precision };
  const names = requests.map(({ name }) => name);
  await openFolder(folder, [CARD_FILE, ...Object.values(RUN_FILES), ...names.flatMap(filesOf)]);
  using given = options.victim === undefined ? null : await openVictim(options.victim, device, say);

  say({ type: 'stage', stage: 'load', text: `loading ${options.dataset}` });
  const pair = await watch.measure('load', () => loadPair(options, context));

  say({ type: 'stage', stage: 'poison', text: 'poisoning the training set' });
  using set = await watch.measure('poison', () => poison(pair, { seed, ...options.poison }, { device, signal }));
  if (given !== null) {
    requireFit(given, options.victim ?? '', set.train, options.dataset);
    requireUnbounded(given);
  } else checkVictim(set, { seed, ...options.train }, options.poisoning ?? 'per-batch');
  await removeRun(folder, names);
  if (options.victim === undefined) await removeFile(join(folder, RUN_FILES.victim));
  if (!options.resume) await removeFile(join(folder, RUN_FILES.checkpoint));
  const files: CardFile[] = [];
  const truth = await writeTruth(join(folder, RUN_FILES.truth), set.truth, set.manifest);
  files.push({ path: RUN_FILES.truth, ...truth });

  say({ type: 'stage', stage: 'train', text: `${options.victim === undefined ? 'training' : 'loading'} the victim` });
  const { training, model } = await watch.measure('train', () => obtainVictim(options, given, pair, set, context));
  using victim = model;
  files.push(await saveModelFile(folder, RUN_FILES.victim, victim));
  const before = await watch.measure('judge', () => judgeVictim(victim, set, evaluation));
  warnOfWeakVictim(before, say);

  const rows: CardRow[] = [];
  const defenses = planDefenses(requests, { seed, flip: set.flip });
  const bench = { victim, set, before, evaluation, watch, say, scored: new Map() };
  for (const defense of defenses) {
    const row = await defendAndJudge(bench, defense, async (result) => {
      files.push(...(await saveDefense(folder, defense.name, result)));
    });
    rows.push(row);
  }

  const card = makeCard({
    command: options.command,
    config: {
      dataset: describeDataset(pair, options.datasetOptions ?? {}),
      poison: set.manifest,
      train: training?.settings ?? null,
      ...(training?.recipe && { poisoning: 'per-batch' }),
      victim: options.victim ?? null,
      defenses,
    },
    seeds: {
      root: seed,
      poison: set.manifest.seed,
      train: training?.settings.seed ?? null,
      defenses: defenses.map(({ settings }) => settings.seed),
    },
    environment: describeEnvironment(
      device,
      defensePrecision(
        training?.precision ?? null,
        precision,
        device,
        defenses.map(({ settings }) => settings.purify.purifier),
      ),
    ),
    files,
    victim: { history: training?.history ?? [], evaluation: before.evaluation },
    rows,
    costs: watch.costs,
  });
  await removeFile(join(folder, RUN_FILES.checkpoint));
  await writeCard(folder, card);
  return { card, folder };
}

/** @internal Shared with `reevaluate` and `reproduce`. */
export async function loadPair(
  { dataset, datasetOptions = {} }: Pick<ExperimentOptions, 'dataset' | 'datasetOptions'>,
  { signal, onEvent }: ExperimentContext,
): Promise<DatasetPair> {
  return sourceOf(dataset).load(datasetOptions, {
    ...(signal && { signal }),
    onProgress: ({ done, total }) => onEvent?.({ type: 'progress', stage: 'load', done, total }),
  });
}

/** Whatever can be said before the data are loaded, and before anything in the folder is touched. ERR_OPTION */
function checkSettings(options: ExperimentOptions, requests: readonly DefenseRequest[]): void {
  const { dataset, folder, victim, seed = 0, poisoning = 'per-batch' } = options;
  onlyKnown('experiment', options, KNOWN);
  planDefenses(requests, { seed: integer('seed', seed, 0) });
  sourceOf(dataset);
  poisonSettings({ seed, ...options.poison });
  trainSettings({ seed, ...options.train });
  choice('poisoning', poisoning, POISONINGS);
  refuseTraining(options);
  if (victim !== undefined && resolve(dirname(victim)) === resolve(folder) && isDefenseFile(basename(victim))) {
    throw invalidOption('victim', `a file that the run in ${folder} does not replace`, victim);
  }
}

/**
 * A given victim is not trained: what says how would do nothing. `spell` names the option as the caller knows it.
 *
 * @internal Shared with the command line.
 * @throws PadFtError ERR_OPTION naming the first
 */
export function refuseTraining(
  { victim, train = {}, poisoning, resume }: Pick<ExperimentOptions, 'victim' | 'train' | 'poisoning' | 'resume'>,
  spell: (option: string) => string = (option) => option,
): void {
  if (victim === undefined) return;
  const settings = Object.entries(train).filter(([, value]) => value !== undefined);
  const [first] = [
    ...settings.map(([name]) => `train.${name}`),
    ...(poisoning === undefined ? [] : ['poisoning']),
    ...(resume === true ? ['resume'] : []),
  ];
  if (first === undefined) return;
  const name = spell(first);
  const message = safeText(`${name}: the victim ${victim} is not trained here; leave it out, or ${spell('victim')}`);
  throw new PadFtError('ERR_OPTION', message, { details: { path: name, victim } });
}

async function openVictim(path: string, device: Device, say: (event: ExperimentEvent) => void): Promise<Model> {
  const { model, nonFinite } = await loadModel(path, { device });
  const message = nonFiniteWarning(path, nonFinite);
  if (message !== null) say({ type: 'warning', message });
  return model;
}

function filesOf(defense: string): readonly string[] {
  return Object.values(defenseFiles(defense));
}

function sourceOf(dataset: string): DatasetSource<object> {
  if (!isDatasetName(dataset)) throw invalidOption('dataset', `one of ${Object.keys(DATASETS).join(', ')}`, dataset);
  return DATASETS[dataset];
}

async function obtainVictim(
  options: ExperimentOptions,
  given: Model | null,
  pair: DatasetPair,
  set: PoisonedSet,
  { signal, onEvent }: ExperimentContext,
): Promise<{ training: Training | null; model: Model }> {
  if (given !== null) return { training: null, model: given };
  const { folder, resume, train: settings, poisoning = 'per-batch', seed = 0 } = options;
  const training = await trainVictim(pair, set, { seed, ...settings }, poisoning, {
    signal,
    checkpoint: join(folder, RUN_FILES.checkpoint),
    resume,
    onProgress: (done, total) => onEvent?.({ type: 'progress', stage: 'train', done, total }),
    onEpoch: (report) => onEvent?.({ type: 'epoch', report }),
  });
  return { training, model: training.model };
}

/** @internal Shared with `reproduce`. */
export function warnOfWeakVictim(
  { evaluation: { acc, asr } }: VictimFigures,
  say: (event: ExperimentEvent) => void,
): void {
  if (asr === null || asr >= 0.5) return;
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  const message = `the victim barely learnt the backdoor (ACC ${percent(acc)}, ASR ${percent(asr)}): the figures below say little about a defence; train longer`;
  say({ type: 'warning', message });
}
