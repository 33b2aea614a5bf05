/** A usable libtorch. */
export interface Libtorch {
  /** Holds include/ and lib/; symbolic links resolved. */
  readonly root: string;
  /** The folder of libtorch_cpu.so; symbolic links resolved. */
  readonly libraries: string;
  /** From its headers, e.g. `2.13.0`. */
  readonly version: string;
  /** The CUDA version it was built for, `unknown version` if it does not say, null when it has no CUDA half. */
  readonly cuda: string | null;
  /** What its headers demand. */
  readonly cxxStandard: 17 | 20;
}

export type LibtorchSource = 'explicit' | 'python' | 'provided' | 'system';

/** One place that was looked at: either a libtorch or the problem with it. */
export interface LibtorchCandidate {
  readonly source: LibtorchSource;
  readonly where: string;
  readonly libtorch: Libtorch | null;
  readonly problem: string | null;
  readonly chosen: boolean;
}

export interface FindOptions {
  readonly projectRoot: string;
  /** Wins over the environment's LIBTORCH. */
  readonly explicit?: string | undefined;
  /** Defaults to process.env. */
  readonly env?: NodeJS.ProcessEnv;
  /** Look at every place, also after one was chosen, and report a wrong explicit path instead of throwing. */
  readonly all?: boolean;
  /** Defaults to /usr and /usr/local. */
  readonly systemRoots?: readonly string[];
}

export interface FindResult {
  readonly chosen: Libtorch | null;
  /** In search order. */
  readonly candidates: readonly LibtorchCandidate[];
}

/** Looks in every place in order. Throws a SetupError when the explicit path is wrong (unless `all`). */
export function findLibtorch(options: FindOptions): Promise<FindResult>;

/** What lies at `root`, by its files alone: nothing is loaded or run. */
export function inspectLibtorch(
  root: string,
): { readonly libtorch: Libtorch; readonly problem: null } | { readonly libtorch: null; readonly problem: string };

/** Where an earlier set-up put the libtorch it provided. */
export function providedRoot(projectRoot: string): string;

/** The interpreter a user means by "Python" now, or null. */
export function currentPython(env?: NodeJS.ProcessEnv): string | null;

/** The file a bare command name means, or null. */
export function onPath(name: string, env?: NodeJS.ProcessEnv): string | null;

/** One line per candidate, for messages. */
export function describeCandidates(candidates: readonly LibtorchCandidate[]): string[];

/** The folder of this project. */
export const PROJECT_ROOT: string;
