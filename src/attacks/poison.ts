import { invalidOption, PadFtError } from '../errors.js';
import { counted } from '../formats/plural.js';
import { sha256Hex } from '../formats/sha256.js';
import { Random, streamSeed } from '../random.js';
import type { BuiltAttack, PerBatch } from './attack.js';
import { blockRows } from './blocks.js';
import {
  attackLabel,
  checkLabels,
  type LabelPolicy,
  type LabelPolicyName,
  labelPolicy,
  mayPoison,
  targetOf,
} from './labels.js';
import { numpyPermutation } from './mt19937.js';

/**
 * How rows are drawn. `uniform`: a permutation from our own stream `poison`. `backdoorbench`: NumPy's legacy
 * permutation, the very rows that BackdoorBench poisons at the same seed (its results use seed 0).
 */
export const POISON_DRAWS = ['uniform', 'backdoorbench'] as const;

export type PoisonDraw = (typeof POISON_DRAWS)[number];

export interface PoisonOptions {
  /** The clean training labels, one per row, in [0, classes). */
  readonly labels: Int32Array;
  readonly classes: number;
  /** Poison rate: share of all training rows, in [0, 1]. */
  readonly rate: number;
  readonly policy: LabelPolicyName;
  /** Target class in [0, classes); `all-to-all` does not use it. */
  readonly target: number;
  /** An integer ≥ 0; for the draw `backdoorbench` below 2³², as NumPy demands. */
  readonly seed: number;
  readonly draw: PoisonDraw;
  /** For an attack that poisons training batches: blocks are marked then, and `seed` and `draw` do not matter. */
  readonly perBatch?: PerBatch | null;
}

/** Which rows are poisoned, and what they are labelled: parallel arrays. */
export interface PoisonPlan {
  /**
   * Distinct rows in the order drawn, not ascending: at the same seed and draw, the plan of a lower rate is a prefix
   * of the plan of a higher one, whatever the policy and the target (under `clean-label` among plans of one target).
   * Where blocks are marked, ascending instead.
   */
  readonly indices: Uint32Array<ArrayBuffer>;
  /** Each row's label in the poisoned set. */
  readonly poisonedLabels: Int32Array<ArrayBuffer>;
  /** Each row's label before. Equal to the poisoned one for rows of the target class: marked, label unchanged. */
  readonly originalLabels: Int32Array<ArrayBuffer>;
  /** Rows that are disturbed but not poisoned: their labels are right. Empty for attacks without noise. */
  readonly noise: Uint32Array<ArrayBuffer>;
  readonly policy: LabelPolicy;
}

/**
 * Draws round(rate · N) rows from all training rows, the target class included, and relabels them by the policy; under
 * `clean-label` as many rows from the target class alone, labels kept. Halves round to even, as Python's `round` in
 * BackdoorBench. Rate 0 gives an empty plan. An attack that poisons batches marks blocks instead (see `blockRows`).
 *
 * ERR_OPTION: rate outside [0, 1], above 0 but too small to poison a single row, or above what the target class holds;
 * target, policy, draw or seed invalid. ERR_DATA: a label out of range, or no rows.
 */
export function planPoison(options: PoisonOptions): PoisonPlan {
  const { labels, classes, rate } = options;
  const policy = labelPolicy(options.policy, options.target, classes);
  checkLabels(labels, classes);
  if (!(rate >= 0 && rate <= 1)) throw invalidOption('attack.rate', 'a number in [0, 1]', rate);
  if (labels.length === 0) throw new PadFtError('ERR_DATA', 'poisoning: expected at least one training row, got none');
  const { indices, noise } = options.perBatch ? markedRows(options, options.perBatch) : drawnRows(options, policy);
  const originalLabels = Int32Array.from(indices, (row) => labels[row]!);
  const poisonedLabels = originalLabels.map((label) => attackLabel(policy, label, classes));
  return { indices, poisonedLabels, originalLabels, noise, policy };
}

type PlannedRows = Pick<PoisonPlan, 'indices' | 'noise'>;

function markedRows({ labels, rate }: PoisonOptions, { crossRatio }: PerBatch): PlannedRows {
  const { poisoned, noise } = blockRows(labels.length, rate, crossRatio);
  return { indices: poisoned, noise };
}

function drawnRows({ labels, rate, draw, seed }: PoisonOptions, policy: LabelPolicy): PlannedRows {
  const candidates = candidateRows(policy, labels);
  const count = roundHalfToEven(rate * labels.length);
  if (rate > 0 && count === 0) {
    throw invalidOption(
      'attack.rate',
      `0, or a rate that poisons at least one of ${counted(labels.length, 'row')}`,
      rate,
    );
  }
  if (count > candidates.length) {
    const most = candidates.length / labels.length;
    const held = `${candidates.length} of ${counted(labels.length, 'row')} ${candidates.length === 1 ? 'is' : 'are'} of the target class ${targetOf(policy)}`;
    throw invalidOption('attack.rate', `at most ${most} for these data (${held})`, rate);
  }
  const order = drawOrder(draw, candidates.length, seed);
  const indices = Uint32Array.from(order.subarray(0, count), (position) => candidates[position]!);
  return { indices, noise: new Uint32Array(0) };
}

/** Every training row's label after poisoning, as a new array. ERR_DATA when the plan names a row that is not there. */
export function poisonedLabels(plan: PoisonPlan, labels: Int32Array): Int32Array<ArrayBuffer> {
  const result = Int32Array.from(labels);
  plan.indices.forEach((row, i) => {
    if (row >= labels.length) {
      throw new PadFtError('ERR_DATA', `poison plan: row ${row} is not one of the ${labels.length} training rows`, {
        details: { row, rows: labels.length },
      });
    }
    result[row] = plan.poisonedLabels[i]!;
  });
  return result;
}

/** What a poisoned training set is, as JSON: with the tool and the clean data, enough to make it again. */
export interface PoisonManifest {
  readonly kind: 'pad-ft-poison';
  readonly version: 1;
  /** Version of this package. */
  readonly tool: string;
  readonly dataset: {
    readonly name: string;
    /** Where its bytes came from, e.g. an archive's name and SHA-256. */
    readonly provenance: string;
    readonly rows: number;
    readonly classes: number;
  };
  readonly attack: {
    readonly name: string;
    readonly options: BuiltAttack['options'];
    readonly triggerName: string;
    readonly trigger: BuiltAttack['description'];
  };
  readonly policy: LabelPolicyName;
  /** Null under `all-to-all`. */
  readonly target: number | null;
  /** Share of all rows that was asked for, in [0, 1]. */
  readonly rate: number;
  readonly seed: number;
  readonly draw: PoisonDraw;
  readonly counts: {
    /** Rows that carry the trigger. */
    readonly poisoned: number;
    /** Those whose label changed, and those whose label was the attack's already: all of them under `clean-label`. */
    readonly relabelled: number;
    readonly selfLabelled: number;
    /** Rows that are disturbed and truly labelled; left out by attacks without noise. */
    readonly noise?: number;
  };
  /** SHA-256 (hex) of the poisoned rows' indices, uint32 little-endian, in the order drawn. */
  readonly indicesSha256: string;
  /** Of the noise rows' indices; left out where there are none. */
  readonly noiseSha256?: string;
  /** SHA-256 (hex) of all labels after poisoning, int32 little-endian. */
  readonly labelsSha256: string;
}

/** The manifest of a plan that was carried out with this attack. */
export function poisonManifest(
  tool: string,
  dataset: { readonly name: string; readonly provenance: string },
  attack: BuiltAttack,
  options: PoisonOptions,
  plan: PoisonPlan,
): PoisonManifest {
  const poisoned = plan.indices.length;
  const noise = plan.noise.length;
  const selfLabelled = plan.originalLabels.filter((label, i) => label === plan.poisonedLabels[i]).length;
  return {
    kind: 'pad-ft-poison',
    version: 1,
    tool,
    dataset: {
      name: dataset.name,
      provenance: dataset.provenance,
      rows: options.labels.length,
      classes: options.classes,
    },
    attack: {
      name: attack.attack,
      options: attack.options,
      triggerName: attack.triggerName,
      trigger: attack.description,
    },
    policy: plan.policy.kind,
    target: targetOf(plan.policy),
    rate: options.rate,
    seed: options.seed,
    draw: options.draw,
    counts: { poisoned, relabelled: poisoned - selfLabelled, selfLabelled, ...(noise > 0 && { noise }) },
    indicesSha256: sha256Hex(plan.indices),
    ...(noise > 0 && { noiseSha256: sha256Hex(plan.noise) }),
    labelsSha256: sha256Hex(poisonedLabels(plan, options.labels)),
  };
}

/** The rows that may be poisoned, ascending. */
function candidateRows(policy: LabelPolicy, labels: Int32Array): Uint32Array<ArrayBuffer> {
  const rows = Uint32Array.from({ length: labels.length }, (_, row) => row);
  return rows.filter((row) => mayPoison(policy, labels[row]!));
}

function drawOrder(draw: PoisonDraw, rows: number, seed: number): Uint32Array<ArrayBuffer> {
  switch (draw) {
    case 'uniform':
      return new Random(streamSeed(seed, 'poison')).permutation(rows);
    case 'backdoorbench':
      return numpyPermutation(rows, seed);
    default:
      throw invalidOption('attack.draw', `one of ${POISON_DRAWS.join(', ')}`, draw);
  }
}

function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
