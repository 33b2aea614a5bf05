import { expect, it } from 'vitest';
import { Mt19937, numpyPermutation } from '../../src/attacks/mt19937.js';

/**
 * NumPy 2.4.6:
 *   np.random.seed(s); p = np.random.permutation(n)
 *   p[:10].tolist(), int((p.astype(object) * np.arange(1, n + 1).astype(object)).sum())
 */
it.each([
  [50000, 0, [11841, 19602, 45519, 25747, 42642, 31902, 30346, 12363, 32490, 26128], 31244240053676],
  [50000, 7, [29430, 27750, 47782, 10498, 24747, 18647, 9123, 15775, 35530, 25893], 31194067578537],
  [1000, 4294967295, [94, 405, 819, 632, 217, 169, 449, 275, 165, 828], 250435292],
  [10, 0, [2, 8, 4, 9, 1, 6, 7, 3, 0, 5], 230],
  [10, 42, [8, 1, 5, 0, 7, 2, 9, 4, 3, 6], 254],
  [2, 1, [0, 1], 2],
  [1, 3, [0], 0],
])("is NumPy's permutation of %i rows at seed %i", (count, seed, first, checksum) => {
  const order = numpyPermutation(count, seed);
  expect(Array.from(order.subarray(0, 10))).toEqual(first);
  expect(order.reduce((sum, row, i) => sum + row * (i + 1), 0)).toBe(checksum);
  expect(new Set(order).size).toBe(count);
});

it("gives the reference generator's numbers", () => {
  // np.random.RandomState(5489)._bit_generator.random_raw(10000); the 10000th is the C++ standard's test value.
  const random = new Mt19937(5489);
  const drawn = Array.from({ length: 10000 }, () => random.uint32());
  expect(drawn.slice(0, 3)).toEqual([3499211612, 581869302, 3890346734]);
  expect(drawn[9999]).toBe(4123659995);
});

it('draws intervals that span the whole 32 bits, and nothing for [0, 0]', () => {
  const random = new Mt19937(0);
  expect(random.interval(0)).toBe(0);
  // np.random.RandomState(0)._bit_generator.random_raw(2)
  expect(random.interval(0xffffffff)).toBe(2357136044);
  expect(random.interval(0xffffffff)).toBe(2546248239);
});

it.each([-1, 2 ** 32, 0.5, Number.NaN])('refuses the seed %d as NumPy does', (seed) => {
  expect(() => numpyPermutation(3, seed)).toThrow(expect.objectContaining({ code: 'ERR_OPTION' }));
});

it('permutes nothing', () => {
  expect(numpyPermutation(0, 0)).toHaveLength(0);
});
