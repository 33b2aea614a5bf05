import { CommanderError } from 'commander';
import { type ErrorCode, originalError, outOfMemory, PadFtError } from '../errors.js';

/** What the process says to the shell. A run stopped by a signal ends with 128 + its number. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  environment: 3,
  interrupted: 130,
  brokenPipe: 141,
  terminated: 143,
} as const;

const BY_CODE: Partial<Record<ErrorCode, number>> = {
  ERR_OPTION: EXIT.usage,
  ERR_ADDON: EXIT.environment,
  ERR_DEVICE: EXIT.environment,
};

/** An error as the shell, a program and a person see it. */
export interface Failure {
  readonly exitCode: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
  /** Where a bug of our own happened; null for every error a user can meet. */
  readonly stack: string | null;
}

/** Any thrown value as a failure. What is not coded is a bug and says so, unless memory ran out: that is nobody's. */
export function toFailure(thrown: unknown): Failure {
  const first = originalError(thrown);
  const error = outOfMemory(first) ?? first;
  if (error instanceof CommanderError) {
    const message = error.message.replace(/^error: /, '');
    return { exitCode: EXIT.usage, code: 'ERR_OPTION', message, details: { reason: error.code }, stack: null };
  }
  if (error instanceof PadFtError) {
    const { code, message, details } = error;
    const stack = code === 'ERR_INTERNAL' ? (error.stack ?? null) : null;
    return { exitCode: BY_CODE[code] ?? EXIT.failed, code, message, details, stack };
  }
  const message = error instanceof Error ? error.message : String(error);
  return {
    exitCode: EXIT.failed,
    code: 'ERR_INTERNAL',
    message: `${message} (a bug in pad-ft: please report it with the lines above)`,
    details: {},
    stack: error instanceof Error ? (error.stack ?? null) : null,
  };
}
