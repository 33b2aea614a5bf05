import { invalidOption } from '../errors.js';

const SIZE = 624;
const SHIFT = 397;

/**
 * MT19937 (Matsumoto and Nishimura 1998), seeded and read as NumPy's legacy `RandomState` does and as Python's `random`
 * does. Needed to draw the very rows that BackdoorBench poisons and the very rows that it hands to defences as clean;
 * everything else here uses `Random`.
 */
export class Mt19937 {
  readonly #key = new Uint32Array(SIZE);
  #next = SIZE;

  /** `np.random.seed(seed)`, the reference code's `init_genrand`. `seed` in [0, 2³²); ERR_OPTION otherwise. */
  constructor(seed: number) {
    if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) {
      throw invalidOption('seed', 'an integer in [0, 4294967295], the range of NumPy seeds', seed);
    }
    let previous = seed >>> 0;
    this.#key[0] = previous;
    for (let i = 1; i < SIZE; i++) {
      previous = (Math.imul(1812433253, previous ^ (previous >>> 30)) + i) >>> 0;
      this.#key[i] = previous;
    }
  }

  /** Python's `random.seed(seed)`, the reference code's `init_by_array`. `seed` in [0, 2⁵³); ERR_OPTION otherwise. */
  static ofPython(seed: number): Mt19937 {
    if (!Number.isSafeInteger(seed) || seed < 0) throw invalidOption('seed', 'an integer in [0, 2⁵³)', seed);
    const high = Math.floor(seed / 2 ** 32);
    const random = new Mt19937(19650218);
    random.#mix(high === 0 ? [seed] : [seed >>> 0, high]);
    return random;
  }

  /** The next 32 bits, tempered. */
  uint32(): number {
    if (this.#next === SIZE) this.#twist();
    let y = this.#key[this.#next++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /**
   * A uniform integer in [0, max], max in [0, 2³²): NumPy's `random_interval`, which rejects masked draws. For max = 0
   * nothing is drawn, as there.
   */
  interval(max: number): number {
    if (max === 0) return 0;
    const mask = 0xffffffff >>> Math.clz32(max);
    for (;;) {
      const value = (this.uint32() & mask) >>> 0;
      if (value <= max) return value;
    }
  }

  /** A uniform integer in [0, bound), bound in [1, 2³²): Python's `_randbelow`, which rejects draws of as many bits. */
  below(bound: number): number {
    const spare = Math.clz32(bound);
    for (;;) {
      const value = this.uint32() >>> spare;
      if (value < bound) return value;
    }
  }

  /** Stirs words of 32 bits into the state that `init_genrand` left. */
  #mix(words: readonly number[]): void {
    const key = this.#key;
    let i = 1;
    const stir = (factor: number, added: number) => {
      const before = key[i - 1]!;
      key[i] = ((key[i]! ^ Math.imul(before ^ (before >>> 30), factor)) + added) >>> 0;
      i++;
      if (i < SIZE) return;
      key[0] = key[SIZE - 1]!;
      i = 1;
    };
    for (let k = 0; k < Math.max(SIZE, words.length); k++) {
      const j = k % words.length;
      stir(1664525, words[j]! + j);
    }
    for (let k = 1; k < SIZE; k++) stir(1566083941, -i);
    key[0] = 0x80000000;
  }

  #twist(): void {
    const key = this.#key;
    for (let i = 0; i < SIZE; i++) {
      const y = (key[i]! & 0x80000000) | (key[(i + 1) % SIZE]! & 0x7fffffff);
      key[i] = key[(i + SHIFT) % SIZE]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}

/** `np.random.seed(seed); np.random.permutation(count)`, number for number. */
export function numpyPermutation(count: number, seed: number): Uint32Array<ArrayBuffer> {
  const random = new Mt19937(seed);
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random.interval(i);
    const swap = order[i]!;
    order[i] = order[j]!;
    order[j] = swap;
  }
  return order;
}

/**
 * `random.seed(seed); random.sample(range(population), count)`, number for number (CPython 3.2 and newer). Draws again what
 * it drew before; where the population is not much larger than the sample, from a shrinking pool instead.
 *
 * @throws PadFtError ERR_OPTION for a seed that is no integer in [0, 2⁵³), or more rows than there are
 */
export function pythonSample(population: number, count: number, seed: number): Uint32Array<ArrayBuffer> {
  if (count > population) throw invalidOption('count', `at most the population, ${population}`, count);
  const random = Mt19937.ofPython(seed);
  const sample = new Uint32Array(count);
  // Where a set of that many would be larger than the list, as CPython reckons.
  const set = 21 + (count > 5 ? 4 ** Math.ceil(Math.log(3 * count) / Math.log(4)) : 0);
  if (population <= set) {
    const pool = Uint32Array.from({ length: population }, (_, i) => i);
    for (let i = 0; i < count; i++) {
      const j = random.below(population - i);
      sample[i] = pool[j]!;
      pool[j] = pool[population - i - 1]!;
    }
    return sample;
  }
  const taken = new Set<number>();
  for (let i = 0; i < count; i++) {
    let row = random.below(population);
    while (taken.has(row)) row = random.below(population);
    taken.add(row);
    sample[i] = row;
  }
  return sample;
}
