import { checkImageSet, type ImageSet } from './datasets/image-set.js';
import { type Device, resolveDevice } from './device.js';
import type { DatasetShape, NativeDataset, NativeDevice, NativeTrigger, NoiseWarp } from './native/contract.js';
import { callNative, type RunContext, runJob } from './native/job.js';
import { loadAddon } from './native/load.js';

/**
 * Labelled uint8 images on a device, immutable. Free it with `dispose()` or `using`: device memory is invisible to the
 * garbage collector.
 */
export class Dataset implements Disposable {
  /** The core's handle; for this package's own modules. */
  readonly native: NativeDataset;
  readonly shape: DatasetShape;
  readonly device: NativeDevice;

  /** @internal Use `Dataset.from`. */
  constructor(native: NativeDataset) {
    this.native = native;
    this.shape = native.shape;
    this.device = native.device as NativeDevice;
  }

  /**
   * Copies a set in memory to a device.
   *
   * @throws PadFtError ERR_DATA when labels, shape or byte counts do not fit; ERR_DEVICE; ERR_OOM
   */
  static from(set: ImageSet, device: Device = 'auto'): Dataset {
    checkImageSet(set, 'data set');
    const target = resolveDevice(device);
    return new Dataset(callNative(() => loadAddon().createDataset(set.images, set.labels, set.shape, target)));
  }

  /** Rows. */
  get count(): number {
    return this.shape.count;
  }

  get classes(): number {
    return this.shape.classes;
  }

  /** The labels, one a row, in [0, classes). */
  labels(): Int32Array {
    return callNative(() => this.native.labels());
  }

  /** The pixels of the rows, C×H×W each, in the order given. ERR_DATA for a row that is not there. */
  images(rows: Uint32Array): Uint8Array {
    return callNative(() => this.native.images(rows));
  }

  /** A data set of these rows, in the order given. ERR_DATA for no rows or a row that is not there. */
  async subset(rows: Uint32Array, context: RunContext = {}): Promise<Dataset> {
    return new Dataset(await runJob(context.signal, () => this.native.subset(rows)));
  }

  /**
   * A copy whose rows carry the trigger and these labels; every other row is unchanged. `rows` and `labels` run in
   * parallel. ERR_DATA, ERR_OPTION when the trigger does not fit the images.
   */
  async withTrigger(
    rows: Uint32Array,
    trigger: NativeTrigger,
    labels: Int32Array,
    context: RunContext = {},
  ): Promise<Dataset> {
    return new Dataset(await runJob(context.signal, () => this.native.withTrigger(rows, trigger, labels)));
  }

  /**
   * A copy whose rows are warped, each by a grid of its own about `noise.grid` (see `NoiseWarp`); labels stay.
   * ERR_DATA, ERR_OPTION when the grid does not fit the images.
   */
  async withNoiseWarp(rows: Uint32Array, noise: NoiseWarp, context: RunContext = {}): Promise<Dataset> {
    return new Dataset(await runJob(context.signal, () => this.native.withNoiseWarp(rows, noise)));
  }

  /** Frees the memory now. Harmless twice; ERR_BUSY while a call uses it. */
  dispose(): void {
    callNative(() => this.native.dispose());
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
