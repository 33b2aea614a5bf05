import { constants, type FileHandle, open } from 'node:fs/promises';
import { PadFtError } from '../errors.js';
import { safeText } from './terminal.js';

/** The errno of a failed file operation, e.g. `ENOENT`; empty when the error is of another kind. */
export function errorNumber(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

const IN_WORDS = new Map([
  ['ENOENT', 'it does not exist'],
  ['ENOTDIR', 'a part of the path is a file, not a folder'],
  ['EISDIR', 'it is a folder'],
  ['EEXIST', 'a file of that name is there'],
  ['ENOSPC', 'the disk is full'],
  ['EDQUOT', 'the disk quota is used up'],
  ['EFBIG', 'the file would be larger than the system allows'],
  ['EACCES', 'permission denied'],
  ['EPERM', 'permission denied'],
  ['EROFS', 'the file system is read-only'],
  ['EIO', 'the disk reported an input or output error'],
  ['ELOOP', 'too many symbolic links'],
  ['EMFILE', 'this process has too many files open'],
  ['ENFILE', 'the system has too many files open'],
  ['ENAMETOOLONG', 'the name is too long'],
  ['ENXIO', 'it is not a regular file'],
  ['ENODEV', 'it is not a regular file'],
]);

/** Why a file operation failed, in words: `the disk is full (ENOSPC)`. */
export function describeFileProblem(error: unknown): string {
  const code = errorNumber(error);
  const words = IN_WORDS.get(code);
  if (words !== undefined) return `${words} (${code})`;
  return safeText(error instanceof Error ? error.message : String(error));
}

/**
 * Opens a regular file for reading. A folder, a FIFO or a device is refused instead of waited for.
 *
 * @throws PadFtError ERR_FILE_MISSING
 */
export async function openRegularFile(path: string): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    // Without O_NONBLOCK opening a FIFO would wait for a writer that may never come.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw missing(path, describeFileProblem(error), error);
  }
  try {
    const info = await handle.stat();
    if (info.isFile()) return handle;
    throw missing(path, info.isDirectory() ? 'it is a folder' : 'it is not a regular file');
  } catch (error) {
    await handle.close();
    throw error instanceof PadFtError ? error : missing(path, describeFileProblem(error), error);
  }
}

/** What to do about a path that is not there, is a folder, or goes through a file. */
export type MissingAdvice = { readonly [K in 'ENOENT' | 'EISDIR' | 'ENOTDIR']?: string };

/** Adds to ERR_FILE_MISSING what to do about it; every other error passes as it is. For `catch` of a promise. */
export function sayWhatToDo(advice: MissingAdvice): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof PadFtError) || error.code !== 'ERR_FILE_MISSING') throw error;
    const got = String(error.details.got ?? '');
    const folder = got === IN_WORDS.get('EISDIR') ? 'EISDIR' : undefined;
    const key = /\((E[A-Z]+)\)$/.exec(got)?.[1] ?? folder;
    const todo = key === 'EACCES' ? 'make it readable' : advice[key as keyof MissingAdvice];
    if (todo === undefined) throw error;
    throw new PadFtError(error.code, safeText(`${error.message}; ${todo}`), {
      details: error.details,
      cause: error.cause,
    });
  };
}

function missing(path: string, got: string, cause?: unknown): PadFtError {
  return new PadFtError('ERR_FILE_MISSING', `${safeText(path)}: expected a readable regular file, but ${got}`, {
    details: { path, expected: 'a readable regular file', got },
    cause,
  });
}
