import { DBD_SHORT, type MethodName, type MethodOptions } from '../defenses/methods/index.js';
import type { InspectOptions } from '../defenses/mm-bd/inspect.js';
import type { PadFtOptions } from '../defenses/pad-ft/index.js';
import type { PoisonSettings } from '../poisoned-set.js';
import { TRAIN_DEFAULTS, type TrainSettings } from '../train.js';

/** Settings that are laid over a method's own defaults. */
export type MethodOverlays = { readonly [Name in MethodName]?: MethodOptions<Name> };

/** How large a reproduction is: which data, how a victim is trained, what the defences' sizes are. */
export interface Scale {
  readonly summary: string;
  /** What a table takes when no data sets are named. */
  readonly datasets: readonly string[];
  /** Options of a data set, by its name. */
  readonly datasetOptions: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly poison: Partial<PoisonSettings>;
  readonly train: Partial<TrainSettings>;
  /** Laid over `train` for victims of this attack: published recipes differ. */
  readonly attackTrain: Readonly<Record<string, Partial<TrainSettings>>>;
  /** Laid over every defence and every purifier; empty where the presets run as they are. */
  readonly defense: PadFtOptions;
  /** Share of the training rows that a method gets as clean images, as they were before the poison; in [0, 1]. */
  readonly cleanShare: number;
  readonly methods: MethodOverlays;
  /** Laid over MM-BD's. */
  readonly inspection: InspectOptions;
  /** Defences that the tables leave out by themselves: these data are not for them. */
  readonly unfit: readonly string[];
  /** n of table III. */
  readonly counts: readonly number[];
  /** Beside every table: how this differs from the paper. */
  readonly differences: readonly string[];
}

export const SCALE_NAMES = ['paper', 'cpu', 'smoke'] as const;
export type ScaleName = (typeof SCALE_NAMES)[number];

/** BackdoorBench's, for every defence that needs clean images. */
const CLEAN_SHARE = 0.05;

const PAPER_COUNTS = [1000, 2000, 3000, 4000, 5000, 6000];

export const SCALES: Readonly<Record<ScaleName, Scale>> = {
  paper: {
    summary: "BackdoorBench's recipe: width 64, 100 epochs; wants a GPU",
    datasets: ['cifar10', 'cifar100'],
    datasetOptions: {},
    poison: { draw: 'backdoorbench' },
    train: { width: 64, epochs: 100, batchSize: 128, learningRate: 0.01, schedule: 'cosine', cropPadding: 4 },
    // WaNet's published rate is constant, and its crop pads by 5.
    attackTrain: { wanet: { learningRate: 0.01, schedule: 'constant', cropPadding: 5 } },
    defense: {},
    cleanShare: CLEAN_SHARE,
    methods: {},
    inspection: {},
    unfit: [],
    counts: PAPER_COUNTS,
    differences: [
      'victims are trained by the recipe of BackdoorBench (width 64, 100 epochs, SGD 0.01 cosine, batch 128), rows drawn as it draws them [A: we take that recipe for the paper’s]',
    ],
  },
  cpu: {
    summary: 'all images, width 16, 8 epochs: minutes to hours a victim on a processor',
    datasets: ['cifar10'],
    datasetOptions: {},
    poison: { draw: 'uniform' },
    train: { width: 16, epochs: 8, batchSize: 128, learningRate: 0.1, schedule: 'triangular', cropPadding: 4 },
    // 8 epochs at its constant rate would not learn; the augmentation is its own.
    attackTrain: { wanet: { cropPadding: 5 } },
    defense: {},
    cleanShare: CLEAN_SHARE,
    // The default schedules would each take longer than the victim did.
    methods: {
      ft: { epochs: 20 },
      fp: { epochs: 20 },
      'ft-sam': { epochs: 20 },
      anp: { steps: 300 },
      abl: { isolationEpochs: 4, epochs: 6 },
      dbd: DBD_SHORT,
    },
    inspection: {},
    unfit: [],
    counts: PAPER_COUNTS,
    differences: [
      'width 16 instead of 64 and 8 epochs instead of 100 (SGD 0.1 triangular, batch 128): victims are less accurate than the paper’s, compare differences and not levels',
      'poisoned rows are drawn uniformly with our own seed',
      'WaNet poisons batch by batch with its own augmentation, as published, but by the same schedule as the others',
    ],
  },
  smoke: {
    summary: 'made pictures, seconds a cell: shows that everything runs; the figures mean nothing',
    datasets: ['synthetic'],
    datasetOptions: { synthetic: { classes: 3, train: 600, test: 120 } },
    poison: { draw: 'uniform' },
    train: {
      width: 8,
      epochs: 6,
      batchSize: 8,
      learningRate: 0.02,
      schedule: 'triangular',
      cropPadding: 0,
      flip: false,
    },
    // At its rate of 10 % a batch of 8 has no room for a poisoned image.
    attackTrain: { wanet: { batchSize: 16 } },
    defense: {
      always: true,
      holdout: 40,
      purify: { count: 90, rowsPerLabel: 20 },
      clip: { steps: 5, batchSize: 30, suspectBatchSize: 10 },
      tune: { epochs: 2, batchSize: 30, draws: 1 },
    },
    cleanShare: CLEAN_SHARE,
    methods: {
      'classifier-only': { epochs: 2, batchSize: 30, draws: 1 },
      'mm-bm': { steps: 5 },
      ft: { epochs: 2, batchSize: 16 },
      fp: { epochs: 2, batchSize: 16 },
      nad: { teacherEpochs: 1, epochs: 2, batchSize: 16 },
      'ft-sam': { epochs: 2, batchSize: 16 },
      anp: { steps: 5, batchSize: 16 },
      abl: { isolationEpochs: 1, epochs: 1, unlearningEpochs: 1, batchSize: 16 },
      dbd: {
        contrastiveEpochs: 1,
        contrastiveBatchSize: 64,
        warmUpEpochs: 1,
        semiEpochs: 1,
        semiSteps: 3,
        semiBatchSize: 16,
      },
    },
    inspection: { images: 4, steps: 10 },
    // The pictures have three classes, and MM-BD compares four at least.
    unfit: ['mm-bd'],
    counts: [30, 60, 90],
    differences: [
      'made pictures, a network of width 8 and 6 epochs: the figures say nothing about the method',
      'every defence repairs, whatever its verdict (`always`), the clean model too, and holds out 40 rows',
    ],
  },
};

/** The settings of a victim's training at a scale. `flip` is left out: it goes by the data set. */
export function trainSettings(scale: Scale, attack: string, seed: number): Partial<TrainSettings> {
  const { flip: _, ...defaults } = TRAIN_DEFAULTS;
  const own = Object.hasOwn(scale.attackTrain, attack) ? scale.attackTrain[attack] : {};
  return { ...defaults, ...scale.train, ...own, seed };
}
