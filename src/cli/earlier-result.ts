import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { PadFtError } from '../errors.js';
import { MANIFEST_FILE } from '../poisoned-set-file.js';
import { CARD_FILE } from '../report/card.js';
import { DEFENDED, SCORES } from '../report/defense-files.js';
import { TRAINING_FILES } from '../report/training-card.js';
import { TRUTH_FILE } from '../truth-file.js';

/** What a command leaves in its folder: the names of files. */
export interface ResultFiles {
  /** Written last: with it the run is finished. */
  readonly card: string;
  /** What is worth as much without its card. */
  readonly others?: readonly string[];
  /** What `--resume` continues from. */
  readonly checkpoint?: string;
}

/** What `addOverwriteFlag` parses to, with the flags it goes with. */
export interface ResultFlags {
  readonly out: string;
  readonly overwrite?: boolean;
  readonly resume?: boolean;
}

export function addOverwriteFlag(command: Command): Command {
  return command.addOption(
    new Option('--overwrite', 'replace what an earlier run left in the folder').conflicts('resume'),
  );
}

/** What the commands make, by the files that tell. */
const KINDS = {
  run: { files: [CARD_FILE, TRUTH_FILE], what: 'a finished run' },
  defense: { files: [CARD_FILE, DEFENDED], what: 'a finished defence' },
  // Of the same command, which writes no model then.
  detection: { files: [CARD_FILE, SCORES], what: 'what a detector found', of: 'defense' },
  training: { files: [TRAINING_FILES.card], what: 'a training' },
  set: { files: [MANIFEST_FILE], what: 'a training set' },
} as const;

export type ResultKind = keyof typeof KINDS;

/** True when the folder holds a finished result of this kind. */
export function holds(folder: string, kind: ResultKind): boolean {
  return KINDS[kind].files.every((name) => existsSync(join(folder, name)));
}

/**
 * Refuses a folder that holds what took a run minutes or days: it is replaced only when that was asked for, and what
 * another command made is not replaced at all, since files of the same name would mix. Call it before anything is loaded.
 *
 * @throws PadFtError ERR_OPTION that names the file and says what to do
 */
export function refuseEarlierResult(
  { out, overwrite, resume }: ResultFlags,
  kind: ResultKind,
  files: ResultFiles,
): void {
  for (const other of Object.keys(KINDS) as ResultKind[]) {
    const found = KINDS[other];
    const command = 'of' in found ? found.of : other;
    if (command === kind || !holds(out, other)) continue;
    const { what, files: telling } = found;
    const path = join(out, telling.at(-1) as string);
    throw refusal('--out', path, `${out} holds ${what} (${path}), which this would spoil; name another folder`);
  }
  if (overwrite === true) return;
  const there = (name: string | undefined) => {
    const path = name === undefined ? null : join(out, name);
    return path !== null && existsSync(path) ? path : null;
  };
  const card = there(files.card);
  if (resume === true) {
    if (card !== null) {
      throw refusal(
        '--resume',
        card,
        `${out} is finished (${card}), there is nothing to continue; use it, or name another --out`,
      );
    }
    return;
  }
  const result = card ?? files.others?.map(there).find((path) => path !== null) ?? null;
  if (result !== null) {
    throw refusal('--out', result, `${result} is there from an earlier run; name another folder, or add --overwrite`);
  }
  const checkpoint = there(files.checkpoint);
  if (checkpoint !== null) {
    const ways = 'continue it with --resume, or start anew with --overwrite or in another folder';
    throw refusal('--out', checkpoint, `${checkpoint} is of a run that was stopped or failed; ${ways}`);
  }
}

function refusal(flag: string, file: string, problem: string): PadFtError {
  return new PadFtError('ERR_OPTION', `${flag}: ${problem}`, { details: { path: flag, file } });
}
