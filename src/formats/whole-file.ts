import type { FileHandle } from 'node:fs/promises';
import { outOfMemory, PadFtError, withMemory } from '../errors.js';
import { describeFileProblem, openRegularFile } from './file-problem.js';
import { LARGEST_PIECE } from './sha256.js';
import { safeText } from './terminal.js';

/**
 * A whole file in memory, of whatever size there is room for. One that changes its size meanwhile gives what was there.
 *
 * @throws PadFtError ERR_FILE_MISSING when it is not a readable regular file, ERR_OOM
 */
export async function readWhole(path: string): Promise<Uint8Array> {
  const handle = await openRegularFile(path);
  try {
    const { size } = await handle.stat();
    const bytes = withMemory(() => new Uint8Array(size));
    return bytes.subarray(0, await fill(handle, bytes));
  } catch (error) {
    if (error instanceof PadFtError) throw error;
    const problem = describeFileProblem(error);
    throw (
      outOfMemory(error) ??
      new PadFtError('ERR_FILE_MISSING', `${safeText(path)}: could not be read: ${problem}`, {
        details: { path, problem },
        cause: error,
      })
    );
  } finally {
    await handle.close();
  }
}

async function fill(handle: FileHandle, bytes: Uint8Array): Promise<number> {
  let filled = 0;
  while (filled < bytes.byteLength) {
    const piece = Math.min(bytes.byteLength - filled, LARGEST_PIECE);
    const { bytesRead } = await handle.read(bytes, filled, piece, filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}
