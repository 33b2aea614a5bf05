import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { PadFtError } from '../errors.js';
import { MANIFEST_FILE } from '../poisoned-set-file.js';
import { CARD_FILE } from '../report/card.js';
import { TRAINING_FILES } from '../report/training-card.js';

/** What a command leaves in its folder: the names of files. */
export interface ResultFiles {
  /** Written last: with it the run is finished. */
  readonly card: string;
  /** What is worth as much without its card. */
  readonly model?: string;
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

/** What other commands write last, and what a folder with it is. */
const FINISHED: Readonly<Record<string, string>> = {
  [CARD_FILE]: 'a finished run or defence',
  [TRAINING_FILES.card]: 'a training',
  [MANIFEST_FILE]: 'a training set',
};

/**
 * Refuses a folder that holds what took a run minutes or days: it is replaced only when that was asked for, and what
 * another command made is not replaced at all, since files of the same name would mix. Call it before anything is loaded.
 *
 * @throws PadFtError ERR_OPTION that names the file and says what to do
 */
export function refuseEarlierResult({ out, overwrite, resume }: ResultFlags, files: ResultFiles): void {
  for (const [name, what] of Object.entries(FINISHED)) {
    const path = join(out, name);
    if (name === files.card || !existsSync(path)) continue;
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
  const result = card ?? there(files.model);
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
