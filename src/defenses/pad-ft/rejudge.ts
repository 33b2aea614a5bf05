import type { Dataset } from '../../dataset.js';
import type { EvaluationOptions, Model } from '../../model.js';
import { twoComponentMixture } from '../../statistics.js';
import type { PurifySettings } from './options.js';
import { dropScore, type Purification, type RowScores, scoringPrecision } from './purify.js';
import { type LabelVerdict, LEAST_PLANTED, restated, type Suspect } from './verdict.js';

/** What is judged again: a purification that found attacked labels, and the victim under bounds that press on its suspects. */
export interface RejudgeInput {
  readonly found: Purification;
  readonly scores: RowScores;
  /** The victim with the fitted bounds. */
  readonly bounded: Model;
  readonly data: Dataset;
  readonly settings: PurifySettings;
  readonly evaluation: EvaluationOptions;
}

/**
 * Finds the suspects of the attacked labels again, by what the fitted bounds cost each of their rows: the score of stage 1
 * with bounds in place of limits. Limits suit every trigger and so none; bounds were fitted to what most suspects share, and a
 * few thousand of them cannot learn single rows, so suspects without the trigger hold on to their label and planted rows
 * that were no suspects lose it. Which labels are attacked and the order of the rows stay as stage 1 has them; D_c and
 * the held-out rows lose those that are suspects now. A label whose parts do not stand further apart than before keeps its suspects.
 */
export async function rejudge(input: RejudgeInput): Promise<Purification> {
  const { found, scores, bounded, data, settings, evaluation } = input;
  const given = data.labels();
  const suspects: Suspect[] = [];
  const labels: LabelVerdict[] = [];
  for (const verdict of found.labels) {
    const { label } = verdict;
    const again = verdict.attacked ? await look(label) : null;
    labels.push(again === null ? verdict : { ...verdict, ...again.figures });
    suspects.push(...(again?.suspects ?? found.suspects.filter((suspect) => suspect.givenLabel === label)));
  }
  suspects.sort((a, b) => b.posterior - a.posterior || a.row - b.row);
  const planted = new Set(suspects.map(({ row }) => row));
  const purified = found.purified.filter((row) => !planted.has(row));
  // A label without a row in D_c would be unlearnt.
  const kept = new Set(Array.from(purified, (row) => given[row]));
  if (found.purified.some((row) => !kept.has(given[row] as number))) return found;
  const heldOut = found.heldOut.filter((row) => !planted.has(row));
  return { ...found, labels, suspects, purified, heldOut, verdict: restated(found.verdict, labels) };

  async function look(label: number) {
    const rows = Uint32Array.from(given.keys()).filter((row) => given[row] === label && found.eligible[row] === 1);
    using some = await data.subset(rows, evaluation);
    const precision = scoringPrecision({ victim: bounded, evaluation });
    const { logOdds } = await bounded.score(some, { ...evaluation, alpha: settings.alpha, precision });
    const score = dropScore(
      Float32Array.from(rows, (row) => found.logOdds[row] as number),
      logOdds,
    );
    const mixture = twoComponentMixture(score);
    const { rows: total, separation, rejudged: earlier } = found.labels[label] as LabelVerdict;
    if (mixture === null || mixture.ashmanD <= (earlier?.separation ?? separation ?? 0)) return null;
    const upper = [...rows.keys()].flatMap((at): Suspect[] => {
      const row = rows[at] as number;
      const posterior = mixture.posterior(score[at] as number);
      if (posterior < settings.suspectPosterior) return [];
      return [{ row, givenLabel: label, posterior, likelyLabel: scores.alternative[row] as number }];
    });
    if (upper.length < LEAST_PLANTED) return null;
    const rejudged = { separation: mixture.ashmanD, gain: mixture.bicGain / rows.length };
    return { suspects: upper, figures: { plantedShare: upper.length / total, rejudged } };
  }
}

/** Above this share of suspects that came or went the bounds are fitted again. */
const CHANGED = 0.01;

/** What `inTurns` repeats. */
export interface Turn<Found, Bounded> {
  /** Fits bounds to what was found. */
  readonly bound: (found: Found) => Promise<Bounded>;
  /** Finds the suspects again by the bounds. */
  readonly findAgain: (found: Found, bounded: Bounded) => Promise<Found>;
  /** What the bounds cost, seen with what was found; null where that cannot be seen. */
  readonly cost: (found: Found, bounded: Bounded) => Promise<number | null>;
}

/**
 * Bounds, and the suspects that they find, in turns: fitted bounds tell planted rows from clean ones better than limits do, and
 * better suspects make better bounds. It ends where hardly a suspect changes, after so many turns at most, or where there is no
 * suspect; of the bounds of two turns those are kept that cost less with the later suspects, the later ones where that is not seen.
 */
export async function inTurns<Found extends { readonly purification: Pick<Purification, 'suspects'> }, Bounded>(
  first: Found,
  turns: number,
  { bound, findAgain, cost }: Turn<Found, Bounded>,
): Promise<Found & Bounded> {
  let found = first;
  let best = await bound(found);
  for (let turn = 0; turn < turns && found.purification.suspects.length > 0; turn++) {
    const before = found.purification.suspects;
    found = await findAgain(found, best);
    if (changedShare(before, found.purification.suspects) <= CHANGED) break;
    const next = await bound(found);
    const [costBefore, costNow] = [await cost(found, best), await cost(found, next)];
    if (costBefore === null || costNow === null || costNow <= costBefore) best = next;
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
