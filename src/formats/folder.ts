import { createReadStream } from 'node:fs';
import { access, constants, link, mkdir, readdir, realpath, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { PadFtError } from '../errors.js';
import { isTemporaryOf, temporaryBeside, writeFileAtomic } from './atomic-file.js';
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
  await attempt(folder, 'the folder could not be made', () => makeParents(resolve(folder)));
}

/**
 * Refuses a folder that is not there, or is none: one that was misspelt must not pass for an empty one. `instead`: what
 * to name, as the end of a sentence.
 *
 * @throws PadFtError ERR_FILE_MISSING
 */
export async function requireFolder(folder: string, instead: string): Promise<void> {
  const problem = await stat(folder).then(
    (info) => (info.isDirectory() ? null : 'it is no folder'),
    (error: unknown) => describeFileProblem(error),
  );
  if (problem === null) return;
  const message = safeText(`${folder}: ${problem}; ${instead}`);
  throw new PadFtError('ERR_FILE_MISSING', message, { details: { path: folder, problem } });
}

/** One level at a time: where the system refuses with ENOENT (under /proc), `mkdir`'s own recursion never ends. */
async function makeParents(folder: string): Promise<void> {
  const info = await stat(folder).catch((error: unknown) => {
    if (errorNumber(error) === 'ENOENT') return null;
    throw error;
  });
  if (info?.isDirectory()) return;
  if (dirname(folder) !== folder) await makeParents(dirname(folder));
  await mkdir(folder).catch(async (error: unknown) => {
    // Somebody else may be faster.
    const there = errorNumber(error) === 'EEXIST' && (await stat(folder)).isDirectory();
    if (!there) throw error;
  });
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
 * Gives a file a second name, in place of what is there: a hard link, or a copy across file systems. The name only ever
 * points at a whole file; when this fails, at the one that was there.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function shareFile(from: string, to: string): Promise<void> {
  const temporary = temporaryBeside(to);
  await attempt(to, `could not be made from ${from}`, async () => {
    // Of a symbolic link the file that it leads to: a second name of the link itself may lead nowhere from here.
    const linked = await link(await realpath(from), temporary).then(
      () => true,
      () => false,
    );
    if (!linked) {
      await writeFileAtomic(to, bytesOf(from));
      return;
    }
    try {
      await rename(temporary, to);
    } finally {
      // Still there after a failure, and where both names were of one file already: then a rename does nothing.
      await unlink(temporary).catch(() => {});
    }
  });
}

/** Opened when it is read: a stream that nobody reads yet would throw its error where nobody can catch it. */
async function* bytesOf(path: string): AsyncIterable<Uint8Array> {
  yield* createReadStream(path);
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
    if (error instanceof PadFtError) throw error;
    const problem = describeFileProblem(error);
    throw new PadFtError('ERR_FILE_WRITE', safeText(`${path}: ${what}: ${problem}`), {
      details: { path, problem, errno: errorNumber(error) || null },
      cause: error,
    });
  }
}
