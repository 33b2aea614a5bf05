import { attackLabel, checkLabels, countsForAsr, type LabelPolicy } from './attacks/labels.js';
import { PadFtError } from './errors.js';

/**
 * What every reported number means: pure functions over predictions, labels and row indices, short enough to check by
 * hand. All rates are fractions in [0, 1]. A count of zero below a fraction bar is never NaN: it throws ERR_DATA where
 * the number must exist, and gives null where "undefined" is a natural answer (each function says which).
 */

/** ACC: share of rows predicted as labelled. ERR_DATA when there are no rows or the lengths differ. */
export function accuracy(predicted: Int32Array, labels: Int32Array): number {
  checkRows('accuracy', predicted, labels);
  return countWhere(predicted, (label, row) => label === labels[row]) / labels.length;
}

/** Counts over up to 10⁸ rows differ by more, what rounding does to a difference is less. */
const TIE = 1e-9;

/**
 * Whether an accuracy fell by at most `most`, both taken on the same rows. A fall of exactly that passes, whichever way
 * the difference of two fractions is rounded: 270 of 300 less 264 of 300 is 2 %.
 */
export function fallsAtMost(before: number, after: number, most: number): boolean {
  return before - after <= most + TIE;
}

export interface AttackSuccess {
  /** ASR: of the rows that count (those whose class is not the target, if there is one), the share given its label under attack. */
  readonly asr: number;
  /**
   * The same share over every row, target class included, as the PAD-FT paper seems to count: a perfect model scores
   * about 1/C there. Null when no image of the target class was shown. Under all-to-all, which has none, equal to `asr`.
   */
  readonly asrIncludingTarget: number | null;
  /** RA: of the rows that count, the share given its original label despite the trigger. */
  readonly ra: number;
  /** How many rows count. */
  readonly rows: number;
}

/**
 * ASR and RA from the predictions on the *triggered* test set and the test images' original labels.
 * ERR_DATA when the lengths differ, a label is out of range, or no row counts.
 */
export function attackSuccess(
  predictedTriggered: Int32Array,
  originalLabels: Int32Array,
  policy: LabelPolicy,
  classes: number,
): AttackSuccess {
  checkRows('attack success', predictedTriggered, originalLabels);
  checkLabels(originalLabels, classes);
  let rows = 0;
  let hits = 0;
  let hitsOfAll = 0;
  let recovered = 0;
  originalLabels.forEach((original, row) => {
    const predicted = predictedTriggered[row];
    const hit = predicted === attackLabel(policy, original, classes);
    if (hit) hitsOfAll++;
    if (!countsForAsr(policy, original)) return;
    rows++;
    if (hit) hits++;
    if (predicted === original) recovered++;
  });
  if (rows === 0) {
    throw new PadFtError('ERR_DATA', 'attack success: every row is of the target class, so no row can count for ASR');
  }
  const targetShown = policy.kind === 'all-to-all' || rows < originalLabels.length;
  return {
    asr: hits / rows,
    asrIncludingTarget: targetShown ? hitsOfAll / originalLabels.length : null,
    ra: recovered / rows,
    rows,
  };
}

/** ACC and ASR of one model, both in [0, 1]. */
export interface Performance {
  readonly acc: number;
  readonly asr: number;
}

/**
 * DER, the defence effectiveness rating: (max(0, ΔASR) − max(0, ΔACC) + 1) / 2 with Δ = victim − defended, in [0, 1].
 * 0.5 is a defence that changes nothing; 1 removes an attack of ASR 1 at no cost of ACC.
 */
export function defenseEffectiveness(victim: Performance, defended: Performance): number {
  for (const [name, value] of Object.entries({ ...victim, defendedAcc: defended.acc, defendedAsr: defended.asr })) {
    if (!(value >= 0 && value <= 1)) {
      throw new PadFtError('ERR_DATA', `DER: expected ${name} as a fraction in [0, 1], got ${value}`);
    }
  }
  return (Math.max(0, victim.asr - defended.asr) - Math.max(0, victim.acc - defended.acc) + 1) / 2;
}

/** How clean a purified set is, over all labels or within one. */
export interface Purity {
  /** Rows in the purified set. */
  readonly rows: number;
  /** Of those, the poisoned ones, and of the poisoned ones those whose label is right all the same. */
  readonly poisoned: number;
  readonly selfLabelled: number;
  /** 1 − poisoned / rows; null when the purified set holds no row here. */
  readonly purity: number | null;
  /** Poison's share before purification, over all training rows here; null when there are none. */
  readonly baseRate: number | null;
  /**
   * 1 − (poisoned / rows) / baseRate: 1 when no poison is left, 0 when no better than a random draw, negative when
   * worse. Null when either share is undefined or there is no poison to avoid.
   */
  readonly normalised: number | null;
}

export interface PurityReport {
  readonly overall: Purity;
  /** One entry per given label, 0 … classes − 1. */
  readonly perLabel: readonly Purity[];
}

/** The poisoned training set and the ground truth about it, which only metrics may see. */
export interface PoisonTruth {
  /** The training rows' labels as given, poisoned ones included. */
  readonly givenLabels: Int32Array;
  /** Rows that carry the trigger, distinct, in any order. */
  readonly poisoned: Uint32Array;
  /** The label before poisoning of each row of `poisoned`, in the same order. */
  readonly originalLabels: Int32Array;
  readonly classes: number;
}

/**
 * Purity of a purified set. Poison whose original label equals its given one (the target class's own images; under
 * clean-label all poison) counts as poisoned and is reported apart as `selfLabelled`. An empty purified set gives nulls.
 * ERR_DATA for rows out of range or named twice, labels out of range, or lengths that differ.
 */
export function purity(purified: Uint32Array, truth: PoisonTruth): PurityReport {
  const { givenLabels, classes } = truth;
  checkLabels(givenLabels, classes);
  checkLabels(truth.originalLabels, classes);
  if (truth.originalLabels.length !== truth.poisoned.length) {
    throw lengthsDiffer(
      'purity',
      'poisoned rows',
      truth.poisoned.length,
      'original labels',
      truth.originalLabels.length,
    );
  }
  const isPoisoned = rowFlags('purity: poisoned rows', truth.poisoned, givenLabels.length);
  const isPurified = rowFlags('purity: purified rows', purified, givenLabels.length);
  const selfLabelled = new Uint8Array(givenLabels.length);
  truth.poisoned.forEach((row, i) => {
    if (truth.originalLabels[i] === givenLabels[row]) selfLabelled[row] = 1;
  });
  const tallies = Array.from({ length: classes }, emptyTally);
  const total = emptyTally();
  givenLabels.forEach((label, row) => {
    for (const tally of [tallies[label]!, total]) {
      tally.all++;
      tally.allPoisoned += isPoisoned[row]!;
      if (isPurified[row] === 0) continue;
      tally.rows++;
      tally.poisoned += isPoisoned[row]!;
      tally.selfLabelled += selfLabelled[row]!;
    }
  });
  return { overall: purityOf(total), perLabel: tallies.map(purityOf) };
}

interface Tally {
  all: number;
  allPoisoned: number;
  rows: number;
  poisoned: number;
  selfLabelled: number;
}

function emptyTally(): Tally {
  return { all: 0, allPoisoned: 0, rows: 0, poisoned: 0, selfLabelled: 0 };
}

function purityOf({ all, allPoisoned, rows, poisoned, selfLabelled }: Tally): Purity {
  const share = ratio(poisoned, rows);
  const baseRate = ratio(allPoisoned, all);
  return {
    rows,
    poisoned,
    selfLabelled,
    purity: share === null ? null : 1 - share,
    baseRate,
    normalised: share === null || baseRate === null || baseRate === 0 ? null : 1 - share / baseRate,
  };
}

/**
 * TPR at a false-positive rate: the share of positives that score above all but `fpr` of the negatives (the best threshold
 * whose FPR is at most that; ties fall on neither side). Rows outside the population are ignored. Null when either side is
 * empty.
 */
export function truePositiveRateAt(
  fpr: number,
  scores: Float32Array,
  positives: Uint32Array,
  population: Uint32Array,
): number | null {
  const positive = new Set(positives);
  const above: number[] = [];
  const below: number[] = [];
  for (const row of population) (positive.has(row) ? above : below).push(scores[row] as number);
  if (above.length === 0 || below.length === 0) return null;
  below.sort((a, b) => b - a);
  // So many negatives may lie above the threshold: it is at the next one.
  const threshold = below[Math.floor(fpr * below.length)] ?? Number.NEGATIVE_INFINITY;
  return above.filter((score) => score > threshold).length / above.length;
}

export interface SuspectRates {
  /** Poisoned rows of the population, and how many of them are suspects. */
  readonly positives: number;
  readonly truePositives: number;
  /** Rows of the population that are not poisoned, and how many of them are suspects. */
  readonly negatives: number;
  readonly falsePositives: number;
  /** truePositives / positives; null when the population holds no poison. */
  readonly tpr: number | null;
  /** falsePositives / negatives; null when the population holds nothing else. */
  readonly fpr: number | null;
}

/**
 * How well suspects match the poison within a population of rows (all training rows, or those of the attacked label;
 * leave self-labelled poison out of it to judge only labels that are wrong). Suspects and poisoned rows outside the
 * population are ignored. ERR_DATA for an empty population or a row named twice.
 */
export function suspectRates(suspects: Uint32Array, poisoned: Uint32Array, population: Uint32Array): SuspectRates {
  if (population.length === 0) {
    throw new PadFtError('ERR_DATA', 'suspect rates: expected a population of at least one row, got none');
  }
  const suspected = distinct('suspect rates: suspects', suspects);
  const truth = distinct('suspect rates: poisoned rows', poisoned);
  distinct('suspect rates: population', population);
  const positives = countWhere(population, (row) => truth.has(row));
  const truePositives = countWhere(population, (row) => truth.has(row) && suspected.has(row));
  const negatives = population.length - positives;
  const falsePositives = countWhere(population, (row) => suspected.has(row)) - truePositives;
  return {
    positives,
    truePositives,
    negatives,
    falsePositives,
    tpr: ratio(truePositives, positives),
    fpr: ratio(falsePositives, negatives),
  };
}

function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}

function countWhere(values: Int32Array | Uint32Array, test: (value: number, index: number) => boolean): number {
  let count = 0;
  values.forEach((value, index) => {
    if (test(value, index)) count++;
  });
  return count;
}

function checkRows(what: string, predicted: Int32Array, labels: Int32Array): void {
  if (predicted.length !== labels.length) {
    throw lengthsDiffer(what, 'predictions', predicted.length, 'labels', labels.length);
  }
  if (labels.length === 0) throw new PadFtError('ERR_DATA', `${what}: expected at least one row, got none`);
}

function lengthsDiffer(what: string, a: string, countA: number, b: string, countB: number): PadFtError {
  return new PadFtError('ERR_DATA', `${what}: expected as many ${a} as ${b}, got ${countA} and ${countB}`);
}

/** 1 at each of the rows, 0 elsewhere; refuses a row out of range or named twice. */
function rowFlags(what: string, rows: Uint32Array, count: number): Uint8Array {
  const flags = new Uint8Array(count);
  for (const row of distinct(what, rows)) {
    if (row >= count) {
      throw new PadFtError('ERR_DATA', `${what}: expected rows below ${count}, got ${row}`, {
        details: { row, count },
      });
    }
    flags[row] = 1;
  }
  return flags;
}

function distinct(what: string, rows: Uint32Array): Set<number> {
  const set = new Set(rows);
  if (set.size !== rows.length) {
    throw new PadFtError('ERR_DATA', `${what}: expected distinct rows, got ${rows.length - set.size} repeated`);
  }
  return set;
}
