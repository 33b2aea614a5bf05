import { describe, expect, it } from 'vitest';
import {
  attackedTestRows,
  countsForAsr,
  type LabelPolicyName,
  labelPolicy,
  mayPoison,
  relabel,
  targetOf,
} from '../../src/attacks/labels.js';

const LABELS = Int32Array.of(0, 1, 2, 3, 2);
const allToOne = labelPolicy('all-to-one', 2, 4);
const allToAll = labelPolicy('all-to-all', 0, 4);
const cleanLabel = labelPolicy('clean-label', 2, 4);

describe('label policies', () => {
  it('all-to-one gives every row the target, all-to-all the class after its own', () => {
    expect(Array.from(relabel(allToOne, LABELS, 4))).toEqual([2, 2, 2, 2, 2]);
    expect(Array.from(relabel(allToAll, LABELS, 4))).toEqual([1, 2, 3, 0, 3]);
    expect(Array.from(LABELS)).toEqual([0, 1, 2, 3, 2]);
  });

  it('only rows of another class count under all-to-one, every row under all-to-all', () => {
    expect(countsForAsr(allToOne, 2)).toBe(false);
    expect(attackedTestRows(allToOne, LABELS, 4)).toEqual({
      indices: Uint32Array.of(0, 1, 3),
      originalLabels: Int32Array.of(0, 1, 3),
      attackLabels: Int32Array.of(2, 2, 2),
    });
    expect(attackedTestRows(allToAll, LABELS, 4)).toEqual({
      indices: Uint32Array.of(0, 1, 2, 3, 4),
      originalLabels: LABELS,
      attackLabels: Int32Array.of(1, 2, 3, 0, 3),
    });
  });

  it('clean-label wants the target for every image, poisons its rows alone, and judges as all-to-one', () => {
    expect(cleanLabel).toEqual({ kind: 'clean-label', target: 2 });
    expect(Array.from(LABELS, (label) => mayPoison(cleanLabel, label))).toEqual([false, false, true, false, true]);
    expect(LABELS.every((label) => mayPoison(allToOne, label) && mayPoison(allToAll, label))).toBe(true);
    expect(relabel(cleanLabel, LABELS, 4)).toEqual(relabel(allToOne, LABELS, 4));
    expect(attackedTestRows(cleanLabel, LABELS, 4)).toEqual(attackedTestRows(allToOne, LABELS, 4));
  });

  it('has a target where all images get one', () => {
    expect([allToOne, cleanLabel, allToAll, null].map(targetOf)).toEqual([2, 2, null, null]);
  });

  it('all-to-all does not read the target', () => {
    expect(labelPolicy('all-to-all', -1, 4)).toEqual({ kind: 'all-to-all' });
  });

  it('refuses targets, classes, names and labels out of range', () => {
    expect(() => labelPolicy('all-to-one', 4, 4)).toThrow('attack.target: expected a class in [0, 4), got 4');
    expect(() => labelPolicy('all-to-one', 0.5, 4)).toThrow('attack.target');
    expect(() => labelPolicy('clean-label', 4, 4)).toThrow('attack.target');
    expect(() => labelPolicy('all-to-one', 0, 1)).toThrow('classes: expected an integer ≥ 2, got 1');
    expect(() => labelPolicy('one-to-one' as LabelPolicyName, 0, 4)).toThrow(
      'attack.policy: expected one of all-to-one, all-to-all, clean-label, got "one-to-one"',
    );
    expect(() => relabel(allToAll, Int32Array.of(0, 4), 4)).toThrow(
      expect.objectContaining({ code: 'ERR_DATA', message: 'labels[1]: expected a class in [0, 4), got 4' }),
    );
    expect(() => attackedTestRows(allToAll, Int32Array.of(-1), 4)).toThrow('labels[0]');
  });
});
