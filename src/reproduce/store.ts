import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PadFtError } from '../errors.js';
import { errorNumber } from '../formats/file-problem.js';
import { CARD_FILE, type CardFile, type RunCard, readCard } from '../report/card.js';
import { SCORES } from '../report/defense-files.js';
import { readTraining, type TrainingCard } from '../report/training-card.js';
import type { DefenseCell, VictimCell } from './cells.js';

/** The folders of a reproduction, and what is in them. */
export class CellStore {
  readonly out: string;
  readonly #models: boolean;

  /** With `models` a defence is finished only when its models are kept too. */
  constructor(out: string, { models = false }: { readonly models?: boolean | undefined } = {}) {
    this.out = out;
    this.#models = models;
  }

  get victims(): string {
    return join(this.out, 'victims');
  }

  victimFolder({ folder }: VictimCell): string {
    return join(this.victims, folder);
  }

  defenseFolder({ folder }: DefenseCell): string {
    return join(this.out, 'defenses', folder);
  }

  /** The card of a finished defence; null when it is pending, or its card or a file is not what it should be. */
  async card(cell: DefenseCell): Promise<RunCard | null> {
    const folder = this.defenseFolder(cell);
    const card = await unlessUnusable(readCard(join(folder, CARD_FILE)));
    if (card === null || (this.#models && !holdsItsFiles(cell, card))) return null;
    return (await allThere(folder, card.files)) ? card : null;
  }

  /** A victim's training, when it is finished. */
  async training(cell: VictimCell): Promise<TrainingCard | null> {
    return finishedTraining(this.victimFolder(cell));
  }
}

/** What was made without keeping models, or before a detector's scores were written, lacks them. */
function holdsItsFiles({ kind }: DefenseCell, { files }: RunCard): boolean {
  return kind === 'detector' ? files.some(({ path }) => path === SCORES) : files.length > 0;
}

/** The training of a folder that `pad-ft train` wrote; null when there is none or its files are not whole. */
export async function finishedTraining(folder: string): Promise<TrainingCard | null> {
  const training = await unlessUnusable(readTraining(folder));
  return training !== null && (await allThere(folder, training.files)) ? training : null;
}

/** A folder and the folders in it: where finished trainings are looked for. Empty when it is not there. */
export async function foldersIn(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (errorNumber(error) === 'ENOENT') return [];
    throw new PadFtError('ERR_FILE_MISSING', `${folder}: the folder could not be read`, { cause: error });
  });
  const inner = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
  return [folder, ...inner.sort()];
}

/** A file that is missing or not what its format demands is no cell yet; it is made again. */
async function unlessUnusable<T>(reading: Promise<T>): Promise<T | null> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof PadFtError && (error.code === 'ERR_FILE_MISSING' || error.code === 'ERR_FILE_FORMAT'))
      return null;
    throw error;
  }
}

async function allThere(folder: string, files: readonly CardFile[]): Promise<boolean> {
  const sizes = await Promise.all(
    files.map(({ path }) =>
      stat(join(folder, path)).then(
        (info) => (info.isFile() ? info.size : -1),
        () => -1,
      ),
    ),
  );
  return files.every(({ bytes }, i) => bytes === sizes[i]);
}
