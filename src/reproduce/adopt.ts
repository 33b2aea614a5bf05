import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { ATTACKS, isAttackName } from '../attacks/index.js';
import type { PoisonManifest } from '../attacks/poison.js';
import { sameProvenance } from '../datasets/provenance.js';
import { openRegularFile } from '../formats/file-problem.js';
import { parseJson } from '../formats/json-text.js';
import { POISON_DEFAULTS } from '../poisoned-set.js';
import { TRAINING_FILES, type TrainingCard } from '../report/training-card.js';
import type { Poisoning, TrainSettings } from '../train.js';
import { canonicalJson } from './canonical-json.js';
import type { VictimCell } from './cells.js';
import { finishedTraining, foldersIn } from './store.js';

/** What a victim must have been made from to be the one that is wanted. */
export interface WantedTraining {
  /** Of the poisoned set at hand: data, rows, labels and trigger by their SHA-256. */
  readonly manifest: PoisonManifest;
  readonly settings: TrainSettings;
  readonly poisoning: Poisoning;
}

/** True when a training was made from the same data by the same settings. */
export function isTrainingOf({ data, settings, poisoning = 'stored' }: TrainingCard, wanted: WantedTraining): boolean {
  return (
    data.poison !== null &&
    poisoning === wanted.poisoning &&
    canonicalJson(identity(data.poison)) === canonicalJson(identity(wanted.manifest)) &&
    sameProvenance(provenanceOf(data.poison), provenanceOf(wanted.manifest)) &&
    canonicalJson(settings) === canonicalJson(wanted.settings)
  );
}

/**
 * True when a training was asked for in the same words as the cell: what a plan may promise without the data. Whether it
 * is the same data is seen when the cell runs.
 */
export function isTrainingAskedFor(training: TrainingCard, cell: VictimCell): boolean {
  const { data, settings, poisoning = 'stored' } = training;
  const { poison } = data;
  if (poison === null || data.name !== cell.dataset || poisoning !== poisoningOf(cell)) return false;
  const { attack, attackOptions, policy, target, seed, draw } = { ...POISON_DEFAULTS, ...cell.poison };
  const asked = { attack, options: attackOptions, policy, target, seed, draw, rate: cell.rate };
  const found = {
    ...{ attack: poison.attack.name, options: poison.attack.options, policy: poison.policy },
    ...{ target: poison.target ?? target, seed: poison.seed, draw: poison.draw, rate: poison.rate },
  };
  return (
    (cell.rate === 0 ? poison.counts.poisoned === 0 : canonicalJson(asked) === canonicalJson(found)) &&
    canonicalJson(settings) === canonicalJson({ flip: settings.flip, ...cell.train })
  );
}

/** How a cell's victim meets the poison: as its attack was published. At rate 0 there is none to meet. */
function poisoningOf({ attack, rate }: VictimCell): Poisoning {
  return rate > 0 && isAttackName(attack) && ATTACKS[attack].poisonsBatches ? 'per-batch' : 'stored';
}

/** What is left of a manifest when whatever does not change the training set is taken away, and the provenance. */
function identity({ tool: _, dataset, ...poison }: PoisonManifest): unknown {
  const { provenance: __, ...data } = dataset;
  // A clean set is the same whichever attack did not happen.
  return poison.counts.poisoned === 0 ? { data, labels: poison.labelsSha256 } : { data, poison };
}

function provenanceOf({ dataset: { provenance: json } }: PoisonManifest): Readonly<Record<string, unknown>> {
  try {
    const value = parseJson(json);
    return typeof value === 'object' && value !== null ? { ...value } : { json };
  } catch {
    return { json };
  }
}

/** A trained victim in somebody's folder. */
export interface Adoptable {
  readonly folder: string;
  readonly training: TrainingCard;
}

/**
 * Looks for a finished training of the wanted victim in these folders and the folders directly inside them. Its model
 * is compared with the SHA-256 of its own `training.json`.
 */
export async function findTraining(
  folders: readonly string[],
  matches: (training: TrainingCard) => boolean,
): Promise<Adoptable | null> {
  for (const root of folders) {
    for (const folder of await foldersIn(root)) {
      const training = await finishedTraining(folder);
      if (training !== null && matches(training) && (await modelIsWhole(folder, training))) return { folder, training };
    }
  }
  return null;
}

/** True when the folder's model is the one its `training.json` names. */
export async function modelIsWhole(folder: string, { files }: TrainingCard): Promise<boolean> {
  const listed = files.find(({ path }) => path === TRAINING_FILES.victim);
  return listed !== undefined && listed.sha256 === (await hashFile(join(folder, TRAINING_FILES.victim)));
}

async function hashFile(path: string): Promise<string> {
  const handle = await openRegularFile(path);
  try {
    const hash = createHash('sha256');
    for await (const chunk of handle.createReadStream({ autoClose: false, highWaterMark: 1 << 20 })) hash.update(chunk);
    return hash.digest('hex');
  } finally {
    await handle.close();
  }
}
