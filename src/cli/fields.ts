import { LABEL_POLICIES } from '../attacks/labels.js';
import { POISON_DRAWS } from '../attacks/poison.js';
import type { InspectSettings } from '../defenses/mm-bd/inspect.js';
import {
  BOUND_KINDS,
  type ClipSettings,
  CONTROLLERS,
  LIMITS,
  type PadFtSettings,
  PURIFIERS,
  type PurifySettings,
  type TuneSettings,
} from '../defenses/pad-ft/options.js';
import type { PoisonSettings } from '../poisoned-set.js';
import { SCHEDULES } from '../schedule.js';
import type { TrainSettings } from '../train.js';
import type { SettingGroup } from './options.js';

/** Every setting on the command line, in words. Defaults and ranges are the library's: see `addSettings`. */

export const PURIFY_GROUP: SettingGroup<PurifySettings> = {
  prefix: 'purify',
  heading: 'Stage 1, purification:',
  fields: {
    purifier: {
      help: 'how rows are scored; spectral-signatures, activation-clustering and strip only rank them and give no verdict (--always true repairs all the same)',
      words: PURIFIERS,
    },
    count: { help: 'rows kept over all labels, an equal share of each' },
    pool: { help: 'share of a label, cleanest first, that they are drawn from; 0 keeps the very cleanest' },
    alpha: { help: 'weight of the cross-entropy in SCE, in (0, 1]' },
    quantile: { help: 'cross-label: limits are this quantile of what rows of the other labels show' },
    limits: {
      help: 'cross-label: that quantile as it is, or extrapolated from the middle half of the rows where that is lower; `either` takes the second where three labels or more, and no fewer than by the first, look attacked by it',
      words: LIMITS,
    },
    statistic: { help: "cross-label: the number of a channel's map that is limited", words: ['both', 'mean', 'max'] },
    rowsPerLabel: { help: 'cross-label: rows of each label that the limits are measured on' },
    rounds: { help: 'clip-drop: rounds of scoring, clipping and scoring again' },
    overlays: { help: 'strip: rows of the training set that are laid over each row' },
    sharpen: {
      help: "cross-label, clip-drop: score a label by its rows' features where those tell two parts apart that agree with the scores",
    },
    verdictSeparation: {
      help: "a label is called attacked when Ashman's D between two parts of its scores is above this",
    },
    verdictGain: { help: 'and two parts explain the scores better than one by more than this a row (BIC)' },
    suspectPosterior: { help: 'a row is a suspect from this probability of being planted, in [0.5, 1]' },
  },
};

export const CLIP_GROUP: SettingGroup<ClipSettings> = {
  prefix: 'clip',
  heading: 'Stage 2, activation clipping:',
  fields: {
    controller: { help: 'how hard the bounds are pressed', words: CONTROLLERS },
    granularity: { help: 'what shares a bound', words: ['per-channel', 'per-layer'] },
    kinds: { help: "what is bounded: a channel's largest activation, its mean, or both", words: BOUND_KINDS },
    start: { help: 'mm-bm: where bounds start, 8 or the largest value seen', words: ['8', 'max'] },
    steps: { help: 'Adam steps at most' },
    batchSize: { help: 'purified rows a step' },
    suspectBatchSize: { help: 'suspects a step' },
    learningRate: { help: "Adam's learning rate" },
    lambda: {
      help: 'weight of the penalty on the bounds; settle without suspects lets it grow, from 0.02 where it is 0',
    },
    mu: { help: "settle: first weight of the suspects' term" },
    margin: { help: "suspects are pushed until their given label's log-odds are below minus this" },
  },
};

export const TUNE_GROUP: SettingGroup<TuneSettings> = {
  prefix: 'tune',
  heading: 'Stage 3, classifier fine-tuning:',
  fields: {
    epochs: { help: 'epochs over the purified set' },
    batchSize: { help: 'rows a step' },
    learningRate: { help: 'peak of the cosine schedule' },
    momentum: { help: 'of SGD' },
    weightDecay: { help: 'of SGD' },
    beta: { help: 'weight of SCE against consistency, in [0, 1]' },
    alpha: { help: 'weight of the cross-entropy in SCE, in (0, 1]' },
    jitter: { help: 'brightness and contrast factors are drawn from 1 ± this' },
    flip: { help: 'flip images horizontally at random' },
    draws: { help: 'augmented copies a row; 0 draws afresh in every epoch (exact, slower)' },
    nu: { help: "weight of the suspects' term; 0 leaves them out" },
    margin: { help: "suspects are pushed until their given label's log-odds are below minus this" },
  },
};

/** The settings of the whole defence that have no stage. */
export type DefenseSettings = Omit<PadFtSettings, 'preset' | 'purify' | 'clip' | 'tune' | 'seed'>;

export const DEFENSE_GROUP: SettingGroup<DefenseSettings> = {
  prefix: null,
  heading: 'Defence:',
  fields: {
    holdout: { help: 'held-out rows the stages are compared on; 0 returns the last stage in any case' },
    maxAccDrop: { help: 'most accuracy a stage may lose on them, as a fraction' },
    accuracyPrice: {
      help: 'where bounds are fitted: a point of held-out accuracy is given up for at least so many points of suspects that lose their label',
    },
    gatePrice: { help: 'the same where the stage to return is chosen' },
    rejudge: {
      help: 'times at most that the suspects are found again by the fitted bounds, and those fitted again; 0 is off',
    },
    always: { help: 'repair even when no label is called attacked' },
  },
};

/** Of `inspect`; its seed is a flag of its own. */
export type InspectFlags = Omit<InspectSettings, 'seed'>;

export const INSPECT_GROUP: SettingGroup<InspectFlags> = {
  prefix: null,
  heading: 'Detection:',
  fields: {
    images: { help: 'random images that each class starts from' },
    imageSize: { help: 'their height and width in pixels: what the model was trained on' },
    steps: { help: 'steps of gradient ascent at most' },
    learningRate: { help: 'of gradient ascent' },
    tolerance: { help: 'a class is done when its margin changes by less than this share' },
    significance: { help: 'the model is called backdoored when the p-value is at most this' },
  },
};

/** Of training; its precision and seed are flags of every command that computes. */
export type TrainFlags = Omit<TrainSettings, 'precision' | 'seed'>;

export const TRAIN_GROUP: SettingGroup<TrainFlags> = {
  prefix: null,
  heading: 'Training:',
  fields: {
    model: { help: 'architecture', words: ['preact-resnet18'] },
    width: { help: 'channels of the first stage: 64 is the published network, 16 suits a processor' },
    epochs: { help: 'passes over the training set' },
    batchSize: { help: 'rows a step' },
    learningRate: { help: 'peak of the schedule' },
    schedule: { help: 'how the learning rate moves over the epochs', words: SCHEDULES },
    momentum: { help: 'of SGD' },
    weightDecay: { help: 'of SGD' },
    cropPadding: { help: 'zero padding of the random crop, in pixels; 0 crops nothing' },
    flip: { help: 'flip images horizontally at random' },
    dropLast: { help: 'leave out the last, smaller batch of each epoch' },
  },
};

/** Of poisoning; the attack and its own options are listed by their tables. */
export type PoisonFlags = Omit<PoisonSettings, 'attack' | 'attackOptions' | 'seed'>;

export const POISON_GROUP: SettingGroup<PoisonFlags> = {
  prefix: null,
  heading: 'Poisoning:',
  fields: {
    rate: { help: 'poison rate: share of all training rows, in [0, 1]' },
    policy: {
      help: 'what a triggered image is to be called; an attack that knows one policy takes that',
      words: LABEL_POLICIES,
    },
    target: { help: 'target class; all-to-all has none' },
    draw: {
      help: "how rows are drawn, not for wanet; backdoorbench gives BackdoorBench's rows at the same seed",
      words: POISON_DRAWS,
    },
  },
};
