import { invalidOption } from '../errors.js';

const SIZE = 624;
const SHIFT = 397;

/**
 * MT19937 as NumPy's legacy `RandomState` seeds and reads it: `np.random.seed(s)` with an integer runs
 * `init_genrand` of Matsumoto and Nishimura's reference code. Needed to draw the very rows that BackdoorBench
 * poisons; everything else here uses `Random`.
 */
export class Mt19937 {
  readonly #key = new Uint32Array(SIZE);
  #next = SIZE;

  /** `seed` in [0, 2³²), as NumPy demands; ERR_OPTION otherwise. */
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
