import type { RuntimeInfo } from '../../src/native/contract.js';

export type TestLoadAnswer =
  | {
      readonly ok: true;
      readonly runtime: RuntimeInfo;
      /** Every libtorch, OpenMP, BLAS and CUDA library the process had mapped. */
      readonly libraries: readonly string[];
      /** Of the short training; null when no device was asked for. */
      readonly milliseconds: number | null;
    }
  | { readonly ok: false; readonly error: string };

export interface TestLoadOptions {
  /** e.g. `cpu` or `cuda:0`; left out, the addon is only loaded. */
  readonly device?: string | null;
  /** Defaults to two minutes. */
  readonly timeoutMs?: number;
  readonly env?: NodeJS.ProcessEnv;
}

/** Loads an addon in a child process; never throws and never takes the caller down. */
export function testLoad(addon: string, options?: TestLoadOptions): Promise<TestLoadAnswer>;
