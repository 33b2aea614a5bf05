import { type PadFtOptions, padFtSettings } from './defenses/pad-ft/index.js';
import { drawPerLabel } from './defenses/pad-ft/purify.js';
import type { PoisonedSet } from './poisoned-set.js';

/**
 * Controls for a table: D_c drawn at random instead of chosen by the purifier. `oracle` draws from rows that the attack
 * left alone, neither poison nor noise, so it reads the ground truth, and its row says so; `random` from rows the victim
 * classifies as labelled.
 */
export const CONTROLS = ['oracle', 'random'] as const;
export type Control = (typeof CONTROLS)[number];

/** The D_c of a control: up to n / C rows of each label. `predicted` are the victim's labels for the training rows. */
export function drawControl(
  control: Control,
  set: PoisonedSet,
  predicted: Int32Array,
  options: PadFtOptions,
): Uint32Array {
  const { purify, seed } = padFtSettings(options);
  const labels = set.train.labels();
  const perLabel = Math.max(1, Math.floor(purify.count / set.train.classes));
  return drawPerLabel(labels, eligibleRows(control, set, labels, predicted), set.train.classes, perLabel, seed);
}

function eligibleRows(control: Control, set: PoisonedSet, labels: Int32Array, predicted: Int32Array): Uint8Array {
  if (control === 'random') return Uint8Array.from(labels, (label, row) => (predicted[row] === label ? 1 : 0));
  const clean = new Uint8Array(labels.length).fill(1);
  for (const rows of [set.truth.poisoned, set.truth.noise]) for (const row of rows) clean[row] = 0;
  return clean;
}
