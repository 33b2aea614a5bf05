import { PadFtError } from '../errors.js';
import { describeFileProblem, openRegularFile } from './file-problem.js';
import { parseJson } from './json-text.js';
import { safeText } from './terminal.js';

/** Larger than any card or manifest this package writes; a stranger's file is not read without a limit. */
const LARGEST_JSON = 64 * 1024 * 1024;

/**
 * Reads a JSON file of at most 64 MB and 64 levels. The value is unchecked: hand it to a `Check` of json-shape.
 *
 * @throws PadFtError ERR_FILE_MISSING, ERR_FILE_FORMAT
 */
export async function readJsonFile(path: string): Promise<unknown> {
  const handle = await openRegularFile(path);
  let bytes: Buffer;
  try {
    const { size } = await handle.stat();
    if (size > LARGEST_JSON) throw formatError(path, `at most ${LARGEST_JSON} bytes of JSON`, `${size}`);
    bytes = await handle.readFile();
  } catch (error) {
    if (error instanceof PadFtError) throw error;
    const problem = describeFileProblem(error);
    throw new PadFtError('ERR_FILE_MISSING', `${safeText(path)}: could not be read: ${problem}`, {
      details: { path, problem },
      cause: error,
    });
  } finally {
    await handle.close();
  }
  try {
    return parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw formatError(path, 'JSON in UTF-8', error instanceof Error ? error.message : String(error), error);
  }
}

function formatError(path: string, expected: string, got: string, cause?: unknown): PadFtError {
  return new PadFtError('ERR_FILE_FORMAT', safeText(`${path}: expected ${expected}, got ${got}`), {
    details: { path, expected, got },
    cause,
  });
}
