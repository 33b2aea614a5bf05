import { createHash, randomBytes } from 'node:crypto';
import { constants, type FileHandle, lstat, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { PadFtError } from '../errors.js';
import { describeFileProblem, errorNumber } from './file-problem.js';
import { pieces } from './sha256.js';
import { safeText } from './terminal.js';

/** What a file is made of. An iterable is read once, piece by piece, and never held as a whole. */
export type FileContent = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

export interface AtomicWriteOptions {
  /**
   * Looks at the finished temporary file before it gets its name; what it throws ends the write and
   * reaches the caller as it is. `written` describes the bytes that were written and read back.
   */
  readonly verify?: (temporaryPath: string, written: WrittenFile) => void | Promise<void>;
}

export interface WrittenFile {
  readonly bytes: number;
  /** SHA-256 in lower-case hexadecimal. */
  readonly sha256: string;
}

/**
 * Writes a file so that its name only ever points at a complete one: a temporary file in the same folder
 * (exclusive, private until done), all bytes, fsync, read back and compared by SHA-256, rename, fsync of the
 * folder. Whatever fails, the temporary file is removed and the old file is still there. An error thrown by
 * the content itself (a download that breaks off, an abort) passes through unchanged.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function writeFileAtomic(
  path: string,
  content: FileContent,
  options: AtomicWriteOptions = {},
): Promise<WrittenFile> {
  const target = resolve(path);
  await refuseIrregularTarget(path, target);
  const temporary = temporaryBeside(target);
  const handle = await step(path, () => open(temporary, 'wx', 0o600));
  let pending = true;
  try {
    const written = await fill(path, handle, content);
    const found = await step(path, () => readBack(temporary));
    if (found.sha256 !== written.sha256) {
      throw writeError(path, 'the bytes read back differ from the bytes written: the disk or the memory is faulty');
    }
    await options.verify?.(temporary, written);
    await step(path, () => rename(temporary, target));
    pending = false;
    await step(path, () => syncFolder(dirname(target)));
    return written;
  } finally {
    // A failed removal must not hide the error that led here.
    if (pending) await unlink(temporary).catch(() => {});
  }
}

/** Writes a value as indented JSON with a final line feed, atomically. */
export async function writeJsonAtomic(path: string, value: unknown): Promise<WrittenFile> {
  const text = JSON.stringify(value, null, 2);
  if (text === undefined) throw new PadFtError('ERR_INTERNAL', `${safeText(path)}: the value has no JSON form`);
  return writeFileAtomic(path, `${text}\n`);
}

/** Where a file is while it is still being made, in the same folder; `isTemporaryOf` recognises it. */
export function temporaryBeside(path: string): string {
  // Long names are cut so that the temporary one still fits in the 255 bytes most file systems allow.
  return join(dirname(path), `.${basename(path).slice(0, 40)}.${randomBytes(6).toString('hex')}.tmp`);
}

/** True when `entry` is a temporary file that a write of `name` left in its folder (killed, or still running). */
export function isTemporaryOf(entry: string, name: string): boolean {
  const prefix = `.${name.slice(0, 40)}.`;
  return entry.startsWith(prefix) && /^[0-9a-f]{12}\.tmp$/.test(entry.slice(prefix.length));
}

async function refuseIrregularTarget(path: string, target: string): Promise<void> {
  const info = await lstat(target).catch((error: unknown) => {
    if (errorNumber(error) === 'ENOENT') return undefined;
    throw writeError(path, describeFileProblem(error), error);
  });
  if (info === undefined || info.isFile()) return;
  if (info.isDirectory()) throw writeError(path, 'it is a folder: give the path of a file');
  // A rename would silently replace the link or the device, not write to it.
  throw writeError(path, 'it is a link or a device, not a regular file: give the path of a file');
}

/** Writes everything, makes it durable and closes the handle, whatever happens. */
async function fill(path: string, handle: FileHandle, content: FileContent): Promise<WrittenFile> {
  const hash = createHash('sha256');
  let bytes = 0;
  let failed = true;
  try {
    for await (const chunk of chunksOf(content)) {
      for (const piece of pieces(chunk)) {
        hash.update(piece);
        await step(path, () => writeFully(handle, piece));
      }
      bytes += chunk.byteLength;
    }
    await step(path, () => handle.chmod(0o644 & ~process.umask()));
    await step(path, () => handle.sync());
    failed = false;
  } finally {
    const closing = step(path, () => handle.close());
    // When a write has failed already, that error is the one to report.
    await (failed ? closing.catch(() => {}) : closing);
  }
  return { bytes, sha256: hash.digest('hex') };
}

async function* chunksOf(content: FileContent): AsyncIterable<Uint8Array> {
  if (typeof content === 'string') yield Buffer.from(content);
  else if (content instanceof Uint8Array) yield content;
  else yield* content;
}

async function writeFully(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.byteLength; ) {
    const { bytesWritten } = await handle.write(chunk, done, chunk.byteLength - done);
    if (bytesWritten === 0) throw new Error('the system accepted no more bytes');
    done += bytesWritten;
  }
}

async function readBack(path: string): Promise<{ sha256: string }> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafe(1 << 20);
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return { sha256: hash.digest('hex') };
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}

/** Makes the rename itself durable. Windows cannot open folders; there the rename is all there is. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function step<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw writeError(path, describeFileProblem(error), error);
  }
}

function writeError(path: string, problem: string, cause?: unknown): PadFtError {
  const errno = errorNumber(cause);
  const folder = safeText(dirname(resolve(path)));
  const why = errno === 'ENOENT' ? `the folder ${folder} does not exist: create it first` : problem;
  return new PadFtError('ERR_FILE_WRITE', `${safeText(path)}: could not be written: ${why}`, {
    details: { path, problem, errno: errno || null },
    cause,
  });
}
