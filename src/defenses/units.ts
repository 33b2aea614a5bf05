import { SETTLE_INTERVAL, SUSPECTS_SHOWN } from './pad-ft/clip.js';
import type { ClipSettings, TuneSettings } from './pad-ft/options.js';

/**
 * What computing costs before it is done, in forward units: one image once through the victim's network. An estimate for
 * planning, which no result depends on.
 */

/** A pass forward and back: the backward pass costs about two forward ones. */
export const TRAINING_UNITS = 3;

/** Units of fitting the bounds on `purified` rows, and of the settling controller's looks at `looked` of them. */
export function clippingUnits(clip: ClipSettings, purified: number, looked: number): number {
  const suspects = clip.mu > 0 ? clip.suspectBatchSize : 0;
  const fitting = TRAINING_UNITS * clip.steps * (Math.min(clip.batchSize, purified) + suspects);
  const looks = clip.controller === 'settle' ? Math.floor(clip.steps / SETTLE_INTERVAL) : 0;
  return fitting + looks * (looked + (clip.mu > 0 ? SUSPECTS_SHOWN : 0));
}

/** Units of fitting the classifier on `rows` of D_c: their features, and those of every augmented copy. */
export function tuningUnits({ draws, epochs }: Pick<TuneSettings, 'draws' | 'epochs'>, rows: number): number {
  return rows * (1 + (draws === 0 ? epochs : draws));
}
