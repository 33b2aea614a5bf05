import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from '../../native/job.js';
import { rowsByLabel } from '../../statistics.js';
import { correctRows, type PurifyInput, type RowScores } from '../pad-ft/purify.js';
import type { Cloud } from './principal.js';

/**
 * Scores of a detector that looks at the features of each label by itself. `scoreLabel` gives one score for each of the
 * cloud's rows, larger for what looks planted. The scores rank rows and draw no verdict.
 */
export async function featureScores(
  { victim, data, settings, evaluation }: PurifyInput,
  scoreLabel: (cloud: Cloud) => readonly number[],
): Promise<RowScores> {
  const labels = data.labels();
  const { onProgress: _, ...quiet } = evaluation;
  const scores = await victim.score(data, { ...quiet, alpha: settings.alpha });
  const values = await victim.features(data, quiet);
  const width = values.length / data.count;
  const score = new Float32Array(data.count);
  for (const [label, rows] of rowsByLabel(labels, data.classes).entries()) {
    scoreLabel({ values, width, rows }).forEach((value, i) => {
      score[rows[i] as number] = value;
    });
    // Up to seconds of arithmetic a label in a wide network, here and not in the core: in between the process answers.
    evaluation.onProgress?.(label + 1, data.classes);
    await nextTurn();
    throwIfAborted(evaluation.signal);
  }
  return {
    score,
    eligible: correctRows(scores, labels),
    victim: scores,
    alternative: scores.alternative,
    judged: null,
  };
}
