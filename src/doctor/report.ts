/** What the doctor finds out, as data. Nothing here is measured with the addon in our own process. */

import type { LibtorchCandidate } from '../../scripts/lib/find-libtorch.mjs';
import type { RuntimeInfo } from '../native/contract.js';

export type { LibtorchCandidate } from '../../scripts/lib/find-libtorch.mjs';

/** Something wrong and what to do about it. An `error` keeps the tool from running, a `warning` does not. */
export interface DoctorProblem {
  readonly severity: 'error' | 'warning';
  readonly what: string;
  readonly todo: string;
}

export interface SystemReport {
  /** e.g. `linux-x64`. */
  readonly platform: string;
  /** e.g. `glibc 2.36`; null where Node does not say. */
  readonly libc: string | null;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly freeMemoryBytes: number;
  /** Free on the file system of the project. */
  readonly freeDiskBytes: number;
}

/** A program the tool or its set-up uses. */
export interface ToolReport {
  readonly name: string;
  /** Null when it is not there or does not answer. */
  readonly version: string | null;
  readonly path: string | null;
  /** Whether running, building, or neither (a convenience) needs it. */
  readonly neededTo: 'run' | 'build' | null;
}

export interface AddonReport {
  /** Null when none is built. */
  readonly path: string | null;
  /** The libtorch it was built for, as the set-up recorded it; null when it was not built by the set-up. */
  readonly builtFor: { readonly root: string; readonly version: string } | null;
  /** Whether it is what the sources and the chosen libtorch would give now; null when that cannot be said. */
  readonly current: boolean | null;
  /** Why it did not load in a child process; null when it did or when none is built. */
  readonly error: string | null;
  /** libtorch, OpenMP, BLAS and CUDA libraries that were really mapped. */
  readonly libraries: readonly string[];
}

/** An epoch of a few rows, in a child process with a time limit. */
export interface DeviceTrial {
  /** `cpu` or `cuda:0`. */
  readonly device: string;
  readonly name: string;
  readonly memoryBytes: number | null;
  /** Null when it failed. */
  readonly milliseconds: number | null;
  readonly error: string | null;
}

export interface DoctorReport {
  /** True when no problem is an error. */
  readonly ok: boolean;
  readonly problems: readonly DoctorProblem[];
  readonly system: SystemReport;
  readonly tools: readonly ToolReport[];
  /** In search order. */
  readonly libtorch: readonly LibtorchCandidate[];
  readonly addon: AddonReport;
  /** What the addon says of itself; null when it does not load. */
  readonly runtime: RuntimeInfo | null;
  readonly devices: readonly DeviceTrial[];
}
