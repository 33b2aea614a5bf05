import { ERROR_CODES, type ErrorCode, outOfMemory, PadFtError } from '../errors.js';
import type { NativeJob } from './contract.js';

/** What every computing call takes besides its own options. */
export interface RunContext {
  /** Stops the call at its next batch; it then rejects with ERR_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Progress of this call: `done` of `total` rows or steps, at most some twenty times a second. What it throws stops the
   * call, which rejects with that very error.
   */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

const CODES: ReadonlySet<string> = new Set(ERROR_CODES);

/** Throws ERR_ABORTED when the signal was already raised. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal);
}

function aborted(signal: AbortSignal): PadFtError {
  return new PadFtError('ERR_ABORTED', 'stopped on request', { cause: signal.reason });
}

/**
 * An error from the core as a PadFtError. `at` is an error made before the crossing: its stack names the caller, which
 * the native error's own stack does not.
 */
export function fromNative(error: unknown, at?: Error): PadFtError {
  if (error instanceof PadFtError) return error;
  const full = outOfMemory(error);
  if (full !== null) return full;
  const { code, message, detail } = error as { code?: string; message?: string; detail?: string };
  const known = code !== undefined && CODES.has(code) ? (code as ErrorCode) : 'ERR_INTERNAL';
  const result = new PadFtError(known, message ?? String(error), {
    cause: error,
    ...(detail === undefined ? {} : { details: { detail } }),
  });
  if (at?.stack !== undefined) result.stack = at.stack.replace(/^.*$/m, `${result.name}: ${result.message}`);
  return result;
}

/** A synchronous entry of the core, its errors coded. */
export function callNative<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fromNative(error, new Error());
  }
}

/** Starts a job, ties it to the signal and waits for it. */
export async function runJob<T>(signal: AbortSignal | undefined, start: () => NativeJob<T>): Promise<T> {
  throwIfAborted(signal);
  const at = new Error();
  const job = callNative(start);
  const cancel = () => job.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    return await job.promise;
  } catch (error) {
    // The caller's own error goes back to the caller as it is, also when the signal was raised after it.
    if (job.callbackThrew()) throw error;
    if (signal?.aborted) throw aborted(signal);
    throw fromNative(error, at);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
