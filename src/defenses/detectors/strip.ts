import type { Dataset } from '../../dataset.js';
import type { EvaluationOptions, Model } from '../../model.js';
import { Random, streamSeed } from '../../random.js';
import { correctRows, type PurifyInput, type RowScores } from '../pad-ft/purify.js';

/** How much of an image the one laid over it covers: half, as published (the images are added and halved). */
const OVERLAY = 0.5;

/**
 * STRIP (Gao et al., *STRIP: A Defence Against Trojan Attacks on Deep Neural Networks*, ACSAC 2019): other images are laid
 * over each one, and the victim's answers are looked at. A trigger shines through, so the answers agree; the score is the
 * mean entropy of the answers in bits, negated: larger for what looks planted.
 *
 * The paper lays images over it that are known to be clean; here they are rows of the training set itself, drawn at random,
 * `purify.overlays` of them, the same for every row. Those of them that carry the trigger lower every row's entropy alike.
 *
 * @throws PadFtError as `Dataset.withTrigger` and `Model.logits`
 */
export async function scoreByStrip(input: PurifyInput): Promise<RowScores> {
  const { victim, data, settings, seed, evaluation } = input;
  const labels = data.labels();
  const { onProgress, ...quiet } = evaluation;
  const scores = await victim.score(data, { ...quiet, alpha: settings.alpha });
  const drawn = new Random(streamSeed(seed, 'purify')).permutation(data.count).subarray(0, settings.overlays);
  const entropy = new Float64Array(data.count);
  for (const [i, row] of drawn.entries()) {
    (await entropiesUnder(victim, data, row, quiet)).forEach((value, of) => {
      entropy[of]! += value / drawn.length;
    });
    onProgress?.(i + 1, drawn.length);
  }
  return {
    score: Float32Array.from(entropy, (value) => -value),
    eligible: correctRows(scores, labels),
    victim: scores,
    alternative: scores.alternative,
    judged: null,
  };
}

/** Rows a piece: their copies are in memory beside the data set. */
const PIECE = 10_000;

/** The entropy of the victim's answer to each row under one overlay, in bits. */
async function entropiesUnder(
  victim: Model,
  data: Dataset,
  overlay: number,
  evaluation: EvaluationOptions,
): Promise<Float64Array> {
  const pattern = data.images(Uint32Array.of(overlay));
  const labels = data.labels();
  const entropies = new Float64Array(data.count);
  for (let first = 0; first < data.count; first += PIECE) {
    const rows = Uint32Array.from({ length: Math.min(PIECE, data.count - first) }, (_, i) => first + i);
    using piece = await data.subset(rows, evaluation);
    const all = Uint32Array.from({ length: rows.length }, (_, i) => i);
    const trigger = { kind: 'blend', alpha: OVERLAY, pattern } as const;
    using blended = await piece.withTrigger(all, trigger, labels.slice(first, first + rows.length), evaluation);
    const logits = await victim.logits(blended, evaluation);
    for (const i of all) entropies[first + i] = entropyOf(logits, i * data.classes, data.classes);
  }
  return entropies;
}

/** −Σ p log₂ p of a softmax over `count` logits from `start` on. */
export function entropyOf(logits: Float32Array, start: number, count: number): number {
  const own = logits.subarray(start, start + count);
  const top = Math.max(...own);
  const total = own.reduce((sum, logit) => sum + Math.exp(logit - top), 0);
  let entropy = 0;
  for (const logit of own) {
    const p = Math.exp(logit - top) / total;
    if (p > 0) entropy -= p * Math.log2(p);
  }
  return entropy;
}
