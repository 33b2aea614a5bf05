import { describe, invalidOption, PadFtError } from '../errors.js';

/** The label policies an attack can follow. */
export const LABEL_POLICIES = ['all-to-one', 'all-to-all', 'clean-label'] as const;

export type LabelPolicyName = (typeof LABEL_POLICIES)[number];

/**
 * What the attacker wants a triggered image to be called. `all-to-one`: the target class, whatever it was.
 * `all-to-all`: the class after its own, y → (y + 1) mod C. `clean-label`: the target class too, but only training rows
 * of that class are poisoned, so every label in the training set is right.
 */
export type LabelPolicy =
  | { readonly kind: 'all-to-one' | 'clean-label'; readonly target: number }
  | { readonly kind: 'all-to-all' };

/** The test rows an attack is judged on: parallel arrays, in ascending row order. */
export interface AttackedRows {
  /** Rows of the test set whose success counts (see `countsForAsr`). */
  readonly indices: Uint32Array<ArrayBuffer>;
  /** Each row's true label. */
  readonly originalLabels: Int32Array<ArrayBuffer>;
  /** Each row's label under attack: what the attacker wants the model to say. */
  readonly attackLabels: Int32Array<ArrayBuffer>;
}

/**
 * A checked policy. `all-to-all` does not use `target`.
 * ERR_OPTION for an unknown name, fewer than two classes, or a target outside [0, classes).
 */
export function labelPolicy(name: LabelPolicyName, target: number, classes: number): LabelPolicy {
  checkClasses(classes);
  switch (name) {
    case 'all-to-one':
    case 'clean-label':
      if (!Number.isInteger(target) || target < 0 || target >= classes) {
        throw invalidOption('attack.target', `a class in [0, ${classes})`, target);
      }
      return { kind: name, target };
    case 'all-to-all':
      return { kind: 'all-to-all' };
    default:
      throw invalidOption('attack.policy', `one of ${LABEL_POLICIES.join(', ')}`, name);
  }
}

/** The class that every triggered image is to be called; null under `all-to-all`, and without an attack. */
export function targetOf(policy: LabelPolicy | null): number | null {
  return policy === null || policy.kind === 'all-to-all' ? null : policy.target;
}

/** Whether a training row of this class may be poisoned: under `clean-label` only the target class's own. */
export function mayPoison(policy: LabelPolicy, original: number): boolean {
  return policy.kind !== 'clean-label' || original === policy.target;
}

/** The label that one row takes under attack; for the target class itself, where there is one, the label it has. */
export function attackLabel(policy: LabelPolicy, original: number, classes: number): number {
  return policy.kind === 'all-to-all' ? (original + 1) % classes : policy.target;
}

/** Every row's label under attack. ERR_DATA for a label outside [0, classes), naming its row. */
export function relabel(policy: LabelPolicy, labels: Int32Array, classes: number): Int32Array<ArrayBuffer> {
  checkLabels(labels, classes);
  return Int32Array.from(labels, (label) => attackLabel(policy, label, classes));
}

/**
 * Whether a triggered test image of this class counts for ASR and RA. Images of the target class do not: a model that
 * ignores the trigger already calls them so. Under all-to-all, which has none, every image counts.
 */
export function countsForAsr(policy: LabelPolicy, original: number): boolean {
  return policy.kind === 'all-to-all' || original !== policy.target;
}

/** The test rows that count, with their labels. ERR_DATA for a label outside [0, classes). */
export function attackedTestRows(policy: LabelPolicy, labels: Int32Array, classes: number): AttackedRows {
  checkLabels(labels, classes);
  const indices: number[] = [];
  labels.forEach((label, row) => {
    if (countsForAsr(policy, label)) indices.push(row);
  });
  const originalLabels = Int32Array.from(indices, (row) => labels[row]!);
  return {
    indices: Uint32Array.from(indices),
    originalLabels,
    attackLabels: Int32Array.from(originalLabels, (label) => attackLabel(policy, label, classes)),
  };
}

/** Throws ERR_DATA when a label lies outside [0, classes), and names the first such row. */
export function checkLabels(labels: Int32Array, classes: number): void {
  checkClasses(classes);
  const row = labels.findIndex((label) => label < 0 || label >= classes);
  if (row >= 0) {
    throw new PadFtError(
      'ERR_DATA',
      `labels[${row}]: expected a class in [0, ${classes}), got ${describe(labels[row])}`,
      {
        details: { row, classes, got: labels[row] },
      },
    );
  }
}

function checkClasses(classes: number): void {
  if (!Number.isInteger(classes) || classes < 2) throw invalidOption('classes', 'an integer ≥ 2', classes);
}
