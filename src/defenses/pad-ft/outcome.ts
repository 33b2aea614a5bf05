/** What a repair looks like with the defender's eyes: held-out accuracy against what the suspects still say. */
export interface Outcome {
  /** Accuracy for the given labels on held-out rows, in [0, 1]. */
  readonly accuracy: number;
  /** Share of the suspects that keep their given label, in [0, 1]. */
  readonly suspectsKept: number;
}

/**
 * Once no more than this share of the suspects keep their label the evidence is spent: some suspects are clean rows, and
 * a net that denies them their label too has forgotten the class.
 */
const SUSPECTS_SPENT = 0.02;

/**
 * What is to be made small: the share of suspects that keep their label, and `price` times the accuracy given up for it.
 * Marked images of the target class itself are suspects too and keep their label by right, so the share has a floor
 * nobody knows beforehand. Pressing on below it only costs accuracy; the price stops there.
 *
 * @param price points of suspects that one point of accuracy must buy
 */
export function costOf({ accuracy, suspectsKept }: Outcome, price: number): number {
  return Math.max(suspectsKept, SUSPECTS_SPENT) - price * accuracy;
}
