import { invalidOption } from '../../errors.js';
import { boolean, choice, integer, number, withDefaults } from '../../options.js';

/**
 * Every setting of the three stages, with the two presets. `[P]` the paper says it; `[A]` the paper is silent and this
 * is our assumption.
 */

export const PURIFIERS = [
  'cross-label',
  'clip-drop',
  'sce',
  'spectral-signatures',
  'activation-clustering',
  'strip',
] as const;
export type PurifierName = (typeof PURIFIERS)[number];

export const CONTROLLERS = ['settle', 'mm-bm'] as const;
export type ControllerName = (typeof CONTROLLERS)[number];

/** Which number of a channel's map a bound holds: its largest activation (the paper's clipping), its mean, or both. */
export const BOUND_KINDS = ['max', 'mean', 'both'] as const;
export type BoundKind = (typeof BOUND_KINDS)[number];

/** Which limits cross-label holds the rows of a label to. */
export const LIMIT_KINDS = ['observed', 'extrapolated'] as const;
export type LimitKind = (typeof LIMIT_KINDS)[number];
export const LIMITS = [...LIMIT_KINDS, 'either'] as const;

export interface PurifySettings {
  readonly purifier: PurifierName;
  /** n: rows kept over all labels, n / C of each. */
  readonly count: number;
  /** D_c is drawn at random from this share of a label's candidates, cleanest first, and never larger; 0 takes the n / C cleanest. */
  readonly pool: number;
  /** Weight of the cross-entropy in SCE [A 0.1]. */
  readonly alpha: number;
  /** cross-label: the limits are this quantile of what rows of the other labels show … */
  readonly quantile: number;
  /**
   * … as those rows have it (`observed`), or the lower of that and one `extrapolated` from their median and third
   * quartile as if they were normal: then up to a quarter of those rows may be planted themselves, as under all-to-all,
   * and the limits stay. Tighter limits cost clean rows their margin too: a net that learnt little is judged worse by
   * them. `either` is observed, and extrapolated where three labels or more and no fewer are called attacked by that.
   * It is asked where what is observed shows no label by itself, or three and more; that costs the scoring passes of
   * both, and those of the second twice where three are, since the limits are measured again on rows that look clean
   * then.
   */
  readonly limits: (typeof LIMITS)[number];
  /** cross-label: the statistic of a channel's map that is limited; `both` scores under each and takes the worse. */
  readonly statistic: 'both' | 'mean' | 'max';
  /** cross-label: rows of each label that the limits are measured on. */
  readonly rowsPerLabel: number;
  /** clip-drop: rounds of scoring, clipping and scoring again. */
  readonly rounds: number;
  /** strip: rows laid over every other one. */
  readonly overlays: number;
  /**
   * cross-label, clip-drop: where the features of a label's rows tell two parts apart that agree with the scores, the
   * label is scored by those (`sharpen.ts`). Asked of labels with eight rows or more for each feature.
   */
  readonly sharpen: boolean;
  /** A label is called attacked when the two parts of its scores stand apart, Ashman's D above this … */
  readonly verdictSeparation: number;
  /** … and two parts explain the scores better than one by more than this a row (gain in BIC). */
  readonly verdictGain: number;
  /** A row is a suspect when the mixture gives it at least this probability of being planted. */
  readonly suspectPosterior: number;
}

export interface ClipSettings {
  readonly controller: ControllerName;
  readonly granularity: 'per-channel' | 'per-layer';
  readonly kinds: BoundKind;
  /** Where absolute bounds start: 8 (MM-BM), or the largest value seen on the purified set. */
  readonly start: '8' | 'max';
  /** Adam steps at most. */
  readonly steps: number;
  readonly batchSize: number;
  readonly suspectBatchSize: number;
  readonly learningRate: number;
  /** Weight of the penalty on the bounds; mm-bm moves it by 1.2. */
  readonly lambda: number;
  /** settle: first weight of the suspects' term; it grows until the accuracy floor is reached. */
  readonly mu: number;
  /** Suspects are pushed until their given label's log-odds are below −margin. */
  readonly margin: number;
}

export interface TuneSettings {
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly momentum: number;
  readonly weightDecay: number;
  /** Weight of SCE against consistency [A 0.5]. */
  readonly beta: number;
  readonly alpha: number;
  /** Brightness and contrast factors U[1 − jitter, 1 + jitter] [A 0.4]. */
  readonly jitter: number;
  readonly flip: boolean;
  /** Augmented copies a row; 0 draws afresh at every epoch, the paper's mathematics exactly. */
  readonly draws: number;
  /** Weight of the suspects' term; 0 leaves them out. */
  readonly nu: number;
  readonly margin: number;
}

export interface PadFtSettings {
  readonly preset: PresetName;
  readonly purify: PurifySettings;
  readonly clip: ClipSettings;
  readonly tune: TuneSettings;
  /**
   * Held-out rows on which stages are compared: drawn before D_c, at random, of attacked labels by how likely they are
   * clean, and those that the victim gets wrong; 0 switches the gate off.
   */
  readonly holdout: number;
  /** The gate: most accuracy a stage may lose on the held-out rows, as a fraction. */
  readonly maxAccDrop: number;
  /**
   * Stage 2: one point of held-out accuracy may be spent only for at least this many points fewer suspects that keep their
   * label; 0 … 1e6. 0 spends whatever `maxAccDrop` allows.
   */
  readonly accuracyPrice: number;
  /**
   * The gate: so many points fewer suspects that keep their label a point of held-out accuracy must buy, where stages are
   * compared; 0 … 1e6. 0 takes the fewest suspects that `maxAccDrop` allows. Less than stage 2's under `default`: the
   * victim was trained on the held-out rows, and what a new classifier loses there is in part what the old one had
   * remembered.
   */
  readonly gatePrice: number;
  /**
   * Stage 2: so often at most, in 0 … 10, the suspects are found again, by what the fitted bounds cost each row of an
   * attacked label, and the bounds are fitted again with them: each time it may take as long again. 0 leaves both as
   * they are, and so do a set without suspects, the purifier `sce`, and bounds that no suspect presses on (mm-bm, or μ
   * = 0).
   */
  readonly rejudge: number;
  /** Repairs even when no label is called attacked. */
  readonly always: boolean;
  readonly seed: number;
}

/**
 * `paper`: the paper's recipe to the letter, MM-BM's published constants where it points there. `default`: cross-label
 * purification, bounds on both statistics fitted with the suspects as evidence, a stage gate.
 */
export const PRESET_NAMES = ['default', 'paper'] as const;
export type PresetName = (typeof PRESET_NAMES)[number];

const TUNE: TuneSettings = {
  epochs: 100,
  batchSize: 256,
  learningRate: 0.01,
  momentum: 0.9,
  weightDecay: 5e-4,
  beta: 0.5,
  alpha: 0.1,
  jitter: 0.4,
  flip: true,
  draws: 0,
  nu: 0,
  margin: 2,
};

const PURIFY: PurifySettings = {
  purifier: 'cross-label',
  count: 3000,
  pool: 0,
  alpha: 0.1,
  quantile: 0.95,
  limits: 'observed',
  statistic: 'both',
  rowsPerLabel: 400,
  rounds: 3,
  overlays: 16,
  sharpen: false,
  verdictSeparation: 2.8,
  verdictGain: 0.25,
  suspectPosterior: 0.9,
};

export const PRESETS: Readonly<Record<PresetName, PadFtSettings>> = {
  default: {
    preset: 'default',
    purify: { ...PURIFY, count: 10_000, pool: 0.8, limits: 'either', sharpen: true },
    clip: {
      controller: 'settle',
      granularity: 'per-channel',
      kinds: 'both',
      start: 'max',
      steps: 160,
      batchSize: 128,
      suspectBatchSize: 64,
      learningRate: 0.02,
      lambda: 0,
      mu: 0.1,
      margin: 2,
    },
    tune: { ...TUNE, draws: 4, nu: 0.2 },
    holdout: 5000,
    maxAccDrop: 0.02,
    accuracyPrice: 5,
    gatePrice: 2,
    rejudge: 2,
    always: false,
    seed: 0,
  },
  paper: {
    preset: 'paper',
    purify: { ...PURIFY, purifier: 'sce' },
    clip: {
      controller: 'mm-bm',
      granularity: 'per-channel',
      kinds: 'max',
      start: '8',
      steps: 150,
      batchSize: 200,
      suspectBatchSize: 64,
      learningRate: 0.1,
      lambda: 0.5,
      mu: 0,
      margin: 2,
    },
    tune: TUNE,
    holdout: 0,
    maxAccDrop: 1,
    accuracyPrice: 0,
    gatePrice: 0,
    rejudge: 0,
    always: true,
    seed: 0,
  },
};

/**
 * Settings that earlier versions did not have, at the values those worked by: what a card without them means. The gate
 * had no price of its own then, but stage 2's.
 */
export const EARLIER_SETTINGS: Omit<PadFtOptions, 'gatePrice'> = {
  accuracyPrice: 0,
  rejudge: 0,
  purify: { pool: 0, limits: 'observed', overlays: 16, sharpen: false },
};

/** What the paper leaves open and a run under the `paper` preset assumed, its own overrides included. */
export function paperAssumptions({ purify, clip, tune }: PadFtSettings): readonly string[] {
  const copies = tune.draws === 0 ? 'a fresh copy every epoch' : `${tune.draws} copies a row`;
  return [
    `SCE: alpha ${purify.alpha}, log 0 = ln 1e-4`,
    'scores in evaluation mode without augmentation',
    `n = ${purify.count} in total, n / C of each label`,
    `bounds ${clip.granularity} at all 16 ReLUs, start ${clip.start}, Adam lr ${clip.learningRate}, batch ${clip.batchSize}, ` +
      `${clip.steps} steps, lambda ${clip.lambda} moved by 1.2 (MM-BM)`,
    'consistency: squared L2 between softmax outputs, gradient through both; ' +
      `${tune.flip ? 'horizontal flip, ' : ''}brightness and contrast U[${1 - tune.jitter}, ${1 + tune.jitter}], ${copies}`,
    `beta ${tune.beta}; SGD lr ${tune.learningRate}, momentum ${tune.momentum}, weight decay ${tune.weightDecay}, ` +
      `batch ${tune.batchSize}, cosine over ${tune.epochs} epochs`,
  ];
}

/** The settings of one stage, by its name. */
type StageName = 'purify' | 'clip' | 'tune';

/** Settings to lay over a preset, stage by stage. */
export type PadFtOptions = {
  readonly [K in Exclude<keyof PadFtSettings, StageName>]?: PadFtSettings[K] | undefined;
} & { readonly [K in StageName]?: Partial<PadFtSettings[K]> | undefined };

/**
 * Complete, checked settings. ERR_OPTION names the first field that is unknown, of the wrong type or out of range.
 */
export function padFtSettings(options: PadFtOptions = {}): PadFtSettings {
  const name = choice('defend.preset', options.preset ?? 'default', PRESET_NAMES);
  const base = PRESETS[name];
  const { preset: _, purify, clip, tune, ...rest } = options;
  const settings: PadFtSettings = {
    ...withDefaults('defend', base, rest),
    purify: withDefaults('purify', base.purify, purify),
    clip: withDefaults('clip', base.clip, clip),
    tune: withDefaults('tune', base.tune, tune),
  };
  checkPurify(settings.purify);
  checkClip(settings.clip);
  checkTune(settings.tune);
  integer('defend.holdout', settings.holdout, 0);
  integer('defend.rejudge', settings.rejudge, 0, 10);
  boolean('defend.always', settings.always);
  number('defend.maxAccDrop', settings.maxAccDrop, 0, 1);
  number('defend.accuracyPrice', settings.accuracyPrice, 0, 1e6);
  number('defend.gatePrice', settings.gatePrice, 0, 1e6);
  integer('defend.seed', settings.seed, 0);
  return settings;
}

/**
 * Options for a data set: copies are mirrored only where a mirrored image keeps its class (`flip`), unless `tune.flip`
 * says otherwise. The `paper` preset mirrors always, as the paper does.
 */
export function optionsForData(options: PadFtOptions, { flip }: { readonly flip: boolean }): PadFtOptions {
  if (options.preset === 'paper' || options.tune?.flip !== undefined) return options;
  return { ...options, tune: { ...options.tune, flip } };
}

function checkPurify(purify: PurifySettings): void {
  choice('purify.purifier', purify.purifier, PURIFIERS);
  integer('purify.count', purify.count, 1);
  number('purify.pool', purify.pool, 0, 1);
  if (!(purify.alpha > 0 && purify.alpha <= 1)) throw invalidOption('purify.alpha', 'a number in (0, 1]', purify.alpha);
  choice('purify.limits', purify.limits, LIMITS);
  if (!(purify.quantile > 0 && purify.quantile <= 1))
    throw invalidOption('purify.quantile', 'a number in (0, 1]', purify.quantile);
  if (purify.purifier === 'cross-label' && purify.limits !== 'observed' && purify.quantile === 1) {
    const expected = `a number below 1 where purify.limits is ${purify.limits}: the largest value cannot be extrapolated`;
    throw invalidOption('purify.quantile', expected, purify.quantile);
  }
  choice('purify.statistic', purify.statistic, ['both', 'mean', 'max']);
  integer('purify.rowsPerLabel', purify.rowsPerLabel, 8);
  integer('purify.rounds', purify.rounds, 1, 100);
  integer('purify.overlays', purify.overlays, 1, 10_000);
  boolean('purify.sharpen', purify.sharpen);
  number('purify.verdictGain', purify.verdictGain, 0, Number.POSITIVE_INFINITY);
  number('purify.verdictSeparation', purify.verdictSeparation, 0, Number.POSITIVE_INFINITY);
  number('purify.suspectPosterior', purify.suspectPosterior, 0.5, 1);
}

function checkClip(clip: ClipSettings): void {
  choice('clip.controller', clip.controller, CONTROLLERS);
  choice('clip.granularity', clip.granularity, ['per-channel', 'per-layer']);
  choice('clip.kinds', clip.kinds, BOUND_KINDS);
  choice('clip.start', clip.start, ['8', 'max']);
  integer('clip.steps', clip.steps, 1, 1e6);
  integer('clip.batchSize', clip.batchSize, 1, 1 << 20);
  integer('clip.suspectBatchSize', clip.suspectBatchSize, 1, 1 << 20);
  number('clip.learningRate', clip.learningRate, 0, 1e6);
  number('clip.lambda', clip.lambda, 0, 1e12);
  number('clip.mu', clip.mu, 0, 1e12);
  number('clip.margin', clip.margin, -1e6, 1e6);
}

/** `group` opens the paths of its errors. */
export function checkTune(tune: TuneSettings, group = 'tune'): void {
  integer(`${group}.epochs`, tune.epochs, 1, 1e6);
  integer(`${group}.batchSize`, tune.batchSize, 1, 1 << 20);
  number(`${group}.learningRate`, tune.learningRate, 0, 1e6);
  number(`${group}.momentum`, tune.momentum, 0, 1);
  number(`${group}.weightDecay`, tune.weightDecay, 0, 1e6);
  number(`${group}.beta`, tune.beta, 0, 1);
  if (!(tune.alpha > 0 && tune.alpha <= 1)) throw invalidOption(`${group}.alpha`, 'a number in (0, 1]', tune.alpha);
  boolean(`${group}.flip`, tune.flip);
  number(`${group}.jitter`, tune.jitter, 0, 1);
  integer(`${group}.draws`, tune.draws, 0, 4096);
  number(`${group}.nu`, tune.nu, 0, 1e12);
  number(`${group}.margin`, tune.margin, -1e6, 1e6);
}
