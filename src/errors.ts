/**
 * The one error class of the project. Every failure a user can meet carries a code from a closed
 * list, a message that says what was expected, what came and what to do, and details for programs.
 */

/** Every code an error of this package can carry. The C++ core uses the same words. */
export const ERROR_CODES = [
  'ERR_OPTION', // an option is unknown, of the wrong type or out of range
  'ERR_FILE_MISSING', // a path does not exist or is not a regular file or folder
  'ERR_FILE_FORMAT', // a file's bytes are not what its format demands
  'ERR_FILE_WRITE', // a file could not be written completely (disk full, permission)
  'ERR_CHECKSUM', // bytes differ from their pinned SHA-256
  'ERR_DOWNLOAD', // the network refused, or the archive could not be fetched
  'ERR_DATA', // labels, shapes or counts of a data set do not fit
  'ERR_MODEL', // a state, a class count or an architecture does not fit the model
  'ERR_NUMERIC', // a loss, a gradient or a score became NaN or infinite
  'ERR_DEVICE', // the device asked for is not there
  'ERR_OOM', // not enough memory on the host or the device
  'ERR_BUSY', // the handle is used by another call
  'ERR_DISPOSED', // the handle was disposed
  'ERR_HANDLE', // the value is not a handle of the kind expected
  'ERR_ADDON', // the native addon is missing or does not load
  'ERR_TORCH', // libtorch reported an error we did not foresee
  'ERR_ABORTED', // the caller's AbortSignal, Ctrl-C or a shutdown ended the call
  'ERR_INTERNAL', // a broken invariant of our own: please report it
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export interface PadFtErrorOptions {
  /** Values a program can act on: the option's path, the file, what was expected and what came. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** A coded error: `code` says which kind, `message` says what to do, `details` holds the values. */
export class PadFtError extends Error {
  override readonly name = 'PadFtError';
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: PadFtErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** One shape for every invalid option: `poison.rate: expected a number in [0, 1], got 1.5`. */
export function invalidOption(path: string, expected: string, got: unknown): PadFtError {
  return new PadFtError('ERR_OPTION', `${path}: expected ${expected}, got ${describe(got)}`, {
    details: { path, expected, got: describe(got) },
  });
}

/** A value in words, short enough for a message and safe for a terminal. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value);
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (ArrayBuffer.isView(value)) return `${value.constructor.name} of ${value.byteLength} bytes`;
  return typeof value === 'object' ? (value.constructor?.name ?? 'an object') : typeof value;
}

/**
 * What went wrong first: where disposing of something failed after an error, both come as one. To be asked before an error
 * is looked at that may have passed a `using`. Node 20 has no `SuppressedError` to compare with.
 */
export function originalError(thrown: unknown): unknown {
  const wrapped = thrown instanceof Error && thrown.name === 'SuppressedError' && 'suppressed' in thrown;
  return wrapped ? originalError(thrown.suppressed) : thrown;
}

/** True for errors that mean "somebody asked us to stop", whoever raised them. */
export function isAbort(thrown: unknown): boolean {
  const error = originalError(thrown);
  return (
    (error instanceof PadFtError && error.code === 'ERR_ABORTED') ||
    (error instanceof Error && error.name === 'AbortError')
  );
}

/** What V8 says when the system gives it no memory for an array's bytes, or none of that length can exist. */
const REFUSED_ARRAY = /^(Array buffer allocation failed|Invalid typed array length|Invalid array buffer length)/;

/** An array that found no room, as ERR_OOM that says what to do; null for every other error. */
export function outOfMemory(error: unknown): PadFtError | null {
  if (!(error instanceof RangeError) || !REFUSED_ARRAY.test(error.message)) return null;
  // The core's words for its own allocations.
  const advice = 'lower the batch size, use fewer rows or a narrower network';
  return new PadFtError('ERR_OOM', `not enough memory; ${advice}: ${error.message}`, { cause: error });
}

/** Makes arrays whose size somebody else chose. ERR_OOM when there is no room for them. */
export function withMemory<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw outOfMemory(error) ?? error;
  }
}
