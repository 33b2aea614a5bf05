import { cpus } from 'node:os';
import type { PurifierName } from '../defenses/pad-ft/options.js';
import { type Precision, type Purpose, resolvePrecision } from '../device.js';
import type { NativeDevice, NativePrecision } from '../native/contract.js';
import { callNative } from '../native/job.js';
import { loadAddon } from '../native/load.js';

/** The machine of a run, as far as it can change a number: threads and vector instructions change the last bits. */
export interface CardEnvironment {
  readonly node: string;
  readonly platform: string;
  readonly cpu: string;
  readonly torch: string;
  /** `cpu` or `cuda:N`, and the device's own name. */
  readonly device: string;
  readonly deviceName: string;
  readonly threads: number;
  /** Widest vector instructions in use, e.g. `AVX2`. */
  readonly cpuCapability: string;
  readonly napi: number;
  /** Left out by earlier versions of this package, which did not write it down. */
  readonly precision?: CardPrecision | undefined;
}

/** The arithmetic that was computed with, never `auto`: the same request means another one on another machine. */
export interface CardPrecision {
  /** Null when nothing was trained here, or the training does not say. */
  readonly training: NativePrecision | null;
  /**
   * Of a defence's scores (beside others `clip-drop` still takes that of evaluation), and of the passes that fit its
   * bounds and its classifier. Left out by earlier versions, which took that of evaluation.
   */
  readonly scoring?: NativePrecision | undefined;
  readonly fitting?: NativePrecision | undefined;
  /** Of evaluation and all else. */
  readonly evaluation: NativePrecision;
}

/** Purifiers that score in the arithmetic of scoring; the others take that of evaluation. */
const QUICK: ReadonlySet<PurifierName> = new Set(['cross-label', 'sce']);

/** What defences by these purifiers compute in on `device` when `precision` is asked for. */
export function defensePrecision(
  training: NativePrecision | null,
  precision: Precision,
  device: NativeDevice,
  purifiers: readonly PurifierName[],
): CardPrecision {
  const of = (purpose: Purpose) => resolvePrecision(precision, device, purpose);
  const scoring = of(purifiers.some((name) => QUICK.has(name)) ? 'scoring' : 'evaluation');
  return { training, scoring, fitting: of('fitting'), evaluation: of('evaluation') };
}

/** What a method that computes these things computes in on `device` when `precision` is asked for. */
export function methodPrecision(
  computes: readonly ('training' | 'scoring' | 'fitting')[],
  precision: Precision,
  device: NativeDevice,
): CardPrecision {
  const of = (purpose: Purpose) => resolvePrecision(precision, device, purpose);
  return {
    training: computes.includes('training') ? of('training') : null,
    ...(computes.includes('scoring') && { scoring: of('scoring') }),
    ...(computes.includes('fitting') && { fitting: of('fitting') }),
    evaluation: of('evaluation'),
  };
}

/** The environment of this process when it computes on `device` in `precision`. ERR_ADDON. */
export function describeEnvironment(device: NativeDevice, precision: CardPrecision): CardEnvironment {
  const runtime = callNative(() => loadAddon().runtime());
  const cpu = cpus()[0]?.model.trim() || 'unknown';
  const gpu = runtime.cudaDevices.find(({ index }) => device === `cuda:${index}`);
  return {
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    cpu,
    torch: runtime.torch,
    device,
    deviceName: gpu?.name ?? cpu,
    threads: runtime.threads,
    cpuCapability: runtime.cpuCapability,
    napi: runtime.napiVersion,
    precision,
  };
}

/**
 * True where the same run in the same precision gives the same bytes on the CPU, and the same evaluation on CUDA, whose
 * kernels for training may add in any order: nothing else that changes the last bits differs.
 */
export function sameMachineClass(a: CardEnvironment, b: CardEnvironment): boolean {
  const keys = ['platform', 'torch', 'device', 'deviceName', 'threads', 'cpuCapability'] as const;
  return keys.every((key) => a[key] === b[key]);
}
