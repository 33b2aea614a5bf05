import { describe, expect, it } from 'vitest';
import { correctRows, fewRightWarning } from '../../src/cli/few-right.js';

describe('a victim that gets few of its training rows right', () => {
  it('is warned of, with what may be wrong', () => {
    expect(fewRightWarning(Uint8Array.of(1, 1, 0))).toEqual([]);
    expect(fewRightWarning(Uint8Array.of(1, 1, 0, 0, 1, 0, 1))).toEqual([
      expect.stringMatching(/^the model gives only 57 % of these rows .* --mean and --std/),
    ]);
  });

  it('is known by what it predicts', () => {
    expect(correctRows(Int32Array.of(2, 1, 0), Int32Array.of(2, 0, 0))).toEqual(Uint8Array.of(1, 0, 1));
  });
});
