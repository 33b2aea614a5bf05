/** A victim that gets fewer of its own training rows right than this is weak, or does not see them as it was trained on them. */
const FEW_RIGHT = 2 / 3;

/** What to say where a victim gives few of its training rows their label: nothing that is drawn from it is worth much then. */
export function fewRightWarning(correct: Uint8Array): string[] {
  const share = correct.reduce((sum, right) => sum + right, 0) / correct.length;
  if (share >= FEW_RIGHT) return [];
  const percent = (100 * share).toFixed(0);
  return [
    `the model gives only ${percent} % of these rows the label that they have: if it was better than that in training, --mean and --std, the labels or the images are not those it was trained on, and what is found here means nothing`,
  ];
}

/** 1 for each row that is given its label. */
export function correctRows(predicted: Int32Array, labels: Int32Array): Uint8Array {
  return Uint8Array.from(labels, (label, row) => Number(predicted[row] === label));
}
