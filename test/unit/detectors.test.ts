import { describe, expect, it } from 'vitest';
import { clusterScores, twoMeans } from '../../src/defenses/detectors/activation-clustering.js';
import { type Cloud, principalDirections, project } from '../../src/defenses/detectors/principal.js';
import { spectralScores } from '../../src/defenses/detectors/spectral-signatures.js';
import { drawOverlays, entropyOf, liesOver } from '../../src/defenses/detectors/strip.js';
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

describe('spectral signatures', () => {
  it("are NumPy's squared projections on the first direction", () => {
    // As above: ((x @ vt[0]) ** 2).round(6)
    const values = Float32Array.of(2, 0, 1, 0, 1, 3, 4, 1, 0, 1, 5, 2, 3, 3, 3);
    const expected = [3.815453, 0.278069, 5.736839, 8.483988, 0.825258];
    const found = spectralScores({ values, width: 3, rows: [0, 1, 2, 3, 4] });
    expected.forEach((value, i) => {
      expect(found[i]).toBeCloseTo(value, 5);
    });
  });

  it('of rows that are all alike are 0', () => {
    expect(spectralScores({ values: new Float32Array(6).fill(3), width: 2, rows: [0, 1, 2] })).toEqual([0, 0, 0]);
  });
});

describe('activation clustering', () => {
  /** Two heaps in five dimensions, `few` rows of one and the rest of the other; which comes first is told. */
  function heaps(few: number, many: number, scale: readonly number[] = [1, 1, 1, 1, 1]): Cloud {
    const random = new Random(8);
    const row = (centre: number) => scale.map((factor, k) => factor * ((k === 1 ? centre : 0) + random.normal()));
    const rows = [...Array.from({ length: few }, () => row(9)), ...Array.from({ length: many }, () => row(0))];
    return { values: Float32Array.from(rows.flat()), width: 5, rows: Array.from(rows.keys()) };
  }

  it('scores the smaller part higher, whichever it is', () => {
    for (const [few, many] of [
      [20, 80],
      [80, 20],
    ] as const) {
      const scores = clusterScores(heaps(few, many), 1);
      const first = scores.slice(0, few);
      const second = scores.slice(few);
      const [small, large] = few < many ? [first, second] : [second, first];
      expect(Math.min(...small)).toBeGreaterThan(Math.max(...large));
      expect(Math.min(...small)).toBeGreaterThan(0);
    }
  });

  it('does not look at the scale of a feature: they are whitened', () => {
    const plain = clusterScores(heaps(20, 80), 1);
    const stretched = clusterScores(heaps(20, 80, [100, 1, 0.01, 5, 1]), 1);
    stretched.forEach((score, i) => {
      expect(score).toBeCloseTo(plain[i] as number, 3);
    });
  });
});

describe("STRIP's overlays", () => {
  it('are as many for each row as asked for, and none lies over itself', () => {
    const drawn = drawOverlays(50, 8, 3);
    expect(drawn).toHaveLength(9);
    expect(new Set(drawn).size).toBe(9);
    for (let row = 0; row < 50; row++) {
      const over = Array.from(drawn).filter((_, i) => liesOver(drawn, i, row));
      expect(over).toHaveLength(8);
      expect(over).not.toContain(row);
    }
    // Where there are fewer rows, all the others.
    const all = drawOverlays(4, 16, 3);
    expect([...all].sort()).toEqual([0, 1, 2, 3]);
    expect(Array.from(all).filter((_, i) => liesOver(all, i, 2))).toHaveLength(3);
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
