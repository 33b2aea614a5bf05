import type { Dataset } from './dataset.js';
import { type Device, type Precision, resolveDevice, resolvePrecision } from './device.js';
import { invalidOption, PadFtError } from './errors.js';
import type {
  ClipSite,
  ModelOptions,
  NativeBounds,
  NativeDevice,
  NativeModel,
  RangeStatistic,
  Scores,
  StateEntry,
} from './native/contract.js';
import { callNative, type RunContext, runJob } from './native/job.js';
import { loadAddon } from './native/load.js';

/** The architectures by name; the core has the same table. */
export const MODEL_NAMES = ['preact-resnet18'] as const;
export type ModelName = (typeof MODEL_NAMES)[number];

export interface CreateModelOptions {
  /** Defaults to `preact-resnet18`. */
  readonly name?: ModelName;
  readonly classes: number;
  /** Channels of the first stage. Defaults to 64, the published network; 16 suits a CPU. */
  readonly width?: number;
  /** Of pixels in [0, 1], one number an input channel; the network normalises its own input. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Seed of the initial weights. Defaults to 0. */
  readonly seed?: number;
  readonly device?: Device;
}

export interface EvaluationOptions extends RunContext {
  /** Rows a batch; changes speed and memory, not results beyond rounding. Defaults to 500 on the CPU, 2000 on CUDA. */
  readonly batchSize?: number;
  readonly precision?: Precision;
}

export interface ScoringOptions extends EvaluationOptions {
  /** Weight of the cross-entropy in SCE, in (0, 1]. Defaults to 0.1 [A]. */
  readonly alpha?: number;
  /** Per-label limits on every channel, from `activationRanges` with `leaveOneLabelOut`. */
  readonly limits?: { readonly statistic: RangeStatistic; readonly values: Float32Array };
}

export interface RangesOptions extends EvaluationOptions {
  readonly statistic: RangeStatistic;
  /** In (0, 1]; null for the mean. */
  readonly quantile: number | null;
  readonly leaveOneLabelOut: boolean;
}

/** log 0 in the reverse cross-entropy: ln 1e-4, as the SCE authors clamp labels. */
export const LOG_ZERO = Math.log(1e-4);

/** The bounds of a network that clips nothing. */
export const NO_BOUNDS: NativeBounds = { max: null, mean: null };

/** A classifier `classifier ∘ features` with clip sites, on a device. Its bounds are part of what it computes. */
export class Model implements Disposable {
  /** The core's handle; for this package's own modules. */
  readonly native: NativeModel;
  readonly name: string;
  readonly device: NativeDevice;
  readonly classes: number;
  readonly width: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly parameterCount: number;
  readonly featureCount: number;
  readonly sites: readonly ClipSite[];

  /** @internal Use `Model.create`, `train` or `loadModel`. */
  constructor(native: NativeModel) {
    this.native = native;
    this.name = native.name;
    this.device = native.device as NativeDevice;
    this.classes = native.classes;
    this.width = native.width;
    this.mean = native.mean;
    this.std = native.std;
    this.parameterCount = native.parameterCount;
    this.featureCount = native.featureCount;
    this.sites = native.sites;
  }

  /** A freshly initialised network. ERR_OPTION, ERR_DEVICE, ERR_OOM. */
  static create(options: CreateModelOptions): Model {
    const complete: ModelOptions = {
      classes: options.classes,
      width: options.width ?? 64,
      inputChannels: options.mean.length,
      mean: options.mean,
      std: options.std,
      seed: options.seed ?? 0,
      device: resolveDevice(options.device),
    };
    return new Model(callNative(() => loadAddon().createModel(options.name ?? 'preact-resnet18', complete)));
  }

  /** Channels of all clip sites together: the length of every bound vector. */
  get siteChannels(): number {
    return this.sites.reduce((total, site) => total + site.channels, 0);
  }

  async clone(device: Device = this.device): Promise<Model> {
    const target = resolveDevice(device);
    return new Model(await runJob(undefined, () => this.native.clone(target)));
  }

  /** Every tensor, by PyTorch's name, copied to the host. */
  state(): Promise<StateEntry[]> {
    return runJob(undefined, () => this.native.state());
  }

  /** All or nothing: ERR_MODEL names every missing, unexpected or mis-shaped entry and changes nothing. */
  loadState(entries: readonly StateEntry[]): Promise<void> {
    return runJob(undefined, () => this.native.loadState(entries));
  }

  get bounds(): NativeBounds {
    return callNative(() => this.native.bounds());
  }

  set bounds(bounds: NativeBounds) {
    callNative(() => this.native.setBounds(bounds));
  }

  /** The predicted label of every row. ERR_MODEL, ERR_DATA when the data do not fit; ERR_NUMERIC for NaN logits. */
  async predict(data: Dataset, options: EvaluationOptions = {}): Promise<Int32Array> {
    this.#checkFit(data);
    return runJob(options.signal, () =>
      this.native.predict(data.native, this.#evaluation(options), options.onProgress),
    );
  }

  /** Logits, rows × classes. */
  async logits(data: Dataset, options: EvaluationOptions = {}): Promise<Float32Array> {
    this.#checkFit(data);
    return runJob(options.signal, () => this.native.logits(data.native, this.#evaluation(options), options.onProgress));
  }

  /** What the classifier sees, rows × featureCount. */
  async features(data: Dataset, options: EvaluationOptions = {}): Promise<Float32Array> {
    this.#checkFit(data);
    return runJob(options.signal, () =>
      this.native.features(data.native, this.#evaluation(options), options.onProgress),
    );
  }

  /**
   * The features, rows × featureCount, row by row, whitened over these rows: centred, and a direction whose
   * variance was λ has λ / (λ + 0.1 · mean λ), so that the difference of two groups' means is Fisher's discriminant
   * between them.
   *
   * @throws PadFtError ERR_MODEL or ERR_DATA when the data do not fit or have no row, ERR_NUMERIC for features that are
   * not finite, ERR_OOM, ERR_ABORTED
   */
  async whitenedFeatures(data: Dataset, options: EvaluationOptions = {}): Promise<Float32Array> {
    this.#checkFit(data);
    return runJob(options.signal, () =>
      this.native.whitenedFeatures(data.native, this.#evaluation(options), options.onProgress),
    );
  }

  /** SCE and log-odds of every row's given label (paper eq. 1), under per-label limits when given. */
  async score(data: Dataset, options: ScoringOptions = {}): Promise<Scores> {
    this.#checkFit(data);
    const alpha = options.alpha ?? 0.1;
    if (!(alpha > 0 && alpha <= 1)) throw invalidOption('score.alpha', 'a number in (0, 1]', alpha);
    return runJob(options.signal, () =>
      this.native.score(
        data.native,
        { ...this.#evaluation(options), alpha, logZero: LOG_ZERO, limits: options.limits ?? null },
        options.onProgress,
      ),
    );
  }

  /** A quantile, or the mean, of each channel's statistic over the rows: [labels or 1] × siteChannels. The network runs unbounded. */
  async activationRanges(data: Dataset, options: RangesOptions): Promise<Float32Array> {
    this.#checkFit(data);
    const { statistic, quantile, leaveOneLabelOut } = options;
    return runJob(options.signal, () =>
      this.native.activationRanges(
        data.native,
        { ...this.#evaluation(options), statistic, quantile, leaveOneLabelOut },
        options.onProgress,
      ),
    );
  }

  /** Frees the memory now. Harmless twice; ERR_BUSY while a call uses it. */
  dispose(): void {
    callNative(() => this.native.dispose());
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #evaluation(options: EvaluationOptions) {
    return {
      batchSize: options.batchSize ?? (this.device === 'cpu' ? 500 : 2000),
      precision: resolvePrecision(options.precision ?? 'auto', this.device, 'evaluation'),
    };
  }

  // The core checks too; here the message can say what to do.
  #checkFit(data: Dataset): void {
    if (data.classes !== this.classes) {
      throw new PadFtError(
        'ERR_MODEL',
        `the model was made for ${this.classes} classes and the data set has ${data.classes}; use the data set it was trained on`,
        { details: { expected: this.classes, got: data.classes } },
      );
    }
  }
}
