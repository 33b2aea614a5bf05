import { describe, expect, it } from 'vitest';
import { labelPolicy } from '../../src/attacks/labels.js';
import { accuracy, attackSuccess, defenseEffectiveness, purity, suspectRates } from '../../src/metrics.js';

const dataError = expect.objectContaining({ code: 'ERR_DATA' });

describe('ACC', () => {
  it('is the share predicted as labelled', () => {
    expect(accuracy(Int32Array.of(0, 1, 2, 2), Int32Array.of(0, 1, 2, 3))).toBe(0.75);
  });

  it('refuses no rows and lengths that differ', () => {
    expect(() => accuracy(new Int32Array(0), new Int32Array(0))).toThrow(dataError);
    expect(() => accuracy(new Int32Array(1), new Int32Array(2))).toThrow(
      'accuracy: expected as many predictions as labels, got 1 and 2',
    );
  });
});

describe('ASR and RA', () => {
  const allToOne = labelPolicy('all-to-one', 0, 4);
  const allToAll = labelPolicy('all-to-all', 0, 4);

  it('all-to-one: excludes the target class, and includes it beside', () => {
    // Rows 0 and 5 are of the target class. Of the four others two are called 0, one keeps its label, one is called 3.
    const original = Int32Array.of(0, 1, 2, 3, 1, 0);
    const predicted = Int32Array.of(0, 0, 0, 3, 3, 2);
    expect(attackSuccess(predicted, original, allToOne, 4)).toEqual({
      asr: 2 / 4,
      asrIncludingTarget: 3 / 6,
      ra: 1 / 4,
      rows: 4,
    });
  });

  it('all-to-all: every row counts, and success is the next class', () => {
    const original = Int32Array.of(0, 1, 2, 3);
    const predicted = Int32Array.of(1, 2, 2, 0);
    expect(attackSuccess(predicted, original, allToAll, 4)).toEqual({
      asr: 3 / 4,
      asrIncludingTarget: 3 / 4,
      ra: 1 / 4,
      rows: 4,
    });
  });

  it('a perfect model scores 0, and the share of the target class where that is included', () => {
    const original = Int32Array.from({ length: 100 }, (_, i) => i % 10);
    const policy = labelPolicy('all-to-one', 3, 10);
    expect(attackSuccess(original, original, policy, 10)).toEqual({ asr: 0, asrIncludingTarget: 0.1, ra: 1, rows: 90 });
  });

  it('does not call a rate "including the target" when no target image was shown', () => {
    expect(attackSuccess(Int32Array.of(0), Int32Array.of(1), allToOne, 4)).toEqual({
      asr: 1,
      asrIncludingTarget: null,
      ra: 0,
      rows: 1,
    });
  });

  it('refuses a test set in which nothing counts', () => {
    expect(() => attackSuccess(new Int32Array(2), new Int32Array(2), allToOne, 4)).toThrow(dataError);
    expect(() => attackSuccess(new Int32Array(0), new Int32Array(0), allToAll, 4)).toThrow(dataError);
    expect(() => attackSuccess(Int32Array.of(0), Int32Array.of(9), allToAll, 4)).toThrow('labels[0]');
  });
});

describe('DER', () => {
  it('is (max(0, ΔASR) − max(0, ΔACC) + 1) / 2', () => {
    // ΔASR = 0.90, ΔACC = 0.04 → (0.90 − 0.04 + 1) / 2
    expect(defenseEffectiveness({ acc: 0.92, asr: 0.95 }, { acc: 0.88, asr: 0.05 })).toBeCloseTo(0.93, 12);
    expect(defenseEffectiveness({ acc: 1, asr: 1 }, { acc: 1, asr: 0 })).toBe(1);
    expect(defenseEffectiveness({ acc: 0.9, asr: 0.9 }, { acc: 0.9, asr: 0.9 })).toBe(0.5);
    expect(defenseEffectiveness({ acc: 1, asr: 0 }, { acc: 0, asr: 1 })).toBe(0);
  });

  it('gives no credit for better accuracy, and no penalty for a higher ASR', () => {
    expect(defenseEffectiveness({ acc: 0.8, asr: 0.5 }, { acc: 0.9, asr: 0.7 })).toBe(0.5);
  });

  it('refuses percentages and NaN', () => {
    expect(() => defenseEffectiveness({ acc: 92, asr: 0.9 }, { acc: 0.9, asr: 0 })).toThrow(dataError);
    expect(() => defenseEffectiveness({ acc: 0.9, asr: 0.9 }, { acc: 0.9, asr: Number.NaN })).toThrow('defendedAsr');
  });
});

describe('purity', () => {
  // Ten rows, labels as given; 3, 4 and 5 are poisoned, and 5 was of class 0 all along.
  const truth = {
    givenLabels: Int32Array.of(0, 0, 0, 0, 0, 0, 1, 1, 1, 2),
    poisoned: Uint32Array.of(5, 3, 4),
    originalLabels: Int32Array.of(0, 1, 2),
    classes: 4,
  };

  it('counts poison overall and within each label, beside the base rates', () => {
    const report = purity(Uint32Array.of(0, 3, 5, 1, 6), truth);
    expect(report.overall).toEqual({
      rows: 5,
      poisoned: 2,
      selfLabelled: 1,
      purity: 1 - 2 / 5,
      baseRate: 0.3,
      normalised: 1 - 2 / 5 / 0.3,
    });
    // Label 0: 2 of 4 purified rows are poisoned, 3 of all 6 are: no better than a random draw.
    expect(report.perLabel[0]).toEqual({
      rows: 4,
      poisoned: 2,
      selfLabelled: 1,
      purity: 0.5,
      baseRate: 0.5,
      normalised: 0,
    });
  });

  it('is undefined, not NaN, where there are no rows or no poison', () => {
    const { perLabel } = purity(Uint32Array.of(6), truth);
    const nothing = { poisoned: 0, selfLabelled: 0 };
    expect(perLabel[0]).toEqual({ rows: 0, ...nothing, purity: null, baseRate: 0.5, normalised: null });
    expect(perLabel[1]).toEqual({ rows: 1, ...nothing, purity: 1, baseRate: 0, normalised: null });
    expect(perLabel[3]).toEqual({ rows: 0, ...nothing, purity: null, baseRate: null, normalised: null });
    expect(purity(new Uint32Array(0), truth).overall.purity).toBeNull();
  });

  it('is 1 when no poison is left', () => {
    expect(purity(Uint32Array.of(0, 9), truth).perLabel[0]!.normalised).toBe(1);
  });

  it("gives the known share of poison in CIFAR-10's target label", () => {
    // 10 % of 10 × 5000 rows, 500 of each class, all labelled 0: 5000 / (5000 + 4500) = 52.6 %.
    const rows = Array.from({ length: 50000 }, (_, i) => i);
    const poisoned = rows.filter((i) => Math.floor(i / 10) % 10 === 0);
    const isPoisoned = new Set(poisoned);
    const { perLabel } = purity(new Uint32Array(0), {
      givenLabels: Int32Array.from(rows, (i) => (isPoisoned.has(i) ? 0 : i % 10)),
      poisoned: Uint32Array.from(poisoned),
      originalLabels: Int32Array.from(poisoned, (i) => i % 10),
      classes: 10,
    });
    expect(perLabel[0]!.baseRate).toBeCloseTo(0.526, 3);
  });

  it('refuses rows that repeat or are not there, and lengths that differ', () => {
    expect(() => purity(Uint32Array.of(1, 1), truth)).toThrow(
      'purity: purified rows: expected distinct rows, got 1 repeated',
    );
    expect(() => purity(Uint32Array.of(10), truth)).toThrow('purity: purified rows: expected rows below 10, got 10');
    expect(() => purity(new Uint32Array(0), { ...truth, poisoned: Uint32Array.of(3) })).toThrow(dataError);
  });
});

describe('TPR and FPR of suspects', () => {
  const population = Uint32Array.of(0, 1, 2, 3, 4, 5, 6, 7);

  it('counts within the population only', () => {
    // Poison 1, 2, 3 (and 9, outside). Suspects 2, 3, 5 (and 9, outside): 2 of 3 found, 1 of 5 others suspected.
    expect(suspectRates(Uint32Array.of(9, 5, 3, 2), Uint32Array.of(1, 2, 3, 9), population)).toEqual({
      positives: 3,
      truePositives: 2,
      negatives: 5,
      falsePositives: 1,
      tpr: 2 / 3,
      fpr: 1 / 5,
    });
  });

  it('has no TPR without poison and no FPR without clean rows', () => {
    const none = new Uint32Array(0);
    expect(suspectRates(Uint32Array.of(1), none, population)).toMatchObject({ tpr: null, fpr: 1 / 8 });
    expect(suspectRates(none, population, population)).toMatchObject({ tpr: 0, fpr: null });
  });

  it('refuses an empty population and repeated rows', () => {
    const none = new Uint32Array(0);
    expect(() => suspectRates(none, none, none)).toThrow(dataError);
    expect(() => suspectRates(Uint32Array.of(2, 2), none, population)).toThrow(dataError);
    expect(() => suspectRates(none, none, Uint32Array.of(2, 2))).toThrow(dataError);
  });
});
