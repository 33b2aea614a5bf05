import { expect, test } from 'vitest';
import { INSPECT_DEFAULTS, inspectSettings, judgeMargins } from '../../src/defenses/mm-bd/inspect.js';
import { fitGamma, type Gamma, gammaUpperTail } from '../../src/gamma.js';

const SKEWED = [4.1, 4.4, 4.6, 5, 5.2, 5.9, 6.4, 7.7, 9.1];
const EVEN = [10.2, 11.1, 11.9, 12.3, 12.8, 13.1, 13.9, 14.4, 15.3];
const LEFT = [1, 3.2, 4.1, 4.6, 4.9, 5.1, 5.2, 5.3, 5.35];

// from scipy.stats import gamma; gamma.sf(x, shape)
test.each([
  [1, 2.5, 0.0820849986238988],
  [3.7, 1.2, 0.9494026015014375],
  [3.7, 9, 0.015185911655693945],
  [50, 80, 0.0001307839765914092],
  [2.5, 40, 8.391825114831597e-16],
  [1e4, 10300, 0.0014704948963856813],
  [1e6, 1000500, 0.3084495242285028],
])('the upper tail of Gamma(%d) above %d', (shape, x, expected) => {
  const tail = gammaUpperTail({ shape, location: 7, scale: 2 }, 7 + 2 * x);
  expect(Math.abs(tail / expected - 1)).toBeLessThan(1e-8);
});

// best = max over L = min − range · exp(t), t in linspace(log 1e-4, log 1e3, 20001), of the likelihood under
// a, _, s = gamma.fit(x - L, floc=0), a held to 1 and more; gamma.sf(q - L, a, scale=s). For comparison the same of
// gamma.fit(x), whose search stops elsewhere: 0.0199, 6.3e-4; 1.48e-4; 0.0673.
test.each([
  ['skewed', SKEWED, 10.92, 0.019079498553337147],
  ['skewed, far out', SKEWED, 18.2, 0.00027880141512624297],
  ['even', EVEN, 18.36, 0.00012159557232611185],
  ['skewed to the left', LEFT, 6.42, 0.05723401859256552],
])('the fit of values that are %s', (_, values, x, expected) => {
  const tail = gammaUpperTail(fitGamma(values) as Gamma, x);
  expect(Math.abs(tail / expected - 1)).toBeLessThan(5e-3);
});

test('the fit finds what made the values', () => {
  // Quantiles (i − 1/2) / 200 of location 3 + Gamma(4, 1.5), by bisection of the tail above.
  const truth = { shape: 4, location: 3, scale: 1.5 };
  const values = Array.from({ length: 200 }, (_, i) => {
    let [low, high] = [3, 60];
    for (let step = 0; step < 80; step++) {
      const middle = (low + high) / 2;
      if (1 - gammaUpperTail(truth, middle) < (i + 0.5) / 200) low = middle;
      else high = middle;
    }
    return low;
  });
  const { shape, location, scale } = fitGamma(values) as Gamma;
  expect(shape).toBeGreaterThan(3);
  expect(shape).toBeLessThan(5);
  expect(Math.abs(location + shape * scale - 9)).toBeLessThan(0.05);
});

test('there is no fit to fewer than three values, or to values that are alike', () => {
  expect(fitGamma([1, 2])).toBeNull();
  expect(fitGamma([2, 2, 2, 2])).toBeNull();
  expect(() => fitGamma([1, 2, Number.NaN])).toThrow(/finite numbers, got NaN/);
});

test('the verdict is drawn from the largest margin against the others', () => {
  const steps = Array.from({ length: 10 }, () => 300);
  const judged = (margin: number) =>
    judgeMargins([...SKEWED.slice(0, 4), margin, ...SKEWED.slice(4)], steps, INSPECT_DEFAULTS);
  const clean = judged(10.92);
  // 1 − (1 − 0.01908)¹⁰
  expect(clean.pValue).toBeCloseTo(0.175, 2);
  expect([clean.target, clean.text]).toEqual([null, expect.stringContaining('no evidence of a backdoor (p = 0.17')]);
  const attacked = judged(18.2);
  expect(attacked.pValue).toBeCloseTo(0.0028, 3);
  expect(attacked.target).toBe(4);
  expect(attacked.text).toMatch(
    /^the model looks backdoored, target label 4: some image drives it 18\.2 above every other class.*; 10 of 10 margins had not settled/,
  );
  expect(judgeMargins([1, 1, 1, 1], [9, 9, 9, 9], INSPECT_DEFAULTS).text).toBe('no evidence of a backdoor (p = 1.000)');
  expect(judgeMargins([1, 1, 1, 1], steps, INSPECT_DEFAULTS)).toMatchObject({ target: null, pValue: 1 });
  expect(judgeMargins([1, 1, 1, 9], steps, INSPECT_DEFAULTS)).toMatchObject({ target: 3, pValue: 0 });
});

test('settings are checked', () => {
  expect(inspectSettings()).toEqual(INSPECT_DEFAULTS);
  expect(() => inspectSettings({ images: 0 })).toThrow(/inspect\.images: expected an integer/);
  expect(() => inspectSettings({ learningRate: 0 })).toThrow(/inspect\.learningRate/);
  expect(() => inspectSettings({ step: 3 } as never)).toThrow(/inspect\.step/);
});
