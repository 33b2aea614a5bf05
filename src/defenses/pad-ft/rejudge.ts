import type { Dataset } from '../../dataset.js';
import type { EvaluationOptions, Model } from '../../model.js';
import { twoComponentMixture } from '../../statistics.js';
import type { PadFtSettings, PurifySettings } from './options.js';
import { dropScore, type Purification, type RowScores, scoringPrecision } from './purify.js';
import { type LabelVerdict, restated, type Suspect } from './verdict.js';

/** What is judged again: a purification that found attacked labels, and the victim under bounds that press on its suspects. */
export interface RejudgeInput {
  readonly found: Purification;
  readonly scores: RowScores;
  /** The victim with the fitted bounds. */
  readonly bounded: Model;
  readonly data: Dataset;
  readonly settings: PurifySettings;
  /** D_c stays as it is, whatever is suspected: it comes from elsewhere. */
  readonly keepsPurified: boolean;
  readonly evaluation: EvaluationOptions;
}

/** Bounds that were fitted to fewer suspects of a label may have learnt those, and are not asked. */
const LEAST_PRESSED = 100;
/**
 * Where the parts overlap more (Ashman's own limit), or two explain the scores hardly better than one (this share of
 * `verdictGain`), the bounds tell no rows apart. The label is attacked, so it takes less than a verdict.
 */
const LEAST_SEPARATION = 2;
const LEAST_GAIN = 0.2;
/** Where fewer of the suspects stay, bounds and suspects contradict each other. */
const LEAST_STAYING = 0.5;
/** A label whose D_c would lose more than this share keeps its suspects: what is left would not stand for it. */
const MOST_LOST = 0.5;

/**
 * Whether suspects are found again by bounds: those must have been fitted against the suspects of a verdict that is
 * drawn from margins that rows lose. The losses that `sce` ranks by are none.
 */
export function rejudges({ rejudge: turns, purify, clip }: PadFtSettings): boolean {
  return turns > 0 && purify.purifier !== 'sce' && clip.controller === 'settle' && clip.mu > 0;
}

/**
 * Finds the suspects of the attacked labels again, by what the fitted bounds cost each of their rows: the score of
 * stage 1 with bounds in place of limits. Limits suit every trigger and so none; bounds were fitted to what most
 * suspects share, so suspects without the trigger hold on to their label and planted rows that were no suspects lose
 * it. The pressed rows are judged by what pressed on them, so this is no evidence of an attack: which labels are
 * attacked stays as stage 1 has it, and so do the order of the rows and who is held out, by whom the bounds are
 * measured. D_c loses the rows that are suspects now.
 *
 * A label keeps its suspects where it has too few, where the parts do not stand further apart than before, D > 2, or two
 * explain the scores hardly better than one, and where most suspects would be cleared or D_c would lose most of its rows.
 */
export async function rejudge(input: RejudgeInput): Promise<Purification> {
  const { found, scores, bounded, data, settings, keepsPurified, evaluation } = input;
  const given = data.labels();
  const judged = scores.judged ?? found.eligible;
  const suspects: Suspect[] = [];
  const labels: LabelVerdict[] = [];
  for (const verdict of found.labels) {
    const { label } = verdict;
    const own = found.suspects.filter(({ givenLabel }) => givenLabel === label);
    const again = verdict.attacked && own.length >= LEAST_PRESSED ? await look(verdict, own) : null;
    labels.push(again === null ? verdict : { ...verdict, ...again.figures });
    for (const suspect of again?.suspects ?? own) suspects.push(suspect);
  }
  suspects.sort((a, b) => b.posterior - a.posterior || a.row - b.row);
  const suspected = new Set(suspects.map(({ row }) => row));
  const purified = keepsPurified ? found.purified : found.purified.filter((row) => !suspected.has(row));
  return { ...found, labels, suspects, purified, verdict: restated(found.verdict, labels, settings) };

  async function look({ label, rows: total, separation, rejudged: earlier }: LabelVerdict, own: readonly Suspect[]) {
    const rows = Uint32Array.from(given.keys()).filter((row) => given[row] === label && judged[row] === 1);
    using some = await data.subset(rows, evaluation);
    // The arithmetic of stage 1: what is scored is a difference.
    const exact = evaluation.precision;
    const precision = settings.purifier === 'cross-label' ? scoringPrecision({ victim: bounded, evaluation }) : exact;
    const { logOdds } = await bounded.score(some, {
      ...evaluation,
      alpha: settings.alpha,
      ...(precision && { precision }),
    });
    const score = dropScore(
      Float32Array.from(rows, (row) => found.logOdds[row] as number),
      logOdds,
    );
    const mixture = twoComponentMixture(score);
    if (mixture === null || mixture.ashmanD <= (earlier?.separation ?? separation ?? 0)) return null;
    const gain = mixture.bicGain / rows.length;
    if (mixture.ashmanD <= LEAST_SEPARATION || gain <= LEAST_GAIN * settings.verdictGain) return null;
    const upper = [...rows.keys()].flatMap((at): Suspect[] => {
      const row = rows[at] as number;
      const posterior = mixture.posterior(score[at] as number);
      if (posterior < settings.suspectPosterior) return [];
      return [{ row, givenLabel: label, posterior, likelyLabel: scores.alternative[row] as number }];
    });
    const now = new Set(upper.map(({ row }) => row));
    if (own.filter(({ row }) => now.has(row)).length < LEAST_STAYING * own.length) return null;
    const kept = found.purified.filter((row) => given[row] === label);
    if (!keepsPurified && kept.filter((row) => now.has(row)).length > MOST_LOST * kept.length) return null;
    const rejudged = { separation: mixture.ashmanD, gain };
    return { suspects: upper, figures: { plantedShare: upper.length / total, rejudged } };
  }
}

/** Above this share of suspects that came or went the bounds are fitted again. */
const CHANGED = 0.01;

/** What `inTurns` repeats. */
export interface Turn<Found, Bounded> {
  /** Fits bounds to what was found; `turn` counts from 0. */
  readonly bound: (found: Found, turn: number) => Promise<Bounded>;
  /** Whether these bounds can tell rows apart. */
  readonly tells: (bounded: Bounded) => boolean;
  /** Finds the suspects again by the bounds. */
  readonly findAgain: (found: Found, bounded: Bounded) => Promise<Found>;
  /** What the bounds cost, seen with what was found; null where that cannot be seen. */
  readonly cost: (found: Found, bounded: Bounded) => Promise<number | null>;
  /** Bounds that are not taken. */
  readonly discard: (bounded: Bounded) => void;
}

/**
 * Bounds, and the suspects that they find, in turns: fitted bounds tell planted rows from clean ones better than limits
 * do, and better suspects make better bounds. It ends where hardly a suspect changes, where new bounds bound nothing or
 * are not better, after so many turns at most, or where there is no suspect; of the bounds of two turns those are kept
 * that cost less with the later suspects, the later ones where that is not seen.
 */
export async function inTurns<Found extends { readonly purification: Pick<Purification, 'suspects'> }, Bounded>(
  first: Found,
  turns: number,
  { bound, tells, findAgain, cost, discard }: Turn<Found, Bounded>,
): Promise<Found & Bounded> {
  let found = first;
  let best = await bound(found, 0);
  for (let turn = 1; turn <= turns && found.purification.suspects.length > 0 && tells(best); turn++) {
    const before = found.purification.suspects;
    found = await findAgain(found, best);
    if (changedShare(before, found.purification.suspects) <= CHANGED) break;
    const next = await bound(found, turn);
    if (!tells(next)) {
      discard(next);
      break;
    }
    const [costBefore, costNow] = [await cost(found, best), await cost(found, next)];
    if (costBefore !== null && costNow !== null && costNow > costBefore) {
      discard(next);
      break;
    }
    discard(best);
    best = next;
  }
  return { ...found, ...best };
}

/** Of all that were suspects before or are now, the share that was or is one alone. */
function changedShare(before: readonly Suspect[], now: readonly Suspect[]): number {
  const rows = new Set(before.map(({ row }) => row));
  const stayed = now.filter(({ row }) => rows.has(row)).length;
  const all = before.length + now.length - stayed;
  return all === 0 ? 0 : (all - stayed) / all;
}
