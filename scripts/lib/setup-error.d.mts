/** Exit codes of the scripts. */
export const EXIT: { readonly ok: 0; readonly buildFailed: 1; readonly usage: 2; readonly environment: 3 };

/** A failure the user can act on. */
export class SetupError extends Error {
  constructor(exitCode: number, message: string);
  readonly exitCode: number;
}
