import { PadFtError } from '../errors.js';
import type { DatasetPair } from './image-set.js';

/** Where a load stands: bytes while it downloads or reads, images while it generates. */
export interface LoadProgress {
  readonly stage: 'download' | 'read' | 'generate';
  readonly done: number;
  readonly total: number;
}

export interface LoadContext {
  /** Ends the load with ERR_ABORTED; nothing half-written stays behind. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: LoadProgress) => void;
}

/** A data set by name: what it is, whom to credit, and how to get it. One file each, one line in the table. */
export interface DatasetSource<Options extends object> {
  readonly name: string;
  /** One line for `--help` and the documentation. */
  readonly summary: string;
  /** The publication or the people to credit. */
  readonly paper: string;
  /** Of a set that is made: raised whenever the same options would make another one. */
  readonly version?: number;
  /**
   * Checks the options, fills in the defaults and loads both sets.
   *
   * @throws PadFtError ERR_OPTION, ERR_FILE_MISSING, ERR_FILE_FORMAT, ERR_CHECKSUM, ERR_DOWNLOAD, ERR_DATA, ERR_OOM,
   * ERR_ABORTED
   */
  load(options: Partial<Options>, context?: LoadContext): Promise<DatasetPair>;
  /**
   * Looks whether the files are where the options have them, without reading any; left out by a set that is made.
   * Resolves where they are, or would be fetched.
   *
   * @throws PadFtError ERR_OPTION, ERR_FILE_MISSING
   */
  locate?(options: Partial<Options>): Promise<void>;
}

/** Ends a load whose signal was aborted; called between pieces of work. */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) throw new PadFtError('ERR_ABORTED', `${what}: stopped on request`, { cause: signal.reason });
}
