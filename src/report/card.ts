import { join, resolve } from 'node:path';
import type { PoisonManifest } from '../attacks/poison.js';
import type { Control } from '../control.js';
import type { DatasetPair } from '../datasets/index.js';
import type { Given } from '../defenses/given.js';
import { METHODS, type MethodName } from '../defenses/methods/index.js';
import type { Inspection } from '../defenses/mm-bd/inspect.js';
import type { ClipResult } from '../defenses/pad-ft/clip.js';
import type { Stage, StageView } from '../defenses/pad-ft/gate.js';
import type { PadFtResult, PadFtSettings, Purification } from '../defenses/pad-ft/index.js';
import { type PresetName, type PurifierName, paperAssumptions } from '../defenses/pad-ft/options.js';
import type { LabelVerdict, Verdict } from '../defenses/pad-ft/verdict.js';
import type { Evaluation } from '../evaluate.js';
import { writeJsonAtomic } from '../formats/atomic-file.js';
import { sayWhatToDo } from '../formats/file-problem.js';
import { removeFile } from '../formats/folder.js';
import { readJsonFile } from '../formats/json-file.js';
import type { StageCost } from '../memory.js';
import type { TrainingData } from '../poisoned-set-file.js';
import type { EpochReport, Poisoning, TrainSettings } from '../train.js';
import { VERSION } from '../version.js';
import { checkCard } from './card-schema.js';
import type { CardEnvironment } from './environment.js';
import type { DefenseFigures, DetectionFigures, MethodFigures } from './judge.js';

/**
 * The run card: one JSON file that says what was run, on what, with which settings, and what came of it. It is written
 * last, so a folder with a card is a finished run. Fractions are in [0, 1], times in seconds, sizes in bytes.
 */

/** The card's name inside a run's folder. */
export const CARD_FILE = 'card.json';

/** A file of the run, named relative to the card's folder. */
export interface CardFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface CardDataset {
  readonly name: string;
  /** The data set's options as they were asked for; its defaults fill the rest. */
  readonly options: Readonly<Record<string, unknown>>;
  /** The files with their SHA-256, or the generator's options. */
  readonly provenance: Readonly<Record<string, unknown>>;
  readonly classNames: readonly string[];
  /** Whether a mirrored image keeps its class; left out by earlier versions. */
  readonly flip?: boolean | undefined;
  readonly trainRows: number;
  /** 0 when there was no test set. */
  readonly testRows: number;
}

export interface CardDefense {
  readonly name: string;
  readonly control: Control | null;
  readonly settings: PadFtSettings;
}

export interface CardConfig {
  readonly dataset: CardDataset;
  /** Null when the ground truth is not known. */
  readonly poison: PoisonManifest | null;
  /** Null when the victim was given, not trained here. */
  readonly train: TrainSettings | null;
  /** Left out when the victim was given or trained on the stored set. */
  readonly poisoning?: Poisoning;
  /** Path of the victim that was given; null when it was trained here. */
  readonly victim: string | null;
  readonly defenses: readonly CardDefense[];
  /** Left out where there are none. */
  readonly methods?: readonly CardMethod[] | undefined;
  /** Purifiers that were run by themselves; left out where there are none. */
  readonly detectors?: readonly CardDetector[] | undefined;
}

/** Every seed of the run: the root, and the seeds that were really used. */
export interface CardSeeds {
  readonly root: number | null;
  readonly poison: number | null;
  readonly train: number | null;
  /** In the order of `config.defenses`. */
  readonly defenses: readonly number[];
}

export interface CardVictim {
  /** Of all epochs; empty when the victim was given. */
  readonly history: readonly EpochReport[];
  /** Null without a test set. */
  readonly evaluation: Evaluation | null;
}

/** What a stage of a defence cost. */
export interface CardCost extends StageCost {
  /** The row that measured it, where defences of one victim shared the stage's work; absent when this row did. */
  readonly measuredBy?: string | undefined;
}

/** One defence: what it did, in its own words, and how it looks beside the ground truth. */
export interface CardRow {
  readonly name: string;
  readonly preset: PresetName;
  readonly purifier: PurifierName;
  /** Where D_c came from: null the purifier, `oracle` the ground truth, `random` correctly classified rows. */
  readonly control: Control | null;
  /** The stage whose model was returned, and why. */
  readonly returned: Stage;
  readonly reason: string;
  readonly views: readonly StageView[];
  readonly verdict: Verdict & { readonly labels: readonly LabelVerdict[] };
  /** Rows in D_c, and rows held out before (absent on cards of earlier versions). */
  readonly purified: number;
  readonly heldOut?: number | undefined;
  /** What the defence was given; the `oracle` control saw the ground truth besides. Left out on cards of before. */
  readonly given?: Given | undefined;
  /** Rows that look planted. */
  readonly suspects: number;
  /** How the bounds were fitted; null when nothing was repaired. */
  readonly clipping: ClipResult | null;
  /** Loss and accuracy of the first and the last epoch of fine-tuning; null when nothing was repaired. */
  readonly tuning: { readonly first: TuneView; readonly last: TuneView } | null;
  readonly costs: readonly CardCost[];
  /** What the paper leaves open and this row assumes; empty for other presets. */
  readonly assumptions: readonly string[];
  /** Judged afterwards, with the test sets and the ground truth; null when there are none. */
  readonly figures: DefenseFigures | null;
}

/** A method that is compared with PAD-FT: what it was given, what it did, and how its model looks beside the ground truth. */
export interface MethodRow {
  readonly name: MethodName;
  readonly given: Given;
  readonly said: string;
  /** Its own figures. */
  readonly details: Readonly<Record<string, unknown>>;
  readonly costs: readonly CardCost[];
  /** Null when there are no test sets. */
  readonly figures: MethodFigures | null;
}

/** What of the victim a method was given; cards of before do not say. */
export function givenVictim({ name, given }: Pick<MethodRow, 'name' | 'given'>): NonNullable<Given['victim']> {
  return given.victim ?? METHODS[name].needs.victim;
}

/** A method with every setting, and its seed. */
export interface CardMethod {
  readonly name: MethodName;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly seed: number;
  /** Of what the method means by these settings (`Method.revision`); left out at first, and on cards of before. */
  readonly revision?: number | undefined;
  /** Whether it mirrored images where it augments: as the training set says. */
  readonly flip: boolean;
  /** Where the clean images came from; null when it needs none. */
  readonly clean: CleanFolder | CleanDraw | null;
}

/** Images that were stated to be clean: their folder and the SHA-256 of its file. */
export interface CleanFolder {
  readonly folder: string;
  readonly sha256: string;
}

/** Images drawn from the training set as it was before the poison. */
export interface CleanDraw {
  /** Of the training rows, in [0, 1]. */
  readonly share: number;
  /** Python's `random.sample`. */
  readonly draw: 'backdoorbench';
  readonly seed: number;
  /** The first row of each class that the draw left without an image; they were added to it. */
  readonly added: readonly number[];
}

/** A purifier that was run by itself. What the settings say of bounds matters to `clip-drop` alone, the rest to no one. */
export interface CardDetector {
  readonly name: string;
  readonly settings: PadFtSettings;
}

/** What a purifier said of the training set, and how that looks beside the ground truth; nothing was repaired. */
export interface DetectionRow
  extends Pick<CardRow, 'name' | 'purifier' | 'verdict' | 'purified' | 'suspects' | 'costs'> {
  /** Left out on cards of before. */
  readonly given?: Given | undefined;
  /** Judged afterwards; null without a ground truth. */
  readonly figures: DetectionFigures | null;
}

/** What MM-BD said of the model alone. */
export interface InspectionRow extends Inspection {
  readonly name: string;
  /** Left out on cards of before. */
  readonly given?: Given | undefined;
  readonly costs: readonly CardCost[];
}

export interface TuneView {
  readonly loss: number;
  readonly accuracy: number;
}

export interface RunCard {
  readonly kind: 'pad-ft-card';
  readonly version: 1;
  /** Version of this package. */
  readonly tool: string;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** The command line; null for a run from code. */
  readonly command: readonly string[] | null;
  readonly config: CardConfig;
  readonly seeds: CardSeeds;
  readonly environment: CardEnvironment;
  readonly files: readonly CardFile[];
  readonly victim: CardVictim;
  readonly rows: readonly CardRow[];
  /** Left out where there are none. */
  readonly methods?: readonly MethodRow[] | undefined;
  readonly detections?: readonly DetectionRow[] | undefined;
  readonly inspections?: readonly InspectionRow[] | undefined;
  /** Of the stages around the defences: load, poison, train, judge. */
  readonly costs: readonly StageCost[];
}

/** What a caller states; the rest of a card is filled in. */
export type CardParts = Omit<RunCard, 'kind' | 'version' | 'tool' | 'created' | 'command'> & {
  readonly command?: readonly string[] | null | undefined;
};

/** A card of now and of this version. */
export function makeCard(parts: CardParts): RunCard {
  return {
    kind: 'pad-ft-card',
    version: 1,
    tool: VERSION,
    created: new Date().toISOString(),
    ...parts,
    command: parts.command ?? null,
  };
}

/** The data set of a run, as the card names it. `options` are those it was loaded with. */
export function describeDataset(pair: DatasetPair, options: Readonly<Record<string, unknown>>): CardDataset {
  const { name, classNames, provenance, flip, train, test } = pair;
  return { name, options, provenance, classNames, flip, trainRows: train.shape.count, testRows: test.shape.count };
}

/** The data of a folder that a training set was read from, with its whole path: the card may be looked at from elsewhere. */
export function describeFolder(data: TrainingData, folder: string, testRows: number): CardDataset {
  const { name, provenance, classNames, flip, train } = data;
  return { name, options: { data: resolve(folder) }, provenance, classNames, flip, trainRows: train.count, testRows };
}

/** A defence's row. `figures` come from `judgeDefense`, or null when there is nothing to judge by. */
export function makeRow(
  name: string,
  result: PadFtResult,
  figures: DefenseFigures | null,
  control: Control | null = null,
): CardRow {
  const { settings, purification, gate, clipping, tuning } = result;
  const { verdict, labels } = purification;
  const view = ({ loss, accuracy }: TuneView): TuneView => ({ loss, accuracy });
  return {
    name,
    preset: settings.preset,
    purifier: settings.purify.purifier,
    control,
    returned: result.stage,
    reason: gate.reason,
    views: gate.views,
    verdict: { ...verdict, labels },
    given: givenAll(purification),
    purified: purification.purified.length,
    heldOut: purification.heldOut.length,
    suspects: purification.suspects.length,
    clipping,
    tuning: tuning && { first: view(tuning.first), last: view(tuning.last) },
    costs: result.costs,
    assumptions: settings.preset === 'paper' ? paperAssumptions(settings) : [],
    figures,
  };
}

/** The victim and every row of its training set. */
function givenAll({ score }: Purification): Given {
  return { victim: 'weights', training: score.length, clean: null };
}

/** The row of a purifier that was run by itself. */
export function makeDetectionRow(
  name: string,
  purifier: PurifierName,
  purification: Purification,
  costs: readonly CardCost[],
  figures: DetectionFigures | null,
): DetectionRow {
  const { verdict, labels, purified, suspects } = purification;
  const counts = { purified: purified.length, suspects: suspects.length };
  const given = givenAll(purification);
  return { name, purifier, given, verdict: { ...verdict, labels }, ...counts, costs, figures };
}

/**
 * Writes `card.json` into a run's folder, atomically. Call it last: the card says that everything it names is there.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function writeCard(folder: string, card: RunCard): Promise<string> {
  const path = join(folder, CARD_FILE);
  await writeJsonAtomic(path, checkCard(card, path));
  return path;
}

/** Takes the card of an earlier run away: from here on the folder is not a finished run. ERR_FILE_WRITE */
export async function removeCard(folder: string): Promise<void> {
  await removeFile(join(folder, CARD_FILE));
}

/**
 * Reads a card and checks every field of it.
 *
 * @throws PadFtError ERR_FILE_MISSING, ERR_FILE_FORMAT with the path of the first wrong field
 */
export async function readCard(path: string): Promise<RunCard> {
  return checkCard(
    await readJsonFile(path).catch(
      sayWhatToDo({
        ENOENT:
          'it is written last: that run was stopped or failed, or the folder is not of a run; a model is measured with `pad-ft evaluate --model FILE --data FOLDER`',
        ENOTDIR: 'give the folder of the run',
      }),
    ),
    path,
  );
}
