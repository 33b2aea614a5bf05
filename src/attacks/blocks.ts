import { invalidOption } from '../errors.js';

/** Rows that a stored set is marked in at a time: the published batch. */
export const BLOCK = 128;

/** Rows of a set marked block by block, ascending. */
export interface BlockRows {
  readonly poisoned: Uint32Array<ArrayBuffer>;
  /** Warped otherwise, their labels true. */
  readonly noise: Uint32Array<ArrayBuffer>;
}

/**
 * How an attack that poisons training batches marks a stored set: of each consecutive block of 128 rows (the last one may
 * be smaller) the first int(rate · rows) are poisoned and the next int(crossRatio ·) that many are noise. Rate 0 marks
 * nothing.
 *
 * ERR_OPTION for a rate above 0 that poisons no row of a full block, or one at which a block cannot hold its noise.
 */
export function blockRows(rows: number, rate: number, crossRatio: number): BlockRows {
  const full = Math.min(BLOCK, rows);
  if (rate > 0 && Math.floor(rate * full) === 0) {
    throw invalidOption('attack.rate', `0, or at least ${1 / full}: one row of each block of ${full}`, rate);
  }
  const poisoned: number[] = [];
  const noise: number[] = [];
  for (let start = 0; start < rows; start += BLOCK) {
    const size = Math.min(BLOCK, rows - start);
    const marked = Math.floor(rate * size);
    const disturbed = Math.floor(crossRatio * marked);
    if (marked + disturbed > size) {
      const most = Math.floor(size / (1 + crossRatio)) / size;
      const needs = `with ${crossRatio} noise rows for each poisoned one in a block of ${size}`;
      throw invalidOption('attack.rate', `at most ${most} ${needs}`, rate);
    }
    for (let i = 0; i < marked; i++) poisoned.push(start + i);
    for (let i = 0; i < disturbed; i++) noise.push(start + marked + i);
  }
  return { poisoned: Uint32Array.from(poisoned), noise: Uint32Array.from(noise) };
}
