import { describe, expect, it } from 'vitest';
import { Random } from '../../src/random.js';
import { twoComponentMixture } from '../../src/statistics.js';

describe('the two-component mixture', () => {
  /** 300 quantiles of the logistic distribution at 0 and 100 at 8, half as wide: values Python makes alike. */
  const logit = (count: number, centre: number, scale: number) =>
    Array.from({ length: count }, (_, i) => {
      const p = (i + 0.5) / count;
      return centre + scale * Math.log(p / (1 - p));
    });
  const values = [...logit(300, 0, 1), ...logit(100, 8, 0.5)];

  it('finds the maximum of the likelihood that SciPy finds', () => {
    // p = (np.arange(300) + .5) / 300; q = (np.arange(100) + .5) / 100
    // v = np.concatenate([np.log(p / (1 - p)), 8 + .5 * np.log(q / (1 - q))])
    // nll = lambda t: -np.mean(np.logaddexp(np.log(1 - w) + norm.logpdf(v, t[1], np.exp(t[2])),
    //                                       np.log(w) + norm.logpdf(v, t[3], np.exp(t[4])))), w = expit(t[0])
    // optimize.minimize(nll, [-1, 0, .5, 8, 0], method='Nelder-Mead', options=dict(xatol=1e-10, fatol=1e-13))
    const mixture = twoComponentMixture(values, { winsorise: 0, tolerance: 1e-13 })!;
    expect(mixture.converged).toBe(true);
    expect(mixture.lower.weight + mixture.upper.weight).toBeCloseTo(1, 12);
    expect(mixture.upper.weight).toBeCloseTo(0.251872434, 5);
    expect(mixture.lower.mean).toBeCloseTo(-0.016203971, 4);
    expect(mixture.lower.sd).toBeCloseTo(1.776611771, 4);
    expect(mixture.upper.mean).toBeCloseTo(7.988657675, 4);
    expect(mixture.upper.sd).toBeCloseTo(0.90012493, 4);
    expect(mixture.logLikelihood).toBeCloseTo(-2.380800226, 8);
    expect(mixture.bicGain).toBeCloseTo(286.033263918, 5);
    // √2 · 8.0048616 / √(1.7766118² + 0.9001249²)
    expect(mixture.ashmanD).toBeCloseTo(5.684, 2);
    for (const [x, expected] of [
      [4, 0.000465722],
      [5, 0.126216363],
      [6, 0.947068964],
      [8, 0.999942898],
    ] as const) {
      expect(mixture.posterior(x)).toBeCloseTo(expected, 3);
    }
  });

  it('never lets a wide lower part win the far upper tail', () => {
    // SciPy's densities above give the upper part 5e-12 at 20.
    const { lower, upper, posterior } = twoComponentMixture(values)!;
    expect(lower.sd).toBeGreaterThan(upper.sd);
    expect(posterior(20)).toBeGreaterThan(0.999);
    expect(posterior(1e6)).toBeGreaterThan(0.999);
  });

  it('never lets a wide upper part win the far lower tail', () => {
    const { lower, upper, posterior } = twoComponentMixture(values.map((value) => -value))!;
    expect(upper.sd).toBeGreaterThan(lower.sd);
    expect(posterior(-20)).toBeLessThan(0.001);
    expect(posterior(-1e6)).toBeLessThan(0.001);
  });

  it.each([1, -1])('has a posterior that never falls (sign %i)', (sign) => {
    const { posterior } = twoComponentMixture(values.map((value) => sign * value))!;
    const curve = Array.from({ length: 2001 }, (_, i) => posterior(-50 + i / 20));
    for (let i = 1; i < curve.length; i++) expect(curve[i]!).toBeGreaterThanOrEqual(curve[i - 1]!);
  });

  /** `share` of the rows from N(4, 0.8²), the others from the absolute value of N(0, 0.5²): skewed, as drops are. */
  const made = (count: number, share: number) => {
    const random = new Random(11);
    const poisoned = Array.from({ length: count }, (_, i) => i < share * count);
    return { poisoned, drops: poisoned.map((p) => (p ? 4 + 0.8 * random.normal() : Math.abs(0.5 * random.normal()))) };
  };

  it.each([0.05, 0.1, 0.35, 0.53, 0.92])('tells the poison in a label where its share is %d', (share) => {
    const { poisoned, drops } = made(4000, share);
    const mixture = twoComponentMixture(drops)!;
    expect(mixture.ashmanD).toBeGreaterThan(2);
    expect(mixture.bicGain).toBeGreaterThan(10);
    const suspects = drops.map((drop) => mixture.posterior(drop) > 0.9);
    const found = suspects.filter((suspect, i) => suspect && poisoned[i]).length;
    const wrong = suspects.filter((suspect, i) => suspect && !poisoned[i]).length;
    expect(found / (4000 * share)).toBeGreaterThan(0.97);
    expect(wrong / (4000 * (1 - share))).toBeLessThan(0.03);
  });

  it('finds 1 % of poison beside a Gaussian, and owns up where a skewed part takes both Gaussians', () => {
    const random = new Random(12);
    const drops = Array.from({ length: 4000 }, (_, i) => (i < 40 ? 4 : 0) + 0.5 * random.normal());
    expect(twoComponentMixture(drops)!.upper.weight).toBeCloseTo(0.01, 3);
    expect(twoComponentMixture(made(4000, 0.01).drops)!.ashmanD).toBeLessThan(2);
  });

  it('gains nothing over one Gaussian on one Gaussian', () => {
    const random = new Random(5);
    const mixture = twoComponentMixture(Array.from({ length: 3000 }, () => random.normal()))!;
    expect(mixture.bicGain).toBeLessThan(0);
  });

  it('is not led astray by one absurd value', () => {
    const { drops } = made(4000, 0.3);
    const before = twoComponentMixture(drops)!;
    const after = twoComponentMixture([...drops, 1e6])!;
    expect(after.upper.mean).toBeCloseTo(before.upper.mean, 1);
    expect(after.lower.mean).toBeCloseTo(before.lower.mean, 1);
  });

  it('does not collapse onto equal values, and gives the same answer each time', () => {
    const spiked = [...new Array<number>(500).fill(0), ...logit(500, 3, 0.3)];
    const mixture = twoComponentMixture(spiked)!;
    expect(mixture.lower.sd).toBeGreaterThan(0.01);
    expect(mixture.posterior(3)).toBeGreaterThan(0.99);
    expect(mixture.posterior(0)).toBeLessThan(0.01);
    expect(JSON.stringify(twoComponentMixture(spiked))).toBe(JSON.stringify(mixture));
  });

  it('gives null where there are not two parts to tell', () => {
    expect(twoComponentMixture([1, 2, 3, 4, 5, 6, 7])).toBeNull();
    expect(twoComponentMixture(new Array<number>(50).fill(0.1))).toBeNull();
  });

  it('says when its steps ran out', () => {
    expect(twoComponentMixture(values, { maxIterations: 1, tolerance: 1e-300 })!.converged).toBe(false);
  });

  it('refuses NaN and options out of range', () => {
    expect(() => twoComponentMixture([...values, Number.NaN])).toThrow(
      expect.objectContaining({ code: 'ERR_NUMERIC' }),
    );
    expect(() => twoComponentMixture(values, { winsorise: 0.2 })).toThrow('mixture.winsorise');
    expect(() => twoComponentMixture(values, { tolerance: 0 })).toThrow('mixture.tolerance');
    expect(() => twoComponentMixture(values, { maxIterations: 0 })).toThrow('mixture.maxIterations');
  });
});
