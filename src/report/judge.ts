import { targetOf } from '../attacks/labels.js';
import type { Stage } from '../defenses/pad-ft/gate.js';
import type { PadFtResult, Purification } from '../defenses/pad-ft/index.js';
import { type Evaluation, evaluate, type TestSets } from '../evaluate.js';
import {
  defenseEffectiveness,
  type PurityReport,
  purity,
  type SuspectRates,
  suspectRates,
  truePositiveRateAt,
} from '../metrics.js';
import type { EvaluationOptions, Model } from '../model.js';
import type { PoisonedSet } from '../poisoned-set.js';
import { aurocFromIndices } from '../statistics.js';

/**
 * Judges a defence after it is done. The ground truth is read here and nowhere else on the way from a training set to a
 * defended model.
 */

/** The victim beside the ground truth: what every row is compared with. */
export interface VictimFigures {
  readonly evaluation: Evaluation;
  /** The victim's label for every training row. */
  readonly predicted: Int32Array;
}

/** What the ground truth and the test sets say about a defence. Fractions in [0, 1]. */
export interface DefenseFigures {
  /** Null for a stage that was not reached because nothing was repaired. */
  readonly evaluations: Readonly<Record<Stage, Evaluation | null>>;
  /** Against the victim; null where there is no attack or the stage was not reached. */
  readonly der: Readonly<Record<'pad' | 'pad-ft', number | null>>;
  /** The label that poison has; null under all-to-all and without poison. */
  readonly targetLabel: number | null;
  readonly purity: PurityReport;
  /**
   * How well the purifier's score ranks planted rows above the rest, among rows the victim classifies as labelled. Poison
   * whose own class is its label is left out, except under clean-label, where that is all poison: there it counts as
   * planted. Null where there is nothing to tell apart.
   */
  readonly auroc: { readonly overall: number | null; readonly targetLabel: number | null };
  /** TPR of the score at a false-positive rate of 1 % and of 5 %, over the rows of `auroc.overall`. Cards of earlier versions have none. */
  readonly tprAt?: { readonly fpr1: number | null; readonly fpr5: number | null } | undefined;
  /** Over all training rows, with the same rows planted and left out. */
  readonly suspects: SuspectRates;
}

/** What the ground truth alone says about a purification. */
export type DetectionFigures = Omit<DefenseFigures, 'evaluations' | 'der'>;

/** ACC, ASR and RA of the victim, and its labels for the training rows. */
export async function judgeVictim(
  victim: Model,
  set: PoisonedSet,
  options: EvaluationOptions = {},
): Promise<VictimFigures> {
  const evaluation = await evaluate(victim, set, options);
  return { evaluation, predicted: await victim.predict(set.train, options) };
}

/**
 * The figures of a finished defence: ACC, ASR, RA and DER of every stage, purity of D_c, AUROC of the score, and how
 * well the suspects match the poison. `victim` comes from `judgeVictim`.
 */
export async function judgeDefense(
  result: PadFtResult,
  set: PoisonedSet,
  victim: VictimFigures,
  options: EvaluationOptions = {},
): Promise<DefenseFigures> {
  const pad = result.pad && (await evaluate(result.pad, set, options));
  const padFt = result.padFt && (await evaluate(result.padFt, set, options));
  return {
    evaluations: { victim: victim.evaluation, pad, 'pad-ft': padFt },
    der: { pad: effectiveness(victim.evaluation, pad), 'pad-ft': effectiveness(victim.evaluation, padFt) },
    ...judgePurification(result.purification, set, victim),
  };
}

/** Purity of D_c, AUROC of the score, and how well the suspects match the poison. `victim` comes from `judgeVictim`. */
export function judgePurification(
  purification: Purification,
  set: PoisonedSet,
  { predicted }: Pick<VictimFigures, 'predicted'>,
): DetectionFigures {
  const givenLabels = set.train.labels();
  const { poisoned, originalLabels } = set.truth;
  const { purified, suspects, score } = purification;
  const planted = plantedRows(set, givenLabels);
  const judged = judgedRows(set, givenLabels, planted);
  const targetLabel = targetOf(set.policy);
  return {
    targetLabel,
    purity: purity(purified, { givenLabels, poisoned, originalLabels, classes: set.train.classes }),
    ...rankQuality(score, givenLabels, predicted, planted, judged, targetLabel),
    suspects: suspectRates(
      Uint32Array.from(suspects, ({ row }) => row),
      planted,
      judged,
    ),
  };
}

/** How a method's model looks beside the ground truth. Fractions in [0, 1]; DER null where no attack is known. */
export interface MethodFigures {
  readonly evaluation: Evaluation;
  readonly der: number | null;
}

/** Judges the model of a method that is compared with PAD-FT, after it is done. `victim` are the victim's own figures. */
export async function judgeMethod(
  model: Model,
  sets: TestSets,
  victim: Evaluation,
  options: EvaluationOptions = {},
): Promise<MethodFigures> {
  const evaluation = await evaluate(model, sets, options);
  return { evaluation, der: effectiveness(victim, evaluation) };
}

function effectiveness(victim: Evaluation, defended: Evaluation | null): number | null {
  if (defended === null || victim.asr === null || defended.asr === null) return null;
  return defenseEffectiveness({ acc: victim.acc, asr: victim.asr }, { acc: defended.acc, asr: defended.asr });
}

/**
 * Poison that a defence should find: rows whose label the attacker changed. Images of the target class itself are marked,
 * but not wrong. A clean-label attack changes no label: there the mark alone makes the poison, and all of it counts.
 * Noise rows are not poison: their labels are right, and a defence that suspects one is wrong.
 */
function plantedRows(set: PoisonedSet, givenLabels: Int32Array): Uint32Array {
  const { poisoned, originalLabels } = set.truth;
  if (set.policy?.kind === 'clean-label') return poisoned;
  return poisoned.filter((row, i) => originalLabels[i] !== givenLabels[row]);
}

/** Every training row but the poison that does not count as planted. */
function judgedRows(set: PoisonedSet, givenLabels: Int32Array, planted: Uint32Array): Uint32Array {
  const left = new Uint8Array(givenLabels.length);
  for (const row of set.truth.poisoned) left[row] = 1;
  for (const row of planted) left[row] = 0;
  return allRows(givenLabels.length).filter((row) => left[row] === 0);
}

function rankQuality(
  score: Float32Array,
  givenLabels: Int32Array,
  predicted: Int32Array,
  planted: Uint32Array,
  judged: Uint32Array,
  targetLabel: number | null,
): Pick<DefenseFigures, 'auroc' | 'tprAt'> {
  const ranked = judged.filter((row) => predicted[row] === givenLabels[row]);
  const over = (rows: Uint32Array) => (rows.length === 0 ? null : aurocFromIndices(score, planted, rows));
  const tprAt = (fpr: number) => truePositiveRateAt(fpr, score, planted, ranked);
  return {
    auroc: {
      overall: over(ranked),
      targetLabel: targetLabel === null ? null : over(ranked.filter((row) => givenLabels[row] === targetLabel)),
    },
    tprAt: { fpr1: tprAt(0.01), fpr5: tprAt(0.05) },
  };
}

function allRows(rows: number): Uint32Array {
  return Uint32Array.from({ length: rows }, (_, row) => row);
}
