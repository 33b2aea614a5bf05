/** Exit codes of the scripts, the same words the CLI uses. */
export const EXIT = Object.freeze({ ok: 0, buildFailed: 1, usage: 2, environment: 3 });

/** A failure the user can act on: its message says what was tried and what to do. */
export class SetupError extends Error {
  /**
   * @param {number} exitCode one of EXIT
   * @param {string} message
   */
  constructor(exitCode, message) {
    super(message);
    this.name = 'SetupError';
    this.exitCode = exitCode;
  }
}

/** @param {string} message something the machine lacks */
export const environmentMissing = (message) => new SetupError(EXIT.environment, message);

/** @param {string} message a compiler, linker or loader that said no */
export const buildFailed = (message) => new SetupError(EXIT.buildFailed, message);
