import { invalidOption } from './errors.js';

/** How the learning rate moves over the epochs. */
export const SCHEDULES = ['cosine', 'triangular', 'constant'] as const;

export type ScheduleName = (typeof SCHEDULES)[number];

/** Share of the epochs a triangular schedule rises for, rounded to whole epochs, at least one. */
const RISE = 0.25;

/**
 * The learning rate at the start and the end of an epoch; in between it is linear in the step. `cosine` falls from the
 * peak towards 0, constant within an epoch, as BackdoorBench steps it. `triangular` rises from a tenth of the peak to
 * the peak over the first quarter of the epochs and falls linearly to 0: short runs learn more under it.
 */
export function learningRate(
  schedule: ScheduleName,
  peak: number,
  epoch: number,
  epochs: number,
): readonly [number, number] {
  switch (schedule) {
    case 'constant':
      return [peak, peak];
    case 'cosine': {
      const rate = (peak / 2) * (1 + Math.cos((Math.PI * epoch) / epochs));
      return [rate, rate];
    }
    case 'triangular': {
      const top = Math.min(epochs, Math.max(1, Math.round(RISE * epochs)));
      const at = (boundary: number) =>
        boundary <= top ? peak * (0.1 + (0.9 * boundary) / top) : (peak * (epochs - boundary)) / (epochs - top);
      return [at(epoch), at(epoch + 1)];
    }
    default:
      throw invalidOption('train.schedule', `one of ${SCHEDULES.join(', ')}`, schedule);
  }
}
