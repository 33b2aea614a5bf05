import type { Dataset } from '../../dataset.js';
import { resolvePrecision } from '../../device.js';
import type { EvaluationOptions, Model } from '../../model.js';
import type { NativePrecision, Scores } from '../../native/contract.js';
import { Random, streamSeed } from '../../random.js';
import { commonScale, normalQuantile, rankAscending, rowsByLabel, smallestPerLabel } from '../../statistics.js';
import type { ClipSettings, LimitKind, PurifierName, PurifySettings } from './options.js';
import { type RefinedScores, refineNearCuts } from './refine.js';
import { sharpen } from './sharpen.js';
import {
  type Judgement,
  judge,
  type LabelVerdict,
  MANY_LABELS,
  type Sharpened,
  type Suspect,
  type Verdict,
} from './verdict.js';

/**
 * A purifier's is raised when the same settings score, judge or choose rows otherwise than before (all of them, where
 * `judge` or `selectRows` do so for all; other words for the same choice are no reason): no cached result of a defence,
 * a detector or a method that purifies by it is taken over then.
 */
const PURIFY_REVISIONS: Readonly<Record<PurifierName, number>> = {
  'cross-label': 6,
  'clip-drop': 6,
  sce: 2,
  'spectral-signatures': 2,
  'activation-clustering': 2,
  strip: 2,
};

/** What a purification depends on: its settings, of those that its purifier reads, and the revision that it works by. */
export function purifyBasis(settings: PurifySettings): { readonly revision: number; readonly purify: object } {
  const { sharpen, ...others } = settings;
  const sharpens = settings.purifier === 'cross-label' || settings.purifier === 'clip-drop';
  return { revision: PURIFY_REVISIONS[settings.purifier], purify: sharpens ? settings : others };
}

/** What stage 1 hands on: the purified set, the suspects, and what it says about the training set. */
export interface Purification {
  /**
   * One a row of the training set; smaller is cleaner: turned round where a label is `reversed`. Means nothing where
   * `eligible` is 0.
   */
  readonly score: Float32Array;
  /** Rows that may be kept, of those alone D_c is made: those the victim classifies as labelled, or all of them (sce). */
  readonly eligible: Uint8Array;
  /** Rows the victim classifies as labelled. */
  readonly correct: Uint8Array;
  /** Every eligible row, cleanest first. */
  readonly order: Uint32Array;
  /** SCE and log-odds of every row's given label under the victim. */
  readonly sce: Float32Array;
  readonly logOdds: Float32Array;
  /** D_c: the purified set, at most n / C rows of each label. */
  readonly purified: Uint32Array;
  /**
   * Set aside before D_c was chosen, at random: of labels that may be planted by how likely they are clean, no suspect
   * of stage 1, and those that the victim gets wrong.
   */
  readonly heldOut: Uint32Array;
  readonly suspects: readonly Suspect[];
  readonly verdict: Verdict;
  readonly labels: readonly LabelVerdict[];
}

/** Everything a purifier may look at. No ground truth, by construction. */
export interface PurifyInput {
  readonly victim: Model;
  readonly data: Dataset;
  readonly settings: PurifySettings;
  /** How clip-drop fits the bounds it scores under. */
  readonly clip: ClipSettings;
  readonly seed: number;
  /** Rows that will be held out before D_c is chosen. */
  readonly holdout: number;
  readonly evaluation: EvaluationOptions;
}

/** A purifier's answer before anything is selected: one score a row. */
export interface RowScores {
  readonly score: Float32Array;
  readonly eligible: Uint8Array;
  readonly victim: Scores;
  /** The best label once the given one is excluded, under the limits: the suspects' likely original label. */
  readonly alternative: Int32Array;
  /** Rows that verdict and suspects are drawn from, non-zero; null for scores that say nothing about planting yet. */
  readonly judged: Uint8Array | null;
  /** Of cross-label: the limits that these scores are of. */
  readonly limits?: LimitKind | undefined;
  /** Of cross-label under `either`: labels that extrapolated limits alone accuse, too few of them to be believed. */
  readonly unsure?: readonly number[] | undefined;
  /** What the features say of each label that they were asked of. */
  readonly sharpened?: ReadonlyMap<number, Sharpened> | undefined;
}

/** The rows the victim classifies as labelled. */
export function correctRows(scores: Scores, labels: Int32Array): Uint8Array {
  return Uint8Array.from(labels, (label, row) => (scores.predicted[row] === label ? 1 : 0));
}

/**
 * The paper's purifier (section III-A): rows in order of their SCE. Ranked by the log-odds, which order the rows alike
 * for hard labels and every alpha, and do not saturate at 0 in float32. Its suspects are rows of large loss, as the paper
 * has it: where a backdoor makes the victim surer of planted rows than of clean ones, they are the wrong ones.
 *
 * With `auto`, where bfloat16 is fast, rows are scored in it and those near a label's cut again in float32: D_c is
 * float32's (`refineNearCuts`). Where D_c is drawn from a pool or after held-out rows there is no one cut, and bfloat16's
 * scores stand.
 */
export async function scoreBySce(input: PurifyInput): Promise<RowScores> {
  const { victim: model, data, settings, evaluation } = input;
  const oneCut = settings.pool === 0 && input.holdout === 0;
  const precision = scoringPrecision(input);
  const exact = resolvePrecision(evaluation.precision ?? 'auto', model.device, 'evaluation');
  const victim =
    oneCut && precision !== exact
      ? (await scoreRefined(input, precision)).scores
      : await model.score(data, { ...evaluation, precision, alpha: settings.alpha });
  return rankedBySce(victim, data.labels());
}

/** Rows in order of their log-odds, the largest first; all of them are eligible. */
export function rankedBySce(victim: Scores, labels: Int32Array): RowScores {
  return {
    score: victim.logOdds.map((value) => -value),
    eligible: new Uint8Array(labels.length).fill(1),
    victim,
    alternative: victim.alternative,
    judged: correctRows(victim, labels),
  };
}

/** Every row scored in `fast`, and those near a cut again in float32. */
export async function scoreRefined(input: PurifyInput, fast: NativePrecision): Promise<RefinedScores> {
  const { victim: model, data, settings, evaluation } = input;
  const labels = data.labels();
  const { onProgress: _, ...quiet } = evaluation;
  return refineNearCuts(
    await model.score(data, { ...evaluation, alpha: settings.alpha, precision: fast }),
    { labels, classes: data.classes, settings },
    async (rows) => {
      using some = await data.subset(rows, quiet);
      return await model.score(some, { ...quiet, alpha: settings.alpha, precision: 'fp32' });
    },
  );
}

/** The arithmetic that rows are scored in; `auto` is bfloat16 where that is fast. */
export function scoringPrecision({ victim, evaluation }: Pick<PurifyInput, 'victim' | 'evaluation'>): NativePrecision {
  return resolvePrecision(evaluation.precision ?? 'auto', victim.device, 'scoring');
}

/**
 * Cross-label purification. A trigger drives channels beyond what images of *other* labels drive them to. On the rows
 * labelled c each channel is held to a quantile of what correctly classified rows of every label but c show; the score
 * is how much log-odds the row loses by it, drop / √(1 + |log-odds|). Clean rows lose little, planted rows most of
 * their margin. One pass over a sample for the ranges (three where limits are extrapolated) and one scoring pass a
 * statistic, and one as it is. With `either` the extrapolated limits too, where the observed ones show no label by
 * themselves or three and more, and where many labels are attacked by them once again, measured on rows that look
 * clean. With `sharpen` one pass more for the features, and another where extrapolated limits accuse many labels. No
 * gradient, no clean data, no guess of the target. With `auto` all passes are in bfloat16 where that is fast: what is
 * scored are differences, and the verdict is drawn from thousands of them.
 */
export async function scoreCrossLabel(input: PurifyInput): Promise<RowScores> {
  const { victim: model, data, settings } = input;
  const evaluation = { ...input.evaluation, precision: scoringPrecision(input) };
  const labels = data.labels();
  const victim = await model.score(data, { ...evaluation, alpha: settings.alpha });
  const eligible = correctRows(victim, labels);
  const kinds = settings.statistic === 'both' ? (['mean', 'max'] as const) : [settings.statistic];
  const measureOn = async (rows: Uint8Array): Promise<Measured> => {
    const drawn = drawPerLabel(labels, rows, data.classes, settings.rowsPerLabel, input.seed);
    const sample = await data.subset(drawn, evaluation);
    const measured = new Map<string, Promise<Float32Array>>();
    return {
      // Both kinds of limits ask for the observed quantile.
      ranges: async (statistic, quantile) => {
        const key = `${statistic} ${quantile}`;
        const options = { ...evaluation, statistic, quantile, leaveOneLabelOut: true };
        const range = measured.get(key) ?? model.activationRanges(sample, options);
        measured.set(key, range);
        return await range;
      },
      [Symbol.dispose]: () => sample.dispose(),
    };
  };
  const under = async (limits: LimitKind, { ranges }: Measured): Promise<RowScores> => {
    const limited: LimitedScores[] = [];
    for (const statistic of kinds) {
      const values = await limitsFrom((quantile) => ranges(statistic, quantile), {
        quantile: settings.quantile,
        limits,
      });
      const scores = await model.score(data, { ...evaluation, alpha: settings.alpha, limits: { statistic, values } });
      limited.push({ score: dropScore(victim.logOdds, scores.logOdds), alternative: scores.alternative });
    }
    return { ...worst(limited, labels, eligible, data.classes), eligible, victim, judged: eligible, limits };
  };
  const sharpened = (scores: RowScores) => sharpen(scores, { ...input, evaluation });
  using measured = await measureOn(eligible);
  if (settings.limits !== 'either') return await sharpened(await under(settings.limits, measured));
  const judgementOf = async (scores: RowScores) =>
    await judge(scores, labels, data.classes, settings, evaluation.signal);
  const calledBy = async (scores: RowScores) => (await judgementOf(scores)).verdict.attacked.length;
  const plain = await under('observed', measured);
  const plainly = await calledBy(plain);
  const observed = await sharpened(plain);
  const called = observed === plain ? plainly : await calledBy(observed);
  // Extrapolated limits are there for triggers in every label, of which the observed ones may show none, or a few by their
  // features: a label or two that stand out by the limits alone are an attack on those.
  if (data.classes < MANY_LABELS || (plainly > 0 && called < MANY_LABELS)) return observed;
  const first = await under('extrapolated', measured);
  const found = await judgementOf(first);
  const { attacked } = found.verdict;
  if (attacked.length < MANY_LABELS) {
    return called > 0 || attacked.length === 0 ? observed : { ...observed, unsure: attacked };
  }
  // What was measured holds planted rows, since there are some in every label: measured again without those that may
  // be, the limits are the tighter ones of clean images, and labels that hardly stood apart do.
  using clean = await measureOn(likelyClean(eligible, labels, found));
  const again = await under('extrapolated', clean);
  const still = new Set((await judgementOf(again)).verdict.attacked);
  const extrapolated = await sharpened(attacked.every((label) => still.has(label)) ? again : first);
  return (await calledBy(extrapolated)) >= called ? extrapolated : observed;
}

/** A sample of the rows, and any observed quantile of every channel on it, for the labels but one. */
interface Measured extends Disposable {
  readonly ranges: (statistic: 'mean' | 'max', quantile: number) => Promise<Float32Array>;
}

/** Below this probability of being planted a row of a doubted label counts as surely clean. */
const CLEAR_PROBABILITY = 0.05;
/** Where less than this share of a doubted label is so, its parts say nothing about its rows. */
const LEAST_CLEAR = 0.5;

/** Eligible rows; of doubted labels those that are surely clean. */
function likelyClean(
  eligible: Uint8Array,
  labels: Int32Array,
  { doubted, probability }: Pick<Judgement, 'doubted' | 'probability'>,
): Uint8Array {
  const clear = eligible.map((one, row) => ((probability[row] as number) < CLEAR_PROBABILITY ? one : 0));
  const all = countPerLabel(labels, doubted.length, eligible);
  const left = countPerLabel(labels, doubted.length, clear);
  const told = doubted.map((one, label) => one && (left[label] as number) >= LEAST_CLEAR * (all[label] as number));
  return eligible.map((one, row) => (told[labels[row] as number] ? (clear[row] as number) : one));
}

/**
 * The limits at a quantile: observed, or the lower of that and median + z(q) / z(0.75) · (third quartile − median), the
 * quantile of a normal distribution with that middle. `ranges` gives any observed quantile of every channel.
 */
export async function limitsFrom(
  ranges: (quantile: number) => Promise<Float32Array>,
  { quantile, limits }: { readonly quantile: number; readonly limits: LimitKind },
): Promise<Float32Array> {
  const observed = await ranges(quantile);
  if (limits === 'observed') return observed;
  const [middle, quartile] = [await ranges(0.5), await ranges(0.75)];
  const reach = normalQuantile(quantile) / normalQuantile(0.75);
  return middle.map((value, channel) => {
    const extrapolated = Math.max(0, value + reach * ((quartile[channel] as number) - value));
    return Math.min(observed[channel] as number, extrapolated);
  });
}

/** Drop scores under one kind of limit, and the best label but the given one under it. */
interface LimitedScores {
  readonly score: Float32Array;
  readonly alternative: Int32Array;
}

/**
 * The worse of several scores, row by row. A patch drives channels higher than other labels do, a warp broader: each
 * statistic is blind to what the other sees. Scores are first brought to one scale, the median of the labels' medians
 * and spreads, which an attacked label or two does not move.
 */
function worst(
  limited: readonly LimitedScores[],
  labels: Int32Array,
  eligible: Uint8Array,
  classes: number,
): LimitedScores {
  const [only] = limited;
  if (limited.length === 1 && only !== undefined) return only;
  const groups = rowsByLabel(labels, classes, eligible);
  const standard = limited.map(({ score }) => {
    const { centre, spread } = commonScale(groups.map((rows) => rows.map((row) => score[row] as number)));
    return score.map((value) => (value - centre) / spread);
  });
  const score = new Float32Array(labels.length);
  const alternative = new Int32Array(labels.length);
  for (let row = 0; row < labels.length; row++) {
    let worse = 0;
    for (let kind = 1; kind < limited.length; kind++) {
      if ((standard[kind]?.[row] as number) > (standard[worse]?.[row] as number)) worse = kind;
    }
    score[row] = standard[worse]?.[row] as number;
    alternative[row] = limited[worse]?.alternative[row] as number;
  }
  return { score, alternative };
}

/** drop / √(1 + |log-odds|), from the log-odds before and after limiting. */
export function dropScore(before: Float32Array, after: Float32Array): Float32Array {
  return before.map((value, row) => (value - (after[row] as number)) / Math.sqrt(1 + Math.abs(value)));
}

/** Up to `perLabel` eligible rows of each label, drawn at random, in ascending order. */
export function drawPerLabel(
  labels: Int32Array,
  eligible: Uint8Array,
  classes: number,
  perLabel: number,
  seed: number,
  stream: 'purify' | 'purified' = 'purify',
): Uint32Array {
  const order = new Random(streamSeed(seed, stream)).permutation(labels.length);
  const taken = new Uint32Array(classes);
  const rows: number[] = [];
  for (const row of order) {
    const label = labels[row] as number;
    if (eligible[row] === 0 || (taken[label] as number) >= perLabel) continue;
    taken[label] = (taken[label] as number) + 1;
    rows.push(row);
  }
  return Uint32Array.from(rows).sort();
}

/** How rows are set aside before D_c is chosen. */
export interface HoldOut {
  /** Rows wanted. */
  readonly count: number;
  readonly seed: number;
}

/** At most this share of a label's rows is held out: D_c comes from the rest. */
const MOST_HELD_OUT = 0.5;

/**
 * From one score a row to the purified set, the suspects and the verdicts. Held-out rows are drawn first and at random,
 * so that they stand for all rows: what a purifier leaves over is what the victim gets wrong, and on that every repair
 * looks free. D_c then takes n / C candidates of each label, at random from the `pool` cleanest: the very smallest scores
 * are the plainest images of a label, and bounds that suit those cost the others their accuracy.
 */
export async function selectRows(
  scores: RowScores,
  labels: Int32Array,
  classes: number,
  settings: PurifySettings,
  hold: HoldOut = { count: 0, seed: 0 },
  signal?: AbortSignal,
): Promise<Purification> {
  const judgement = await judge(scores, labels, classes, settings, signal);
  const { doubted, probability, score, labels: verdicts, suspects, verdict } = judgement;
  const correct = correctRows(scores.victim, labels);
  const candidates = Uint8Array.from(scores.eligible);
  // The paper's D_c are the rows of smallest loss, whatever they look like: its suspects, of large loss, stay where
  // they are.
  const literal = settings.purifier === 'sce' && settings.pool === 0;
  if (!literal) for (const suspect of suspects) candidates[suspect.row] = 0;
  // Inside a doubted label any row may be planted: of those that the victim classifies as labelled as many stand for it
  // as are likely clean, each by its probability, and no suspect. The surely clean ones alone would be its plainest,
  // and bounds that deny the label to all others would cost nothing. And so must the rows that the victim gets wrong,
  // or every change would look like a loss; a planted one among them, which the trigger does not move, is hardly right
  // afterwards.
  const suspected = new Set(suspects.map(({ row }) => row));
  const chance = new Random(streamSeed(hold.seed, 'likely'));
  const known = Uint8Array.from(labels, (label, row) =>
    doubted[label] && correct[row] === 1 && (suspected.has(row) || chance.uniform() < (probability[row] as number))
      ? 0
      : 1,
  );
  const heldOut = drawHeldOut(labels, classes, known, candidates, hold);
  for (const row of heldOut) candidates[row] = 0;
  const perLabel = Math.max(1, Math.floor(settings.count / classes));
  const pools = countPerLabel(labels, classes, candidates).map((count) =>
    settings.pool === 0 ? perLabel : Math.ceil(settings.pool * count),
  );
  const pool = smallestPerLabel(score, labels, classes, pools, candidates);
  return {
    score,
    eligible: scores.eligible,
    correct,
    order: rankAscending(score).filter((row) => scores.eligible[row] === 1),
    sce: scores.victim.sce,
    logOdds: scores.victim.logOdds,
    purified:
      settings.pool === 0
        ? pool
        : drawPerLabel(labels, marks(labels.length, pool), classes, perLabel, hold.seed, 'purified'),
    heldOut,
    suspects,
    verdict,
    labels: verdicts,
  };
}

function drawHeldOut(
  labels: Int32Array,
  classes: number,
  known: Uint8Array,
  candidates: Uint8Array,
  { count, seed }: HoldOut,
): Uint32Array {
  // Candidates and the others of a label alike, or the sample would tip towards the rows that the victim gets wrong.
  const kind = (row: number) => 2 * (labels[row] as number) + (candidates[row] as number);
  const left = new Array<number>(2 * classes).fill(0);
  known.forEach((one, row) => {
    if (one === 1) left[kind(row)] = (left[kind(row)] as number) + MOST_HELD_OUT;
  });
  const rows: number[] = [];
  for (const row of new Random(streamSeed(seed, 'holdout')).permutation(labels.length)) {
    if (rows.length === count) break;
    const spare = left[kind(row)] as number;
    if (known[row] === 0 || spare < 1) continue;
    left[kind(row)] = spare - 1;
    rows.push(row);
  }
  return Uint32Array.from(rows);
}

function marks(length: number, rows: Uint32Array): Uint8Array {
  const marked = new Uint8Array(length);
  for (const row of rows) marked[row] = 1;
  return marked;
}

function countPerLabel(labels: Int32Array, classes: number, candidates: Uint8Array): number[] {
  const counts = new Array<number>(classes).fill(0);
  labels.forEach((label, row) => {
    if (candidates[row] === 1) counts[label] = (counts[label] as number) + 1;
  });
  return counts;
}
