import type { NativeDevice } from './native/contract.js';
import { callNative } from './native/job.js';
import { loadAddon } from './native/load.js';

/**
 * What a stage cost. Bytes: resident set of the process on the CPU, live tensors on CUDA; 0 where that is not known (an
 * addon built without the headers of the CUDA runtime).
 */
export interface StageCost {
  readonly stage: string;
  readonly seconds: number;
  readonly peakBytes: number;
}

/** Times stages and reads the peak memory of each. */
export class MemoryWatch {
  readonly costs: StageCost[] = [];
  readonly #device: NativeDevice;

  constructor(device: NativeDevice) {
    this.#device = device;
  }

  /** Runs a stage, and notes its seconds and its peak whether it ends well or not. */
  async measure<T>(stage: string, run: () => Promise<T>): Promise<T> {
    callNative(() => loadAddon().memory(this.#device, true));
    const start = performance.now();
    try {
      return await run();
    } finally {
      const seconds = (performance.now() - start) / 1000;
      const { peakBytes } = callNative(() => loadAddon().memory(this.#device, false));
      this.costs.push({ stage, seconds, peakBytes });
    }
  }
}
