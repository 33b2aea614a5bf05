import { join } from 'node:path';
import type { PoisonManifest } from '../attacks/poison.js';
import { resolvePrecision } from '../device.js';
import { writeJsonAtomic } from '../formats/atomic-file.js';
import { removeFile } from '../formats/folder.js';
import { readJsonFile } from '../formats/json-file.js';
import { checkFile, count, listOf, nullable, object, oneOf, optional, record, text } from '../formats/json-shape.js';
import { checkPoisonManifest } from '../formats/poison-manifest.js';
import { checkEpoch, checkTrainSettings } from '../formats/training-shape.js';
import { saveModel } from '../model-file.js';
import type { NativeDevice } from '../native/contract.js';
import {
  type EpochReport,
  POISONINGS,
  type Poisoning,
  TRAIN_DEFAULTS,
  type Training,
  type TrainSettings,
} from '../train.js';
import { VERSION } from '../version.js';
import type { CardFile } from './card.js';
import { checkCardFile, checkEnvironment } from './card-schema.js';
import { type CardEnvironment, describeEnvironment } from './environment.js';

/** The files of a training's folder. `training.json` is written last, the checkpoint then removed. */
export const TRAINING_FILES = {
  victim: 'victim.safetensors',
  checkpoint: 'checkpoint.safetensors',
  card: 'training.json',
} as const;

/** What a victim was trained on. */
export interface TrainingSubject {
  readonly name: string;
  /** The folder of the poisoned set; null when it was made in memory. */
  readonly folder: string | null;
  readonly rows: number;
  /** Proves which rows, labels and trigger; null when the ground truth was not there. */
  readonly poison: PoisonManifest | null;
}

/** `training.json`: how a victim came to be. */
export interface TrainingCard {
  readonly kind: 'pad-ft-training';
  readonly version: 1;
  /** Version of this package. */
  readonly tool: string;
  /** ISO 8601, UTC. */
  readonly created: string;
  readonly data: TrainingSubject;
  readonly settings: TrainSettings;
  /** Left out: on the poisoned set as it is (`stored`). */
  readonly poisoning?: Poisoning;
  readonly environment: CardEnvironment;
  readonly files: readonly CardFile[];
  readonly history: readonly EpochReport[];
}

const checkTraining = object<TrainingCard>({
  kind: oneOf(['pad-ft-training']),
  version: oneOf([1]),
  tool: text,
  created: text,
  data: object<TrainingSubject>({
    name: text,
    folder: nullable(text),
    rows: count,
    poison: nullable(checkPoisonManifest),
  }),
  // A setting that the file's version did not have yet was at what is its default now.
  settings: (value, at) => checkTrainSettings({ ...TRAIN_DEFAULTS, ...record(value, at) }, at),
  poisoning: optional(oneOf(POISONINGS)),
  environment: checkEnvironment,
  files: listOf(checkCardFile),
  history: listOf(checkEpoch),
});

/**
 * Writes a finished training into its folder: the victim, then `training.json`; the checkpoint goes last.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function saveTraining(
  folder: string,
  { model, settings, history, precision, recipe }: Training,
  data: TrainingSubject,
  device: NativeDevice,
): Promise<CardFile> {
  const metadata = { 'pad-ft.settings': JSON.stringify(settings) };
  const written = await saveModel(model, join(folder, TRAINING_FILES.victim), { metadata });
  const file: CardFile = { path: TRAINING_FILES.victim, ...written };
  const card: TrainingCard = {
    kind: 'pad-ft-training',
    version: 1,
    tool: VERSION,
    created: new Date().toISOString(),
    data,
    settings,
    ...(recipe && { poisoning: 'per-batch' as const }),
    environment: describeEnvironment(device, {
      training: precision,
      // Of the figures after each epoch.
      evaluation: resolvePrecision('auto', device, 'evaluation'),
    }),
    files: [file],
    history,
  };
  await writeJsonAtomic(join(folder, TRAINING_FILES.card), card);
  await removeFile(join(folder, TRAINING_FILES.checkpoint));
  return file;
}

/**
 * Reads a folder's `training.json` and checks every field of it.
 *
 * @throws PadFtError ERR_FILE_MISSING, ERR_FILE_FORMAT
 */
export async function readTraining(folder: string): Promise<TrainingCard> {
  const path = join(folder, TRAINING_FILES.card);
  return checkFile(checkTraining, await readJsonFile(path), path);
}
