/** Runs work that takes long and shows how far it is: what is told to `step` last, and how long it has taken. */
export type LongStep = <T>(what: string, work: (step: (at: string) => void) => Promise<T>) => Promise<T>;

export interface Reporter {
  readonly say: (line: string) => void;
  readonly longStep: LongStep;
}

export interface ReporterOptions {
  /** Says nothing at all. */
  readonly quiet?: boolean;
  /** Defaults to standard error. */
  readonly stream?: { readonly isTTY?: boolean; readonly columns?: number; write(text: string): unknown };
  /** Between two lines where there is no terminal. Defaults to half a minute. */
  readonly lineMs?: number;
}

export function createReporter(options?: ReporterOptions): Reporter;

/** For callers that show nothing. */
export const silently: LongStep;

/** How far a build is by what ninja or make printed last, e.g. `3 of 31`; null when they did not say. */
export function stepOf(output: string | Uint8Array): string | null;
