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
 * Otherwise than in the paper: it lays 100 images over each that are known to be clean; here they are rows of the
 * training set itself, drawn at random, `purify.overlays` (16) of them, the same for every row but none over itself.
 * Those that carry the trigger lower every row's entropy alike. Its threshold, from the entropies of clean images, is
 * not set.
 *
 * @throws PadFtError as `Dataset.withTrigger` and `Model.logits`
 */
export async function scoreByStrip(input: PurifyInput): Promise<RowScores> {
  const { victim, data, settings, seed, evaluation } = input;
  const labels = data.labels();
  const { onProgress, ...quiet } = evaluation;
  const scores = await victim.score(data, { ...quiet, alpha: settings.alpha });
  const drawn = drawOverlays(data.count, settings.overlays, streamSeed(seed, 'strip'));
  const entropy = new Float64Array(data.count);
  const pieces = Math.ceil(data.count / PIECE);
  for (let piece = 0; piece < pieces; piece++) {
    const rows = Uint32Array.from({ length: Math.min(PIECE, data.count - piece * PIECE) }, (_, i) => piece * PIECE + i);
    using part = await data.subset(rows, quiet);
    for (const [i, overlay] of drawn.entries()) {
      const entropies = await entropiesUnder(victim, part, data.images(Uint32Array.of(overlay)), quiet);
      for (const [at, row] of rows.entries()) {
        if (liesOver(drawn, i, row)) entropy[row]! += entropies[at]! / (drawn.length - 1);
      }
      onProgress?.(piece * drawn.length + i + 1, pieces * drawn.length);
    }
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

/** Rows that are laid over the others, one more than asked for: a row that is drawn itself takes that in its own place. */
export function drawOverlays(count: number, overlays: number, seed: number): Uint32Array {
  return new Random(seed).permutation(count).subarray(0, Math.min(overlays, count - 1) + 1);
}

/** Whether the i-th of the drawn overlays counts for a row: as many for each, and none over itself. */
export function liesOver(drawn: Uint32Array, i: number, row: number): boolean {
  const last = drawn.length - 1;
  return drawn[i] !== row && (i < last || drawn.subarray(0, last).includes(row));
}

/** The entropy of the victim's answer to each row of a piece under one overlay, in bits. */
async function entropiesUnder(
  victim: Model,
  piece: Dataset,
  overlay: Uint8Array,
  evaluation: EvaluationOptions,
): Promise<Float64Array> {
  const all = Uint32Array.from({ length: piece.count }, (_, i) => i);
  const trigger = { kind: 'add', pattern: Float32Array.from(overlay) } as const;
  using blended = await piece.withTrigger(all, trigger, piece.labels(), evaluation);
  const logits = await victim.logits(blended, evaluation);
  return Float64Array.from(all, (i) => entropyOf(logits, i * piece.classes, piece.classes));
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
