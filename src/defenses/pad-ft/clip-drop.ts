import { resolvePrecision } from '../../device.js';
import { clip } from './clip.js';
import { type ClipSettings, PRESETS } from './options.js';
import { correctRows, dropScore, type PurifyInput, type RowScores, scoreBySce, selectRows } from './purify.js';
import { sharpen } from './sharpen.js';

/** The first round's bounds may cost this much accuracy: a looser floor separates better. Later rounds are strict. */
const FIRST_FLOOR = 0.1;
const LATER_FLOOR = 0.02;

/**
 * Re-scoring under clipping: purify by SCE, fit bounds on what that keeps, score every row by the log-odds it loses
 * under them, purify by that, and again. Poisoned rows lose most even when the first set was contaminated. For triggers
 * present in every label, where no label can serve as another's reference.
 */
export async function scoreByClipDrop(input: PurifyInput): Promise<RowScores> {
  const { victim: model, data, settings, seed, evaluation } = input;
  const labels = data.labels();
  // One arithmetic for all its passes: what is scored is the difference between two of them.
  const precision = resolvePrecision(evaluation.precision ?? 'auto', model.device, 'evaluation');
  const { onProgress: _, ...quiet } = { ...evaluation, precision };
  const first = await scoreBySce({ ...input, evaluation: { ...evaluation, precision } });
  const eligible = correctRows(first.victim, labels);
  let scores: RowScores = { ...first, eligible, judged: null };
  using bounded = await model.clone();
  const { learningRate } = PRESETS.default.clip;
  const bounds: ClipSettings = {
    ...input.clip,
    controller: 'settle',
    kinds: 'max',
    granularity: 'per-channel',
    lambda: 0,
    learningRate,
  };
  // The very cleanest rows, wherever D_c is drawn from afterwards: bounds separate by what the plainest images do not need.
  const cleanest = { ...settings, pool: 0 };
  for (let round = 0; round < settings.rounds; round++) {
    const { purified: rows } = await selectRows({ ...scores, judged: null }, labels, data.classes, cleanest);
    using purified = await data.subset(rows, quiet);
    const fitted = await clip({
      model: bounded,
      purified,
      suspects: null,
      heldOut: null,
      settings: bounds,
      maxAccDrop: round === 0 ? FIRST_FLOOR : LATER_FLOOR,
      accuracyPrice: 0,
      seed: seed + round,
      evaluation: quiet,
    });
    // No bounds held the floor: the last usable scores stand, and before the first there is nothing to judge by.
    if (fitted.step === 0) break;
    const limited = await bounded.score(data, { ...quiet, alpha: settings.alpha });
    scores = {
      ...scores,
      score: dropScore(first.victim.logOdds, limited.logOdds),
      alternative: limited.alternative,
      judged: eligible,
    };
    evaluation.onProgress?.(round + 1, settings.rounds);
  }
  return await sharpen(scores, { ...input, evaluation: quiet });
}
