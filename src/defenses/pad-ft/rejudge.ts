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
