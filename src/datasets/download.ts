import { basename, dirname } from 'node:path';
import { PadFtError } from '../errors.js';
import { writeFileAtomic } from '../formats/atomic-file.js';
import { openFolder } from '../formats/folder.js';
import { safeText } from '../formats/terminal.js';
import { type LoadContext, throwIfAborted } from './dataset-source.js';

/** A file whose every byte is known before it is fetched. */
export interface PinnedFile {
  readonly url: string;
  /** Where it is kept. */
  readonly path: string;
  readonly bytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
}

/**
 * Fetches a file into its place. The place holds either nothing or the whole, verified file: what breaks off,
 * is too long or has another SHA-256 is removed.
 *
 * @throws PadFtError ERR_DOWNLOAD, ERR_CHECKSUM, ERR_FILE_WRITE, ERR_ABORTED
 */
export async function downloadPinned(file: PinnedFile, context: LoadContext = {}): Promise<void> {
  await openFolder(dirname(file.path), [basename(file.path)]);
  await writeFileAtomic(file.path, fetchBytes(file, context), {
    verify: (_, { sha256 }) => {
      if (sha256 === file.sha256) return;
      const message =
        `${file.url}: SHA-256 is ${sha256}, expected ${file.sha256}: nothing was kept; ` +
        'try again, and if it happens again get the file from elsewhere';
      throw new PadFtError('ERR_CHECKSUM', message, {
        details: { url: file.url, path: file.path, expected: file.sha256, got: sha256 },
      });
    },
  });
}

/** The body, piece by piece; never more than the pinned size, never less. */
async function* fetchBytes(file: PinnedFile, { signal, onProgress }: LoadContext): AsyncIterable<Uint8Array> {
  let done = 0;
  try {
    throwIfAborted(signal, file.url);
    // As it lies on the server: a transparently decompressed body would never match its length.
    const headers = { 'accept-encoding': 'identity' };
    const response = await fetch(file.url, { headers, ...(signal ? { signal } : {}) });
    if (!response.ok || response.body === null) {
      await response.body?.cancel();
      throw downloadError(file, `the server answered ${response.status} ${response.statusText}`);
    }
    onProgress?.({ stage: 'download', done, total: file.bytes });
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      done += chunk.byteLength;
      if (done > file.bytes) throw downloadError(file, `the server sent more than the expected ${file.bytes} bytes`);
      yield chunk;
      onProgress?.({ stage: 'download', done, total: file.bytes });
    }
  } catch (error) {
    throwIfAborted(signal, file.url);
    if (error instanceof PadFtError) throw error;
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw downloadError(file, cause instanceof Error ? cause.message : String(cause), error);
  }
  if (done < file.bytes) throw downloadError(file, `the server sent ${done} of ${file.bytes} bytes`);
}

function downloadError(file: PinnedFile, problem: string, cause?: unknown): PadFtError {
  const message =
    `${file.url}: could not be downloaded: ${problem}; nothing was kept. Try again, ` +
    `or get the file by other means and put it at ${file.path}`;
  return new PadFtError('ERR_DOWNLOAD', safeText(message), {
    details: { url: file.url, path: file.path, problem },
    cause,
  });
}
