/**
 * The border. Everything the C++ addon exports is declared here and nowhere else; a contract test
 * compares this list with what the addon really exports.
 *
 * Conventions: images are uint8, N×C×H×W, RGB. Labels are int32 in [0, classes). Scores and logits are
 * float32. Row indices are uint32. A call that computes returns a `NativeJob`: it runs on the core's own
 * thread, one job at a time, and never on the JavaScript thread or in libuv's pool. Options arrive complete
 * (defaults live in TypeScript, once); the core refuses a missing or wrong field by its path.
 */

/** Where tensors live. `auto` never crosses the border: TypeScript resolves it first. */
export type NativeDevice = 'cpu' | 'cuda' | `cuda:${number}`;

/** Arithmetic of convolutions: strict float32, TF32 (CUDA only), or bfloat16 with float32 weights and sums. */
export type NativePrecision = 'fp32' | 'tf32' | 'bf16';

/** A running computation. `cancel` asks it to stop at the next batch; the promise then rejects with ERR_ABORTED. */
export interface NativeJob<T> {
  readonly promise: Promise<T>;
  cancel(): void;
  /** True once the progress callback threw: the job is cancelled then, and the promise rejects with what it threw. */
  callbackThrew(): boolean;
}

/** Throttled progress of a job: `done` of `total` units (rows or steps). */
export type NativeProgress = (done: number, total: number) => void;

export interface NativeCudaDevice {
  readonly index: number;
  readonly name: string;
  /** 0 when this build cannot ask. */
  readonly totalBytes: number;
  /** False for cards older than compute capability 8.0, which convolve in bfloat16 slowly or not at all. */
  readonly bf16: boolean;
}

export interface RuntimeInfo {
  /** libtorch's version as it reports itself, e.g. `2.13.0`. */
  readonly torch: string;
  /** True when the libtorch that was linked has a CUDA half, whether or not a device answers. */
  readonly cudaBuilt: boolean;
  readonly cudaDevices: readonly NativeCudaDevice[];
  /** Why no CUDA device answers, in libtorch's words; absent when one does. */
  readonly cudaProblem?: string;
  readonly threads: number;
  /** BLAS and oneDNN as libtorch describes them. */
  readonly parallel: string;
  readonly blas: string;
  /** Widest vector instructions in use, e.g. `AVX2`, `AVX512`. */
  readonly cpuCapability: string;
  readonly cpuBf16: boolean;
  readonly cxxStandard: number;
  readonly napiVersion: number;
  /** True when the addon was compiled with CUDA graph support. */
  readonly cudaGraphs: boolean;
}

export interface ModelDescription {
  readonly name: string;
  readonly paper: string;
}

export interface ClipSite {
  /** e.g. `layer1.0.relu1`: the ReLU after `layer1.0.bn1`. */
  readonly name: string;
  readonly channels: number;
}

export interface DatasetShape {
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly classes: number;
}

/**
 * A trigger as data, drawn by the core on raw uint8 pixels; the result is clamped to [0, 255] and truncated.
 * `replace`: x where mask = 0, pattern where mask = 1. `blend`: (1 − alpha)·x + alpha·pattern, in double.
 * `add`: x + pattern. `mask` and `pattern` are C×H×W. `warp`: each pixel taken bilinearly, in double, from where `grid`
 * says: H×W×2, x then y in [−1, 1], −1 and 1 the centres of the outermost pixels; from 1/1024 below it counts as the
 * level, so that pixels which stay in place keep their value.
 */
export type NativeTrigger =
  | { readonly kind: 'replace'; readonly mask: Uint8Array; readonly pattern: Uint8Array }
  | { readonly kind: 'blend'; readonly alpha: number; readonly pattern: Uint8Array }
  | { readonly kind: 'add'; readonly pattern: Float32Array }
  | { readonly kind: 'warp'; readonly grid: Float32Array };

/** Warps that differ from row to row: coordinates of `grid` + U(−1, 1) / (W or H), clamped to [−1, 1], drawn from `seed`. */
export interface NoiseWarp {
  readonly grid: Float32Array;
  readonly seed: number;
}

export interface NativeDataset {
  readonly shape: DatasetShape;
  readonly device: string;
  readonly bytes: number;
  labels(): Int32Array;
  /** The pixels of the rows, in the order given: indices.length × C·H·W bytes. */
  images(indices: Uint32Array): Uint8Array;
  subset(indices: Uint32Array): NativeJob<NativeDataset>;
  /** A copy whose rows at `indices` carry the trigger and the given labels; every other row is unchanged. */
  withTrigger(indices: Uint32Array, trigger: NativeTrigger, labels: Int32Array): NativeJob<NativeDataset>;
  /** A copy whose rows at `indices` are warped, each by a grid of its own in the order given; labels stay. */
  withNoiseWarp(indices: Uint32Array, noise: NoiseWarp): NativeJob<NativeDataset>;
  dispose(): void;
}

export interface ModelOptions {
  readonly classes: number;
  /** Channels of the first stage; 64 is the published network. */
  readonly width: number;
  readonly inputChannels: number;
  /** Per-channel mean and standard deviation of pixels scaled to [0, 1]; the network normalises its own input. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Seed of the initial weights (PyTorch's default distributions). */
  readonly seed: number;
  readonly device: NativeDevice;
}

/** One tensor of a state, in PyTorch's naming. Bytes are little-endian and contiguous. */
export interface StateEntry {
  readonly name: string;
  readonly dtype: 'F32' | 'I64';
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export interface EvalOptions {
  readonly batchSize: number;
  readonly precision: NativePrecision;
}

/** Clipping bounds, one value per channel over all sites in order; a missing kind does not bound. */
export interface NativeBounds {
  /** Upper bound of each activation: a ← min(a, max). */
  readonly max: Float32Array | null;
  /** Upper bound of a channel's mean over the image: the map is scaled by min(1, mean / m). */
  readonly mean: Float32Array | null;
}

/** Which number of a channel's map in one image: its mean or its largest value. */
export type RangeStatistic = 'mean' | 'max';

export interface ScoreOptions extends EvalOptions {
  /** Weight of the cross-entropy in SCE, in (0, 1]. */
  readonly alpha: number;
  /** log 0 in the reverse cross-entropy, e.g. ln 1e-4. */
  readonly logZero: number;
  /** Hold each channel of a row labelled c to `values[c × channels + k]` in this statistic; null scores the net as it is. */
  readonly limits: { readonly statistic: RangeStatistic; readonly values: Float32Array } | null;
}

export interface Scores {
  readonly sce: Float32Array;
  /** z_y − logsumexp_{k≠y} z_k for the given label y. */
  readonly logOdds: Float32Array;
  readonly predicted: Int32Array;
  /** The best label when the given one is excluded. */
  readonly alternative: Int32Array;
}

export interface RangeOptions extends EvalOptions {
  readonly statistic: RangeStatistic;
  /** In (0, 1]; linear interpolation between order statistics, as NumPy's default. Null: the mean. */
  readonly quantile: number | null;
  /** True: one row per label c, over the rows of every other label. False: one row, over all rows. */
  readonly leaveOneLabelOut: boolean;
}

export interface MarginOptions {
  /** Random starts of each class, drawn from U(0, 1), and their size in pixels. */
  readonly images: number;
  readonly height: number;
  readonly width: number;
  /** Of gradient ascent, at most. */
  readonly steps: number;
  readonly learningRate: number;
  /** A class is done when its summed margin changes by less than this share in a step. */
  readonly tolerance: number;
  readonly seed: number;
  readonly precision: NativePrecision;
}

/** One a class. */
export interface MaximumMargins {
  /** The largest g_t(x) − max_{k≠t} g_k(x) found, in logits. */
  readonly margins: readonly number[];
  readonly steps: Int32Array;
}

export interface WarmUpOptions {
  readonly epochs: number;
  readonly batchSize: number;
  /** Of Adam. */
  readonly learningRate: number;
  /** The loss is alpha · CE + RCE. */
  readonly alpha: number;
  readonly logZero: number;
  /** Of the new classifier's first weights and of the order. */
  readonly seed: number;
  readonly precision: NativePrecision;
  /** Rows a batch when features are computed. */
  readonly featureBatchSize: number;
}

/** Of the last epoch; accuracy is by the given labels. */
export interface WarmUpResult {
  readonly loss: number;
  readonly accuracy: number;
  readonly seconds: number;
}

export interface NativeModel {
  readonly name: string;
  readonly device: string;
  readonly classes: number;
  readonly width: number;
  readonly inputChannels: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly parameterCount: number;
  readonly featureCount: number;
  readonly sites: readonly ClipSite[];
  clone(device: NativeDevice): NativeJob<NativeModel>;
  state(): NativeJob<StateEntry[]>;
  /** All or nothing: a missing, unexpected or mis-shaped entry changes nothing and is named in the error. */
  loadState(entries: readonly StateEntry[]): NativeJob<void>;
  bounds(): NativeBounds;
  setBounds(bounds: NativeBounds): void;
  predict(data: NativeDataset, options: EvalOptions, progress?: NativeProgress): NativeJob<Int32Array>;
  /** count × classes, row-major. */
  logits(data: NativeDataset, options: EvalOptions, progress?: NativeProgress): NativeJob<Float32Array>;
  /** count × featureCount, row-major: what the classifier sees. */
  features(data: NativeDataset, options: EvalOptions, progress?: NativeProgress): NativeJob<Float32Array>;
  /** count × featureCount, row-major: the features of all rows, whitened together (native/core/whitening.h). */
  whitenedFeatures(data: NativeDataset, options: EvalOptions, progress?: NativeProgress): NativeJob<Float32Array>;
  score(data: NativeDataset, options: ScoreOptions, progress?: NativeProgress): NativeJob<Scores>;
  /** [labels or 1] × all channels, row-major. */
  activationRanges(data: NativeDataset, options: RangeOptions, progress?: NativeProgress): NativeJob<Float32Array>;
  /** MM-BD's statistic, under the model's own bounds. Progress in classes. */
  maximumMargins(options: MarginOptions, progress?: NativeProgress): NativeJob<MaximumMargins>;
  /** Draws the classifier anew and trains it alone, on features computed once in evaluation mode. */
  warmUpClassifier(data: NativeDataset, options: WarmUpOptions, progress?: NativeProgress): NativeJob<WarmUpResult>;
  dispose(): void;
}

export interface TrainerOptions {
  readonly momentum: number;
  readonly weightDecay: number;
}

/**
 * WaNet's own training on clean data: of each batch the first int(rate · rows) images are warped by `grid` and labelled
 * `target`, the next int(crossRatio ·) that many are warped by grids of their own (see `NoiseWarp`) and keep their label.
 * Then one crop (probability 0.8), one rotation up to ± `rotation` degrees (0.5) and, where mirroring is on, one mirror
 * (0.5) for the whole batch; outside is the model's mean colour.
 */
export interface WarpRecipe {
  readonly rate: number;
  readonly crossRatio: number;
  readonly rotation: number;
  readonly target: number;
  /** H×W×2, as a trigger's. */
  readonly grid: Float32Array;
}

/** What a step descends where it is not the plain cross-entropy. */
export interface Objective {
  /** Of the cross-entropy, in [0, 1). */
  readonly labelSmoothing: number;
  /** A batch whose mean loss is below this, ≥ 0, is climbed and not descended; null descends always. */
  readonly ascentBelow: number | null;
  /** ρ of adaptive SAM; 0 takes the gradient where the weights are. */
  readonly radius: number;
  /** Its stages' attention is approached; a model of the same data, which no other call may use meanwhile. Null for none. */
  readonly teacher: NativeModel | null;
  /** With a teacher: the weight ≥ 0 of each stage's distance, the last stage at the end; without one, empty. */
  readonly attention: readonly number[];
}

export interface EpochOptions {
  readonly batchSize: number;
  readonly dropLast: boolean;
  /** Linear in the step from the first to the second; equal values keep it constant. */
  readonly learningRate: readonly [number, number];
  /** Zero padding of the random crop, pixels; 0 crops nothing. */
  readonly cropPadding: number;
  readonly flip: boolean;
  /** Seed of this epoch's order and augmentation. */
  readonly seed: number;
  readonly precision: NativePrecision;
  /** Null trains on the rows as they are. */
  readonly recipe: WarpRecipe | null;
  /** Null descends the cross-entropy. */
  readonly objective: Objective | null;
}

export interface EpochResult {
  readonly loss: number;
  readonly correct: number;
  readonly count: number;
  readonly steps: number;
  readonly seconds: number;
}

export interface NativeTrainer {
  epoch(data: NativeDataset, options: EpochOptions, progress?: NativeProgress): NativeJob<EpochResult>;
  /** The momentum, for a checkpoint: the core's own flat order. */
  state(): NativeJob<Float32Array>;
  loadState(momentum: Float32Array): NativeJob<void>;
  dispose(): void;
}

export interface BoundsFitterOptions {
  /** `absolute`: the bounds themselves learn, penalty Σ_l ‖z_l‖₂ (MM-BM); a start of +∞ leaves its channel (per layer: its layer) unbounded, without penalty. `fraction`: shares of `reference` in [0, 1], penalty their mean. */
  readonly parameters: 'absolute' | 'fraction';
  readonly granularity: 'per-channel' | 'per-layer';
  /** Reference ranges (fraction) or starting values (absolute) of each kind, one per channel; null leaves the kind unbounded. */
  readonly max: Float32Array | null;
  readonly mean: Float32Array | null;
  /** `plain`: MSE as it is. `variance`: divided by the variance of the reference logits. */
  readonly scale: 'plain' | 'variance';
  /** The suspects' log-odds for their given label are pushed below −margin. */
  readonly margin: number;
  readonly precision: NativePrecision;
}

export interface FitStepsOptions {
  readonly steps: number;
  readonly learningRate: number;
  /** Weight of the penalty on the bounds. */
  readonly lambda: number;
  /** Weight of the suspects' term; ignored without suspects. */
  readonly mu: number;
  readonly batchSize: number;
  readonly suspectBatchSize: number;
}

export interface FitStepsResult {
  readonly loss: number;
  readonly mse: number;
  readonly penalty: number;
  readonly suspectLoss: number;
  /** Share of the batches' rows classified as labelled by the bounded net. */
  readonly accuracy: number;
  /** Share of the batches' suspects still given their label; 0 without suspects. */
  readonly suspectsKept: number;
  readonly seconds: number;
}

export interface NativeBoundsFitter {
  steps(options: FitStepsOptions, progress?: NativeProgress): NativeJob<FitStepsResult>;
  bounds(): NativeBounds;
  dispose(): void;
}

export interface TunerOptions {
  /** Augmented copies per row, drawn and passed through the backbone once; 0 redraws every row every epoch (exact). */
  readonly draws: number;
  /** Brightness and contrast factors are U[1 − jitter, 1 + jitter]. */
  readonly jitter: number;
  readonly flip: boolean;
  readonly seed: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly alpha: number;
  readonly logZero: number;
  /** Weight of SCE against consistency, in [0, 1]. */
  readonly beta: number;
  /** Weight of the suspects' term; 0 leaves it out. */
  readonly nu: number;
  readonly margin: number;
  readonly precision: NativePrecision;
  /** Rows a batch when features are computed. */
  readonly featureBatchSize: number;
}

export interface TuneEpochOptions {
  readonly learningRate: number;
  readonly batchSize: number;
}

export interface TuneEpochResult {
  readonly loss: number;
  readonly sce: number;
  readonly consistency: number;
  readonly suspectLoss: number;
  readonly accuracy: number;
  readonly seconds: number;
}

/** Trains the model's classifier in place; the backbone and the bounds are never touched. */
export interface NativeClassifierTuner {
  epoch(options: TuneEpochOptions, progress?: NativeProgress): NativeJob<TuneEpochResult>;
  dispose(): void;
}

/** SimCLR: the projection head, SGD, and what a view may be (see `native/core/views.h`). */
export interface ContrastiveOptions {
  /** Length of the embeddings that are compared. */
  readonly projection: number;
  readonly temperature: number;
  readonly momentum: number;
  readonly weightDecay: number;
  /** Share of the image's area that a crop shows at least. */
  readonly smallestCrop: number;
  /** Factors of brightness, contrast and saturation are U[1 − jitter, 1 + jitter]; hue turns by U[−hue, hue] of a circle. */
  readonly jitter: number;
  readonly hue: number;
  readonly jitterProbability: number;
  readonly greyProbability: number;
  readonly flip: boolean;
  /** Of the projection head's first weights. */
  readonly seed: number;
}

export interface ContrastiveEpochOptions {
  /** A last, smaller batch is left out. */
  readonly batchSize: number;
  readonly learningRate: number;
  /** Of this epoch's order and views. */
  readonly seed: number;
  readonly precision: NativePrecision;
}

export interface ContrastiveEpochResult {
  /** Mean NT-Xent over the steps. */
  readonly loss: number;
  readonly steps: number;
  readonly seconds: number;
}

/** Trains the model's backbone in place and reads no label. */
export interface NativeContrastiveTrainer {
  epoch(
    data: NativeDataset,
    options: ContrastiveEpochOptions,
    progress?: NativeProgress,
  ): NativeJob<ContrastiveEpochResult>;
  dispose(): void;
}

export interface MixMatchOptions {
  readonly steps: number;
  /** Labelled rows a step, and as many unlabelled ones; at most the rows of the smaller part. */
  readonly batchSize: number;
  /** Of Adam. */
  readonly learningRate: number;
  /** Temperature that guesses are sharpened with, in [0.01, 1]. */
  readonly sharpening: number;
  /** Pairs are mixed by Beta(mixAlpha, mixAlpha); in [0.1, 4]. */
  readonly mixAlpha: number;
  /** Weight of the unlabelled rows' loss, linear in the step from the first to the second. */
  readonly unlabelledWeight: readonly [number, number];
  readonly cropPadding: number;
  readonly flip: boolean;
  /** Of this epoch's batches, views and mixtures. */
  readonly seed: number;
  readonly precision: NativePrecision;
}

/** Means over the steps. */
export interface MixMatchResult {
  readonly loss: number;
  readonly labelledLoss: number;
  readonly unlabelledLoss: number;
  readonly seconds: number;
}

/** Trains every weight of the model in place; Adam's moments last from epoch to epoch. */
export interface NativeMixMatchTrainer {
  /** `labelled` rows of `data` keep their label; the labels of all others are not read. */
  epoch(
    data: NativeDataset,
    labelled: Uint32Array,
    options: MixMatchOptions,
    progress?: NativeProgress,
  ): NativeJob<MixMatchResult>;
  dispose(): void;
}

export interface MaskerOptions {
  readonly batchSize: number;
  /** Largest relative disturbance of a batch norm's scale and shift. */
  readonly epsilon: number;
  /** Weight of the loss without disturbance against the one under it, in [0, 1]. */
  readonly alpha: number;
  readonly learningRate: number;
  readonly momentum: number;
  readonly cropPadding: number;
  readonly flip: boolean;
  readonly seed: number;
  readonly precision: NativePrecision;
}

export interface MaskStepsResult {
  /** Mean cross-entropy under the masks alone, and under masks and disturbance. */
  readonly loss: number;
  readonly robustLoss: number;
  readonly seconds: number;
}

/** ANP's search for the channels that are needed; works on a copy of the model. */
export interface NativeNeuronMasker {
  steps(options: { readonly steps: number }, progress?: NativeProgress): NativeJob<MaskStepsResult>;
  /** In [0, 1], one a channel over all sites in order. */
  mask(): Float32Array;
  dispose(): void;
}

export interface MemoryInfo {
  /** Bytes of tensors allocated now and at the peak since the last reset (device), or the process's resident set (CPU). */
  readonly currentBytes: number;
  readonly peakBytes: number;
}

export interface NativeAddon {
  runtime(): RuntimeInfo;
  models(): ModelDescription[];
  setThreads(count: number): void;
  memory(device: NativeDevice, resetPeak: boolean): MemoryInfo;
  /** An epoch of a few rows on the device; resolves to the milliseconds it took. */
  selfTest(device: NativeDevice): NativeJob<number>;
  createDataset(images: Uint8Array, labels: Int32Array, shape: DatasetShape, device: NativeDevice): NativeDataset;
  createModel(name: string, options: ModelOptions): NativeModel;
  /**
   * On CUDA a plain step is recorded once and replayed: the model stays in training mode, and the data set of the last
   * epoch in memory, until the trainer is disposed of. ERR_BUSY for a second trainer of the model meanwhile.
   */
  createTrainer(model: NativeModel, options: TrainerOptions): NativeTrainer;
  createBoundsFitter(
    model: NativeModel,
    data: NativeDataset,
    suspects: NativeDataset | null,
    options: BoundsFitterOptions & { readonly seed: number },
  ): NativeBoundsFitter;
  createClassifierTuner(
    model: NativeModel,
    data: NativeDataset,
    suspects: NativeDataset | null,
    options: TunerOptions,
  ): NativeClassifierTuner;
  createNeuronMasker(model: NativeModel, data: NativeDataset, options: MaskerOptions): NativeNeuronMasker;
  createContrastiveTrainer(model: NativeModel, options: ContrastiveOptions): NativeContrastiveTrainer;
  createMixMatchTrainer(model: NativeModel): NativeMixMatchTrainer;
  /** Asks every running job to stop; for shutdown. */
  cancelAll(): void;
}

/** What the contract test compares with the addon, name by name. */
export const CONTRACT = {
  functions: [
    'runtime',
    'models',
    'setThreads',
    'memory',
    'selfTest',
    'createDataset',
    'createModel',
    'createTrainer',
    'createBoundsFitter',
    'createClassifierTuner',
    'createNeuronMasker',
    'createContrastiveTrainer',
    'createMixMatchTrainer',
    'cancelAll',
  ],
  dataset: ['shape', 'device', 'bytes', 'labels', 'images', 'subset', 'withTrigger', 'withNoiseWarp', 'dispose'],
  model: [
    'name',
    'device',
    'classes',
    'width',
    'inputChannels',
    'mean',
    'std',
    'parameterCount',
    'featureCount',
    'sites',
    'clone',
    'state',
    'loadState',
    'bounds',
    'setBounds',
    'predict',
    'logits',
    'features',
    'whitenedFeatures',
    'score',
    'activationRanges',
    'maximumMargins',
    'warmUpClassifier',
    'dispose',
  ],
  trainer: ['epoch', 'state', 'loadState', 'dispose'],
  boundsFitter: ['steps', 'bounds', 'dispose'],
  classifierTuner: ['epoch', 'dispose'],
  neuronMasker: ['steps', 'mask', 'dispose'],
  contrastiveTrainer: ['epoch', 'dispose'],
  mixMatchTrainer: ['epoch', 'dispose'],
} as const;
