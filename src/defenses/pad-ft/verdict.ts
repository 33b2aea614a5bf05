import { setImmediate as nextTurn } from 'node:timers/promises';
import { counted } from '../../formats/plural.js';
import { throwIfAborted } from '../../native/job.js';
import {
  interquartileRange,
  robustZ,
  rowsByLabel,
  type TwoComponentMixture,
  twoComponentMixture,
} from '../../statistics.js';
import type { LimitKind, PurifySettings } from './options.js';
import type { RowScores } from './purify.js';

/** A row that looks planted. */
export interface Suspect {
  readonly row: number;
  readonly givenLabel: number;
  /** Probability, in [0, 1], that the row belongs to the planted part of its label. */
  readonly posterior: number;
  /** The best label once the given one is excluded: its likely original label under a dirty-label attack. */
  readonly likelyLabel: number;
}

/** What the features of a label's rows say of the parts that its scores start from (`sharpen.ts`). */
export interface Sharpened {
  /** Ashman's D and the gain in BIC a row of the rows along the direction that tells the parts apart. */
  readonly separation: number;
  readonly gain: number;
  /**
   * AUROC, in [0, 1], of the scores it started from, of the upper part against the lower: 0.5 has nothing to do with
   * them.
   */
  readonly agreement: number;
  /**
   * The gain in BIC a row of those scores themselves: where it is small more is asked of `gain`. Left out on cards of
   * before.
   */
  readonly scoreGain?: number | undefined;
  /** Whether the label's scores are these. */
  readonly taken: boolean;
  /** Not taken though its parts stand apart, since the scores do not show them: a label of two kinds of pictures is so. */
  readonly alone?: boolean | undefined;
}

/** What stage 1 says about one label. */
export interface LabelVerdict {
  readonly label: number;
  /** Rows with this label, and those it is judged by: rows the victim classifies so. */
  readonly rows: number;
  readonly eligible: number;
  /** Interquartile range of the score, and its robust z among the labels. */
  readonly spread: number;
  readonly z: number;
  /** Ashman's D between the two parts of the score; null when the label was not judged: too few rows, or scores that do not vary. */
  readonly separation: number | null;
  /** How much better two parts explain the scores than one: gain in BIC a row; null as above. */
  readonly gain: number | null;
  /**
   * From how many labels the upper part's rows come, going by their likely labels: the perplexity of those as a share
   * of the C − 1 other labels. 1: from all alike, as a trigger brings them; 1 / (C − 1): from one. Null as above and
   * where the upper part is empty. Left out on cards of earlier versions, as `lowerOrigins` is.
   */
  readonly origins?: number | null | undefined;
  /** The same of the lower part's rows. */
  readonly lowerOrigins?: number | null | undefined;
  /**
   * True where stage 1 takes the lower part for the planted one (`REVERSED`): suspects and `plantedShare` are of that,
   * unless `rejudged`. Else left out.
   */
  readonly reversed?: boolean | undefined;
  /** Left out where the features were not asked, or show no two parts. */
  readonly sharpened?: Sharpened | undefined;
  readonly attacked: boolean;
  /** Share of the label's rows that look planted; 0 for a label that is not attacked. */
  readonly plantedShare: number;
  /** What the fitted bounds say of an attacked label, where its suspects are theirs (`rejudge.ts`). */
  readonly rejudged?: { readonly separation: number; readonly gain: number } | undefined;
}

/** What stage 1 says about the set. */
export interface Verdict {
  /** Labels called attacked; empty when there is no evidence. */
  readonly attacked: readonly number[];
  /**
   * Where none is, those that nearly were: two groups too close together, or too little of a gain. Never of the purifier
   * `sce`, whose groups are no evidence; left out on cards of earlier versions.
   */
  readonly near?: readonly number[] | undefined;
  /** Of cross-label: the limits that the verdict stands on. Left out by other purifiers and on cards of earlier versions. */
  readonly limits?: LimitKind | undefined;
  /**
   * Where none is called attacked under `either`: labels that extrapolated limits alone accuse, fewer than a trigger in
   * every label would show. One or two are nearer to a false alarm.
   */
  readonly unsure?: readonly number[] | undefined;
  /** One sentence a label, or one that says there is no evidence. */
  readonly text: string;
}

export interface Judgement {
  /** Labels some of whose rows may be planted: those attacked, or every one that was judged where many are. */
  readonly doubted: readonly boolean[];
  /** Of the rows that a doubted label is judged by: the probability of being planted, in [0, 1]; 0 for all others. */
  readonly probability: Float32Array;
  /** The scores that were judged, turned round in labels that are `reversed`: the larger, the likelier planted. */
  readonly score: Float32Array;
  readonly labels: readonly LabelVerdict[];
  readonly suspects: readonly Suspect[];
  readonly verdict: Verdict;
}

/**
 * A label with fewer rows to judge by is not judged: in a small sample one outlier makes two groups. No guarantee above
 * it: the thresholds of `options.ts` were raised after 6 of 16 clean sets of 200 and 400 rows a label were accused.
 */
export const LEAST_ROWS = 100;
/** And fewer rows in the upper part are outliers, not a plot. */
const LEAST_PLANTED = 10;
/** So many labels without a judgement are named in the verdict; of more, their number is given. */
const MOST_NAMED = 5;
/**
 * A label whose spread stands out among the labels this far needs no more than this share of the gain: a net that learnt
 * its classes badly has wide groups, which overlap. On 18 clean sets (made pictures and CIFAR-10) no label's z was above
 * 4.4. Of clean labels since the largest are 11 and 8.4 (CIFAR-10, D 1.8 and 1.9), 7.3 and 6.7 (made pictures, D 3.1),
 * none with a gain above 0.12: no z is a verdict by itself. All had ten labels, and among fewer that can be judged
 * nothing is said to stand out.
 */
const OUTLIER = { z: 10, gain: 0.2, labels: 10 };
/** So many attacked labels are what a trigger in every label looks like; one or two are not. */
export const MANY_LABELS = 3;
/**
 * Parts that hardly stand apart (Ashman's own limit is 2), but by twice the gain: no verdict by themselves, since one
 * label of a clean set may be so. They are one when a second sign agrees: the label's spread stands out by this z, or
 * this share of the labels that can be judged are so together, which is what a trigger in every label (all-to-all)
 * looks like; a label that its features tell apart is so too, however much the scores that it had gained. Among 320
 * labels of 32 small clean sets two were so, never two in a set (of their z see `OUTLIER`). Where labels are so
 * together, the gain alone tells of the others.
 */
const CORROBORATED = { separation: 2 / 2.8, gain: 2, z: 6, share: 0.3, labels: MANY_LABELS };
const TOGETHER = { separation: 1 / 2.8, gain: 2 };
/**
 * Which part of an attacked label is planted. As a rule the one that loses more of its margin. But a net may know a
 * class by channels that no other label needs, and its trigger by none such: limits then cost the class's own rows
 * their label, and planted ones keep it. A class's own rows fall to the few labels that look like it; planted ones come
 * from many. So where the upper part is more than this share of the rows, and the lower one comes from more than so
 * many times as many labels, the lower one is planted. Seen of Blended on made pictures (5 victims of 15: origins 0.11
 * to 0.18, and 0.35 to 0.58 of the lower part); of the attacked label of twelve CIFAR-10 victims the lower part comes
 * from 1.1 times as many labels at most. The share keeps an attack on one source class from being turned round, whose
 * planted rows come from one label too but are few. Not where many labels are attacked: under all-to-all a label's
 * planted rows come from one other. Nor of `sce`, which takes rows of large loss, as the paper has it. A clean-label
 * attack, whose planted rows are the class's own, could be turned round wrongly if those fell to one or two labels:
 * SIG's at 5 % come from 0.54 of them.
 */
const REVERSED = { share: 1 / 3, origins: 2 };
/**
 * From these shares of the thresholds on a label that is not called attacked comes near it. Clean labels do, too: at
 * most 6 of 160 in 16 small clean sets, trained twice.
 */
const NEAR = { separation: 0.9, gain: 0.2 };

/**
 * A label is attacked when its scores fall into two groups: the parts of a mixture stand apart *and* two parts explain
 * the scores clearly better than one. Either alone would accuse clean labels: a mixture splits any sample, sometimes far
 * apart for a handful of rows (no gain), and a skewed sample gains from two overlapping parts (no separation). The upper
 * part are the suspects. Where a second sign agrees less will do: where the label's spread stands out among the labels' (a
 * robust z; it sees a label from 25 % of planted rows on), or where many labels are alike.
 */
export async function judge(
  scores: RowScores,
  labels: Int32Array,
  classes: number,
  settings: PurifySettings,
  signal?: AbortSignal,
): Promise<Judgement> {
  const { judged, score } = scores;
  const groups = rowsByLabel(labels, classes, judged ?? scores.eligible);
  const counts = new Array<number>(classes).fill(0);
  for (const label of labels) counts[label] = (counts[label] as number) + 1;
  const values = groups.map((rows) => rows.map((row) => score[row] as number));
  const spreads = values.map((group) => (group.length < 8 ? 0 : interquartileRange(group)));
  const enough = groups.map((rows) => judged !== null && rows.length >= LEAST_ROWS);
  const zs = zAmong(spreads, judged === null ? spreads.map(() => true) : enough);
  const comparable = enough.filter(Boolean).length >= OUTLIER.labels;
  const near: number[] = [];
  const suspects: Suspect[] = [];
  const fits: LabelFit[] = [];
  for (const [label, rows] of groups.entries()) {
    const mixture = enough[label] ? twoComponentMixture(values[label] as number[]) : null;
    fits.push(splitLabel(rows, values[label] as number[], mixture, { likely: scores.alternative, classes, settings }));
    if (mixture === null) continue;
    // A fit of thousands of rows takes tens of milliseconds: in between the process answers.
    await nextTurn();
    throwIfAborted(signal);
  }
  const apart = (label: number) => scores.sharpened?.get(label)?.taken === true;
  const alike = fits.filter(({ beyond }, label) => beyond(CORROBORATED) || apart(label)).length;
  const together = alike >= Math.max(CORROBORATED.labels, CORROBORATED.share * enough.filter(Boolean).length);
  const called = fits.map(({ beyond }, label) => {
    const z = comparable ? (zs[label] as number) : 0;
    return (
      beyond({ separation: 1, gain: z > OUTLIER.z ? OUTLIER.gain : 1 }) ||
      (beyond(CORROBORATED) && z > CORROBORATED.z) ||
      (together && beyond(TOGETHER))
    );
  });
  // A trigger in many labels is likely in those too that it could not be shown of.
  const many = called.filter(Boolean).length >= MANY_LABELS;
  const turnable = !many && settings.purifier !== 'sce';
  const turned = score.slice();
  /** Of being planted, in the label's upper part or, where that is reversed, in its lower one. */
  const posteriorOf = (mixture: TwoComponentMixture, reversed: boolean, row: number) => {
    const above = mixture.posterior(score[row] as number);
    return reversed ? 1 - above : above;
  };
  const verdicts = groups.map((rows, label): LabelVerdict => {
    const fit = fits[label] as LabelFit;
    const { mixture, separation, gain, origins, lowerOrigins } = fit;
    const attacked = called[label] as boolean;
    if (fit.beyond(NEAR)) near.push(label);
    const reversed = attacked && turnable && isReversed(fit, rows.length);
    const planted = reversed ? fit.lower : fit.upper;
    if (attacked && mixture !== null) {
      for (const row of planted) {
        const posterior = posteriorOf(mixture, reversed, row);
        suspects.push({ row, givenLabel: label, posterior, likelyLabel: scores.alternative[row] as number });
      }
      const sum = mixture.lower.mean + mixture.upper.mean;
      if (reversed) for (const row of rows) turned[row] = sum - (score[row] as number);
    }
    const total = counts[label] as number;
    return {
      label,
      rows: total,
      eligible: rows.length,
      spread: spreads[label] as number,
      z: zs[label] as number,
      separation,
      gain,
      origins,
      lowerOrigins,
      ...(reversed && { reversed }),
      ...(scores.sharpened?.has(label) && { sharpened: scores.sharpened.get(label) }),
      attacked,
      plantedShare: attacked && total > 0 ? planted.length / total : 0,
    };
  });
  const doubted = verdicts.map(({ attacked, separation }) => attacked || (many && separation !== null));
  const probability = new Float32Array(labels.length);
  groups.forEach((rows, label) => {
    const { mixture } = fits[label] as LabelFit;
    if (!doubted[label] || mixture === null) return;
    const reversed = verdicts[label]?.reversed === true;
    for (const row of rows) probability[row] = posteriorOf(mixture, reversed, row);
  });
  suspects.sort((a, b) => b.posterior - a.posterior || a.row - b.row);
  const verdict = summarise(verdicts, settings.purifier === 'sce' ? [] : near, judged !== null, settings);
  return { doubted, probability, score: turned, labels: verdicts, suspects, verdict: standingOn(verdict, scores) };
}

/** A label's scores in two parts. */
interface LabelFit extends Pick<LabelVerdict, 'separation' | 'gain' | 'origins' | 'lowerOrigins'> {
  /** Null where the label is not judged. */
  readonly mixture: TwoComponentMixture | null;
  /** Rows that belong to either part with the probability that is asked of a suspect. */
  readonly upper: readonly number[];
  readonly lower: readonly number[];
  /** Whether the parts stand apart and explain more than these shares of the thresholds. */
  readonly beyond: (least: { readonly separation: number; readonly gain: number }) => boolean;
}

interface LabelContext {
  /** `RowScores.alternative`, of every row. */
  readonly likely: Int32Array;
  readonly classes: number;
  readonly settings: PurifySettings;
}

/** The parts of a label with these rows, and their scores, by a mixture fitted to those. */
function splitLabel(
  rows: readonly number[],
  values: readonly number[],
  mixture: TwoComponentMixture | null,
  { likely, classes, settings }: LabelContext,
): LabelFit {
  const posteriors = mixture === null ? [] : values.map((value) => mixture.posterior(value));
  const upper = rows.filter((_, i) => (posteriors[i] ?? 0) >= settings.suspectPosterior);
  const lower = rows.filter((_, i) => 1 - (posteriors[i] ?? 1) >= settings.suspectPosterior);
  const separation = mixture?.ashmanD ?? null;
  const gain = mixture === null ? null : mixture.bicGain / rows.length;
  return {
    ...{ mixture, upper, lower, separation, gain },
    origins: originsOf(upper, likely, classes),
    lowerOrigins: originsOf(lower, likely, classes),
    beyond: (least) =>
      (separation ?? 0) > least.separation * settings.verdictSeparation &&
      (gain ?? 0) > least.gain * settings.verdictGain &&
      upper.length >= LEAST_PLANTED,
  };
}

/** `REVERSED`, of an attacked label that is judged by so many rows. */
function isReversed({ upper, lower, origins, lowerOrigins }: LabelFit, rows: number): boolean {
  return (
    upper.length > REVERSED.share * rows &&
    lower.length >= LEAST_PLANTED &&
    (lowerOrigins ?? 0) > REVERSED.origins * (origins ?? 0)
  );
}

/** The verdict with the limits that it stands on, and in its words what those are. */
function standingOn(verdict: Verdict, { limits, unsure }: Pick<Verdict, 'limits' | 'unsure'>): Verdict {
  return {
    ...verdict,
    ...(limits && { limits }),
    ...(unsure && { unsure }),
    text: `${limits === 'extrapolated' ? 'by extrapolated limits: ' : ''}${verdict.text}${unsureText(unsure)}`,
  };
}

/** The verdict of labels whose suspects were found again: the same labels are attacked, by other shares of their rows. */
export function restated(verdict: Verdict, labels: readonly LabelVerdict[], settings: PurifySettings): Verdict {
  return standingOn(summarise(labels, [], true, settings), verdict);
}

/**
 * `LabelVerdict.origins` of these rows: exp(−Σ p ln p) of their likely labels, in how many equal parts they fall, over
 * C − 1.
 */
function originsOf(rows: readonly number[], likely: Int32Array, classes: number): number | null {
  if (rows.length === 0) return null;
  const counts = new Map<number, number>();
  for (const row of rows) counts.set(likely[row] as number, (counts.get(likely[row] as number) ?? 0) + 1);
  const shares = Array.from(counts.values(), (count) => count / rows.length);
  return Math.exp(-shares.reduce((sum, share) => sum + share * Math.log(share), 0)) / (classes - 1);
}

/** Robust z of the labels that can be judged, among themselves; 0 for the others. */
function zAmong(spreads: readonly number[], judged: readonly boolean[]): readonly number[] {
  const chosen = spreads.flatMap((_, label) => (judged[label] ? [label] : []));
  if (chosen.length === 0) return spreads.map(() => 0);
  const zs = robustZ(chosen.map((label) => spreads[label] as number));
  const found = new Map(chosen.map((label, i) => [label, zs[i] as number]));
  return spreads.map((_, label) => found.get(label) ?? 0);
}

function unsureText(labels: readonly number[] = []): string {
  if (labels.length === 0) return '';
  return `; extrapolated limits alone accuse ${labels.map((label) => `label ${label}`).join(' and ')}, which is no verdict: they are there for triggers in many labels`;
}

/** Beside any verdict of `sce`, which has taken planted rows for the cleanest on every victim so far (results/README.md). */
const BY_LOSS = 'by the loss alone, which is smallest for planted rows: its suspects may be the clean ones';

/** Beside a label that is `Sharpened.alone`. */
const ALONE =
  'its features fall into two parts that its scores do not show: two kinds of pictures, or planted ones; no verdict';

/** So that what stays below a threshold never reads as if it had reached it. */
function roundedDown(value: number | null, digits: number): string {
  const unit = 10 ** digits;
  return (Math.floor(unit * (value ?? 0)) / unit).toFixed(digits);
}

function summarise(
  labels: readonly LabelVerdict[],
  closest: readonly number[],
  judges: boolean,
  { purifier, verdictSeparation, verdictGain }: PurifySettings,
): Verdict {
  if (!judges) return { attacked: [], near: [], text: 'no verdict: this purifier ranks the rows and accuses none' };
  const attacked = labels.filter((label) => label.attacked);
  const near = attacked.length === 0 ? closest : [];
  const small = labels.filter((label) => label.eligible < LEAST_ROWS);
  const sentences =
    attacked.length === 0
      ? [small.length < labels.length ? 'no evidence of a backdoor' : 'no verdict: nothing could be judged']
      : attacked.map(({ label, plantedShare, reversed, rejudged }) => {
          const by = rejudged === undefined ? 'those' : 'by limits those';
          const which = reversed ? `, ${by} that lose less of their margin: they come from more labels` : '';
          return `label ${label}: ${(100 * plantedShare).toFixed(0)} % of its rows look planted${which}`;
        });
  for (const label of near) {
    const { separation, gain } = labels[label] as LabelVerdict;
    const figures = `Ashman's D ${roundedDown(separation, 2)}, gain ${roundedDown(gain, 3)}`;
    const asked = `asked for: above ${verdictSeparation} and ${verdictGain}`;
    sentences.push(`label ${label} comes near it (${figures}; ${asked})`);
  }
  for (const { label, sharpened, attacked: called } of labels) {
    if (sharpened?.alone && !called) sentences.push(`label ${label}: ${ALONE}`);
  }
  if (small.length > 0) {
    const have = small.length === 1 ? 'has' : 'have';
    const named = small.length <= MOST_NAMED ? ` (${small.map(({ label }) => label).join(', ')})` : '';
    sentences.push(
      `${small.length} of ${counted(labels.length, 'label')}${named} ${have} too few correctly classified rows to judge, fewer than ${LEAST_ROWS}`,
    );
  }
  if (purifier === 'sce' && small.length < labels.length) sentences.push(BY_LOSS);
  return { attacked: attacked.map((label) => label.label), near, text: sentences.join('; ') };
}
