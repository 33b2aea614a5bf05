import type { LongStep } from './reporter.mjs';

/** A wheel and how to be sure of it. */
export interface PinnedWheel {
  readonly file: string;
  readonly url: string;
  readonly bytes: number;
  readonly sha256: string;
  /** What pip is asked for, and with which platform options. */
  readonly requirement: string;
  readonly pip: readonly string[];
  readonly unpackedBytes: number;
}

export interface ProvideOptions {
  readonly projectRoot: string;
  readonly say: (line: string) => void;
  /** Shows how far the download is. Defaults to nothing. */
  readonly longStep?: LongStep;
  /** Defaults to process.env. */
  readonly env?: NodeJS.ProcessEnv;
  /** Defaults to the pinned one of this platform. */
  readonly wheel?: PinnedWheel;
}

/** Fetches, checks and unpacks the pinned wheel; resolves to the folder with include/ and lib/. */
export function provideLibtorch(options: ProvideOptions): Promise<string>;

/** What the core needs of a wheel: its C++ libraries and headers, its versions and its licences. */
export function neededFromWheel(name: string): boolean;
