import { invalidOption, PadFtError } from './errors.js';
import type { NativeDevice, NativePrecision } from './native/contract.js';
import { callNative } from './native/job.js';
import { loadAddon } from './native/load.js';

/** Where to compute. `auto` takes the first CUDA device when one answers, else the CPU. */
export type Device = 'auto' | NativeDevice;

/** Arithmetic of convolutions. `auto`: see `resolvePrecision`. */
export const PRECISIONS = ['auto', 'fp32', 'tf32', 'bf16'] as const satisfies readonly ('auto' | NativePrecision)[];
export type Precision = (typeof PRECISIONS)[number];

/**
 * The device as the core wants it. A device that was named and is not there is an error, never a silent CPU run.
 * Throws ERR_OPTION for a word that is no device, ERR_DEVICE when it is not there.
 */
export function resolveDevice(device: Device = 'auto'): NativeDevice {
  if (device === 'cpu') return device;
  const runtime = callNative(() => loadAddon().runtime());
  if (device === 'auto') return runtime.cudaDevices.length > 0 ? 'cuda:0' : 'cpu';
  const match = /^cuda(?::(\d+))?$/.exec(device);
  if (match === null) throw invalidOption('device', 'auto, cpu, cuda or cuda:N', device);
  const index = Number(match[1] ?? 0);
  if (index >= runtime.cudaDevices.length) {
    const reason = runtime.cudaProblem ?? `this machine has ${runtime.cudaDevices.length} CUDA device(s)`;
    throw new PadFtError(
      'ERR_DEVICE',
      `device ${device} is not there: ${reason}; run pad-ft doctor, or use --device cpu`,
      {
        details: { device, available: runtime.cudaDevices.length },
      },
    );
  }
  return `cuda:${index}`;
}

/**
 * What the arithmetic is for. Training tolerates bfloat16, and so does the scoring of a whole training set, where what
 * bfloat16 cannot tell is scored again or a verdict is drawn from thousands of rows, and the fitting of bounds and of
 * the classifier, which are looked at in the arithmetic of evaluation before they are taken. A rate is evaluated as
 * exactly as is cheap.
 */
export type Purpose = 'training' | 'scoring' | 'fitting' | 'evaluation';

/**
 * The arithmetic as the core wants it. On CUDA `auto` trains in bfloat16 and does all else in TF32, which is fast there
 * already; on cards older than compute capability 8.0, which have neither, it trains in float32, and TF32 is that. On
 * CPUs with AVX512-BF16 it trains, scores and fits in bfloat16 and evaluates in float32; on others everything is float32.
 */
export function resolvePrecision(precision: Precision, device: NativeDevice, purpose: Purpose): NativePrecision {
  if (precision !== 'auto') {
    if (precision === 'tf32' && device === 'cpu')
      throw invalidOption('precision', 'auto, fp32 or bf16 on the CPU', precision);
    return precision;
  }
  const runtime = () => callNative(() => loadAddon().runtime());
  if (device === 'cpu') return purpose !== 'evaluation' && runtime().cpuBf16 ? 'bf16' : 'fp32';
  if (purpose !== 'training') return 'tf32';
  const gpu = runtime().cudaDevices.find(({ index }) => device === `cuda:${index}`);
  return gpu?.bf16 === false ? 'fp32' : 'bf16';
}
