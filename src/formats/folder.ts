import { access, constants, copyFile, link, mkdir, readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { PadFtError } from '../errors.js';
import { isTemporaryOf } from './atomic-file.js';
import { describeFileProblem, errorNumber } from './file-problem.js';
import { safeText } from './terminal.js';

/** A temporary file nobody has written to for this long belongs to a process that died. */
const STALE_MILLISECONDS = 60 * 60 * 1000;

/**
 * Makes a folder, and those above it, unless it is there, and takes away what killed processes left of writes of these
 * names. A folder that cannot be written to is refused here and not hours later.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function openFolder(folder: string, names: readonly string[]): Promise<void> {
  await makeFolder(folder);
  await attempt(folder, 'the folder cannot be written to', () => access(folder, constants.W_OK | constants.X_OK));
  await removeStale(folder, names);
}

/**
 * Makes a folder, and those above it, unless it is there.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function makeFolder(folder: string): Promise<void> {
  await attempt(folder, 'the folder could not be made', () => mkdir(folder, { recursive: true }));
}

/**
 * Removes a file; nothing when it is not there.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function removeFile(path: string): Promise<void> {
  await attempt(path, 'could not be removed', async () => {
    await unlink(path).catch((error: unknown) => {
      if (errorNumber(error) !== 'ENOENT') throw error;
    });
  });
}

/**
 * Gives a file a second name, in place of what is there: a hard link, or a copy across file systems.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function shareFile(from: string, to: string): Promise<void> {
  await removeFile(to);
  await attempt(to, `could not be made from ${from}`, () => link(from, to).catch(() => copyFile(from, to)));
}

/** Removes what processes killed in the middle of a write of these names have left behind in a folder. */
export async function removeStale(folder: string, names: readonly string[]): Promise<void> {
  for (const entry of await readdir(folder).catch(() => [])) {
    if (!names.some((name) => isTemporaryOf(entry, name))) continue;
    const partial = join(folder, entry);
    const age = await stat(partial).then(
      (info) => Date.now() - info.mtimeMs,
      () => 0,
    );
    // Somebody else may be faster: what counts is that it is gone.
    if (age > STALE_MILLISECONDS) await unlink(partial).catch(() => {});
  }
}

async function attempt(path: string, what: string, action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } catch (error) {
    const problem = describeFileProblem(error);
    throw new PadFtError('ERR_FILE_WRITE', safeText(`${path}: ${what}: ${problem}`), {
      details: { path, problem, errno: errorNumber(error) || null },
      cause: error,
    });
  }
}
