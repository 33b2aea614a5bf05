import { describe, expect, it } from 'vitest';
import { twoMeans } from '../../src/defenses/detectors/activation-clustering.js';
import { principalDirections, project } from '../../src/defenses/detectors/principal.js';
import { entropyOf } from '../../src/defenses/detectors/strip.js';
import { truePositiveRateAt } from '../../src/metrics.js';
import { Random } from '../../src/random.js';

describe('principal directions', () => {
  // Python: m = [[2, 0, 1], [0, 1, 3], [4, 1, 0], [1, 5, 2], [3, 3, 3]]; x = np.array(m) - np.mean(m, 0)
  // _, s, vt = np.linalg.svd(x); s ** 2 / 5; vt
  const values = Float32Array.of(9, 9, 9, 2, 0, 1, 0, 1, 3, 4, 1, 0, 1, 5, 2, 3, 3, 3);
  const cloud = { values, width: 3, rows: [1, 2, 3, 4, 5] };
  const VARIANCES = [3.82792152, 2.17365624, 0.55842224];
  const DIRECTIONS = [
    [-0.41010644, 0.80571701, 0.42735559],
    [-0.7430005, -0.56689329, 0.35578399],
    [0.52892623, -0.17161611, 0.83113474],
  ];

  it("are NumPy's, up to their sign, and of the named rows alone", () => {
    const found = principalDirections(cloud, 3);
    expect([...found.mean]).toEqual([2, 2, 1.8].map((value) => expect.closeTo(value, 6)));
    found.directions.forEach((direction, i) => {
      expect(found.variances[i]).toBeCloseTo(VARIANCES[i] as number, 6);
      const expected = DIRECTIONS[i] as readonly number[];
      const sign = Math.sign((direction[0] as number) * (expected[0] as number));
      expected.forEach((value, k) => {
        expect(sign * (direction[k] as number)).toBeCloseTo(value, 5);
      });
    });
    const [along] = found.directions;
    const spread = cloud.rows.map((row) => project(cloud, row, found, along as Float64Array) ** 2);
    expect(spread.reduce((sum, value) => sum + value, 0) / 5).toBeCloseTo(VARIANCES[0] as number, 6);
  });

  it('are as many as the cloud has dimensions', () => {
    const flat = Float32Array.of(1, 2, 2, 4, 3, 6);
    expect(principalDirections({ values: flat, width: 2, rows: [0, 1, 2] }, 2).directions).toHaveLength(1);
    expect(principalDirections({ values: flat, width: 2, rows: [] }, 2).directions).toHaveLength(0);
    expect(principalDirections({ values: flat, width: 2, rows: [1] }, 2).directions).toHaveLength(0);
  });
});

describe('two means', () => {
  it('find two heaps of unequal size, from any start', () => {
    const random = new Random(5);
    const heap = (count: number, centre: number) =>
      Array.from({ length: count }, () => Float64Array.of(centre + random.normal(), random.normal()));
    const points = [...heap(80, 0), ...heap(20, 12)];
    for (const seed of [0, 1, 2]) {
      const { sizes, centres } = twoMeans(points, seed);
      expect([...sizes].sort((a, b) => a - b)).toEqual([20, 80]);
      expect(centres[sizes.indexOf(20)]?.[0]).toBeCloseTo(12, 0);
    }
  });

  it('of one point, or of equal ones, are no trouble', () => {
    expect(twoMeans([Float64Array.of(1)], 0).centres).toEqual([]);
    const { sizes } = twoMeans(new Array(4).fill(Float64Array.of(1, 1)), 0);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(4);
  });
});

describe('the entropy of an answer', () => {
  it('is in bits, from 0 to log2 of the classes', () => {
    // Four equal logits: 2 bits; [ln 1, ln 3]: 0.25 · 2 + 0.75 · log2(4/3) = 0.811278; one far above: 0.
    expect(entropyOf(Float32Array.of(9, 5, 5, 5, 5), 1, 4)).toBeCloseTo(2, 12);
    expect(entropyOf(Float32Array.of(0, Math.log(3)), 0, 2)).toBeCloseTo(0.811278, 6);
    expect(entropyOf(Float32Array.of(0, 800), 0, 2)).toBe(0);
  });
});

describe('TPR at a false-positive rate', () => {
  // 20 negatives score 1 … 20; positives 25, 20.5, 19.5 and 3.
  const scores = Float32Array.of(...Array.from({ length: 20 }, (_, i) => i + 1), 25, 20.5, 19.5, 3, 99);
  const positives = Uint32Array.of(20, 21, 22, 23);
  const population = Uint32Array.from({ length: 24 }, (_, row) => row);

  it.each([
    [0, 2 / 4],
    [0.01, 2 / 4],
    [0.05, 3 / 4],
    [0.9, 1],
  ])('counts positives above all but that share of the negatives: %d', (fpr, expected) => {
    expect(truePositiveRateAt(fpr, scores, positives, population)).toBe(expected);
  });

  it('is null where one side is empty', () => {
    expect(truePositiveRateAt(0.05, scores, positives, positives)).toBeNull();
    expect(truePositiveRateAt(0.05, scores, new Uint32Array(0), population)).toBeNull();
  });
});
