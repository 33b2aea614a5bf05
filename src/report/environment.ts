import { cpus } from 'node:os';
import type { NativeDevice } from '../native/contract.js';
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
}

/** The environment of this process when it computes on `device`. ERR_ADDON. */
export function describeEnvironment(device: NativeDevice): CardEnvironment {
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
  };
}

/** True where the same run must give the same bytes: nothing that changes the last bits differs. */
export function sameMachineClass(a: CardEnvironment, b: CardEnvironment): boolean {
  const keys = ['platform', 'torch', 'device', 'deviceName', 'threads', 'cpuCapability'] as const;
  return keys.every((key) => a[key] === b[key]);
}
