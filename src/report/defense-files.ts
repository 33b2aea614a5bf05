import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { PadFtResult, Purification } from '../defenses/pad-ft/index.js';
import type { Suspect } from '../defenses/pad-ft/verdict.js';
import { PadFtError } from '../errors.js';
import { type WrittenFile, writeFileAtomic } from '../formats/atomic-file.js';
import { openFolder, removeFile } from '../formats/folder.js';
import type { Model } from '../model.js';
import { saveModel } from '../model-file.js';
import { TRUTH_FILE } from '../truth-file.js';
import { CARD_FILE, type CardFile, readCard, removeCard } from './card.js';

/** Where `pad-ft defend` writes the model that the gate returned, whichever stage it is. */
export const DEFENDED = 'defended.safetensors';
/** And, beside it, the rows that look planted, and the score of every row. */
export const SUSPECTS = 'suspects.csv';
export const SCORES = 'scores.csv';

/**
 * Makes the folder of one defence, and takes away what an earlier one left in it: before the work and not after it, since a
 * defence that fails must not leave an older result to be taken for its own.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function openDefenseFolder(folder: string): Promise<void> {
  await openFolder(folder, [DEFENDED, SUSPECTS, SCORES, CARD_FILE]);
  await removeCard(folder);
  for (const name of [DEFENDED, SUSPECTS, SCORES]) await removeFile(join(folder, name));
}

/** The files of a defence inside a run's folder. */
export function defenseFiles(name: string) {
  return {
    pad: `${name}.pad.safetensors`,
    'pad-ft': `${name}.pad-ft.safetensors`,
    suspects: `${name}.suspects.csv`,
  } as const;
}

/** True for a name that `defenseFiles` gives. */
export function isDefenseFile(name: string): boolean {
  return /^[\w-]{1,64}\.(?:pad\.safetensors|pad-ft\.safetensors|suspects\.csv)$/.test(name);
}

/**
 * Takes an earlier run's card away, then the files of its defences and of those called `names`: beside the next card,
 * which does not name them all, nobody could tell what they came from. Where no card can be read, of another version or of
 * a run that was stopped, every file that is named as a defence's.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function removeRun(folder: string, names: readonly string[]): Promise<void> {
  const earlier = (await earlierFiles(folder)).filter(isDefenseFile);
  await removeCard(folder);
  for (const path of new Set([...earlier, ...names.flatMap((name) => Object.values(defenseFiles(name)))])) {
    await removeFile(join(folder, path));
  }
}

async function earlierFiles(folder: string): Promise<readonly string[]> {
  try {
    const { files } = await readCard(join(folder, CARD_FILE));
    return files.map(({ path }) => path);
  } catch (error) {
    if (!(error instanceof PadFtError)) throw error;
    const entries = await readdir(folder);
    // No run writes a defence before its ground truth: without that nothing says that a run was stopped here.
    return error.code === 'ERR_FILE_MISSING' && !entries.includes(TRUTH_FILE) ? [] : entries;
  }
}

/** Writes the models of both stages, where there are any, and the suspects. */
export async function saveDefense(folder: string, name: string, result: PadFtResult): Promise<CardFile[]> {
  const files = defenseFiles(name);
  const written: CardFile[] = [];
  if (result.pad !== null) written.push(await saveModelFile(folder, files.pad, result.pad));
  if (result.padFt !== null) written.push(await saveModelFile(folder, files['pad-ft'], result.padFt));
  const { bytes, sha256 } = await writeSuspects(join(folder, files.suspects), result.purification.suspects);
  written.push({ path: files.suspects, bytes, sha256 });
  return written;
}

/** Writes a model and gives its line in the card. */
export async function saveModelFile(folder: string, path: string, model: Model): Promise<CardFile> {
  const { bytes, sha256 } = await saveModel(model, join(folder, path));
  return { path, bytes, sha256 };
}

/** The suspects as CSV, most certain first: row, given label, likely original label, probability of being planted. */
function writeSuspects(path: string, suspects: readonly Suspect[]): Promise<WrittenFile> {
  const lines = suspects.map(
    ({ row, givenLabel, likelyLabel, posterior }) => `${row},${givenLabel},${likelyLabel},${posterior.toFixed(6)}`,
  );
  return writeFileAtomic(path, `${['row,given,likely,posterior', ...lines].join('\n')}\n`);
}

/**
 * The score of every row as CSV, in the order of the training set: larger looks more planted. `correct` is 1 where the
 * victim classifies the row as labelled: AUROC and TPR are counted over those, and what loses its margin (cross-label,
 * clip-drop) has one there alone. Nine digits tell any two float32 apart.
 */
function writeScores(path: string, { score, correct }: Pick<Purification, 'score' | 'correct'>): Promise<WrittenFile> {
  const lines = Array.from(score, (value, row) => `${row},${Number(value.toPrecision(9))},${correct[row]}`);
  return writeFileAtomic(path, `${['row,score,correct', ...lines].join('\n')}\n`);
}

/** Writes what a purifier found, suspects and scores, and gives their lines in the card. */
export async function savePurification(folder: string, purification: Purification): Promise<CardFile[]> {
  const suspects = await writeSuspects(join(folder, SUSPECTS), purification.suspects);
  const scores = await writeScores(join(folder, SCORES), purification);
  return [
    { path: SUSPECTS, ...suspects },
    { path: SCORES, ...scores },
  ];
}
