import { expect, it } from 'vitest';
import { Mt19937, numpyPermutation, pythonSample } from '../../src/attacks/mt19937.js';

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

/**
 * Python 3.11:
 *   random.seed(s); r = random.sample(range(n), k)
 *   r[:6], sum(x * (i + 1) for i, x in enumerate(r))
 */
it.each([
  [50000, 2500, 0, [25247, 49673, 27562, 2653, 16968, 33506], 77793156433],
  [50000, 2500, 7, [21222, 9886, 25875, 42659, 3164, 4747], 77696239847],
  // Two words of seed.
  [50000, 100, 2 ** 32 + 5, [10307, 31817, 18513, 39613, 951, 23269], 132320441],
  [50000, 100, 2 ** 53 - 1, [6176, 36741, 14606, 49321, 12540, 9663], 124051537],
  [50000, 3, 4294967295, [41638, 40604, 13316], 162794],
  [600, 30, 0, [394, 430, 41, 265, 523, 497], 146795],
  // From a pool.
  [600, 120, 3, [243, 557, 133, 378, 485, 594], 2105002],
  [100, 30, 0, [49, 97, 53, 5, 33, 65], 23913],
  [20, 20, 5, [19, 8, 11, 16, 0, 13], 1859],
  [6, 5, 1, [1, 4, 0, 5, 3], 44],
  [1, 1, 0, [0], 0],
])("is Python's sample out of %i: %i at seed %i", (population, count, seed, first, checksum) => {
  const drawn = pythonSample(population, count, seed);
  expect(Array.from(drawn.subarray(0, 6))).toEqual(first);
  expect(drawn.reduce((sum, row, i) => sum + row * (i + 1), 0)).toBe(checksum);
  expect(new Set(drawn).size).toBe(count);
});

it("gives Python's own bits", () => {
  // random.seed(0); [random.getrandbits(32) for _ in range(3)]
  const random = Mt19937.ofPython(0);
  expect([0, 1, 2].map(() => random.uint32())).toEqual([3626764237, 1654615998, 3255389356]);
});

it('samples no more than there is, and by no seed but an integer', () => {
  expect(pythonSample(3, 0, 0)).toHaveLength(0);
  expect(() => pythonSample(3, 4, 0)).toThrow(expect.objectContaining({ code: 'ERR_OPTION' }));
  for (const seed of [-1, 0.5, 2 ** 53]) {
    expect(() => pythonSample(3, 1, seed)).toThrow(expect.objectContaining({ code: 'ERR_OPTION' }));
  }
});
