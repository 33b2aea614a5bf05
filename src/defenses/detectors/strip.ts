import type { Dataset } from '../../dataset.js';
import type { EvaluationOptions, Model } from '../../model.js';
import { Random, streamSeed } from '../../random.js';
import { correctRows, type PurifyInput, type RowScores } from '../pad-ft/purify.js';

/**
 * STRIP (Gao et al., *STRIP: A Defence Against Trojan Attacks on Deep Neural Networks*, ACSAC 2019): other images are laid
 * over each one (added and clamped, as the authors' code does), and the victim's answers are looked at. A trigger shines
 * through, so the answers agree; the score is the mean entropy of the answers in bits, negated: larger for what looks
 * planted.
 *
 * Otherwise than in the paper: it lays 100 images over each that are known to be clean; here they are rows of the training
 * set itself, drawn at random, `purify.overlays` (16) of them, the same for every row but none over itself. Those that carry
 * the trigger lower every row's entropy alike. Its threshold, from the entropies of clean images, is not set.
 *
 * @throws PadFtError as `Dataset.withTrigger` and `Model.logits`
 */
export async function scoreByStrip(input: PurifyInput): Promise<RowScores> {
  const { victim, data, settings, seed, evaluation } = input;
  const labels = data.labels();
  const { onProgress, ...quiet } = evaluation;
  const scores = await victim.score(data, { ...quiet, alpha: settings.alpha });
  // One more than asked for: a row that is drawn itself takes it in its own place.
  const order = new Random(streamSeed(seed, 'strip')).permutation(data.count);
  const drawn = order.subarray(0, Math.min(settings.overlays, data.count - 1) + 1);
  const entropy = new Float64Array(data.count);
  for (const [i, row] of drawn.entries()) {
    (await entropiesUnder(victim, data, row, quiet)).forEach((value, of) => {
      const spare = i === drawn.length - 1 && !drawn.subarray(0, i).includes(of);
      if (of !== row && !spare) entropy[of]! += value / (drawn.length - 1);
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
  const pattern = Float32Array.from(data.images(Uint32Array.of(overlay)));
  const labels = data.labels();
  const entropies = new Float64Array(data.count);
  for (let first = 0; first < data.count; first += PIECE) {
    const rows = Uint32Array.from({ length: Math.min(PIECE, data.count - first) }, (_, i) => first + i);
    using piece = await data.subset(rows, evaluation);
    const all = Uint32Array.from({ length: rows.length }, (_, i) => i);
    const trigger = { kind: 'add', pattern } as const;
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
