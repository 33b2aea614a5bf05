import { createHash } from 'node:crypto';
import { invalidOption } from './errors.js';

/**
 * Named random streams. One root seed feeds them all, and each purpose has its own, so changing how
 * often one is used (more epochs, another augmentation) never changes what another draws.
 */
export type StreamName =
  | 'poison'
  | 'warp'
  | 'noise'
  | 'init'
  | 'shuffle'
  | 'purify'
  | 'purified'
  | 'clip'
  | 'tune'
  | 'data'
  | 'holdout'
  | 'likely'
  | 'halves'
  | 'strip'
  | 'clusters'
  | 'inspect'
  | 'teacher'
  | 'masks'
  | 'isolation'
  | 'learning'
  | 'unlearning'
  | 'anew'
  | 'views'
  | 'mix';

/** The seed of a named stream: 48 bits of SHA-256(`root/name`), exact in a JavaScript number. */
export function streamSeed(root: number, name: StreamName): number {
  if (!Number.isSafeInteger(root) || root < 0) throw invalidOption('seed', 'an integer ≥ 0', root);
  return createHash('sha256').update(`pad-ft/${root}/${name}`).digest().readUIntBE(0, 6);
}

/** A small, portable generator (xoshiro128**) for the few draws that TypeScript makes itself. */
export class Random {
  readonly #state: Uint32Array<ArrayBuffer>;

  constructor(seed: number) {
    const digest = createHash('sha256').update(`xoshiro128/${seed}`).digest();
    this.#state = Uint32Array.from({ length: 4 }, (_, i) => digest.readUInt32LE(4 * i));
  }

  /** A uniform 32-bit unsigned integer. */
  uint32(): number {
    const s = this.#state as unknown as [number, number, number, number];
    const x = Math.imul(s[1], 5);
    const result = Math.imul((x << 7) | (x >>> 25), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** A uniform number in [0, 1) with 32 bits. */
  uniform(): number {
    return this.uint32() / 4294967296;
  }

  /** A uniform integer in [0, bound), without modulo bias. `bound` in [1, 2³²]. */
  below(bound: number): number {
    const limit = 4294967296 - (4294967296 % bound);
    for (;;) {
      const value = this.uint32();
      if (value < limit) return value % bound;
    }
  }

  /** A uniformly random permutation of 0 … count − 1 (Fisher–Yates). */
  permutation(count: number): Uint32Array<ArrayBuffer> {
    const order = Uint32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const swap = order[i] as number;
      order[i] = order[j] as number;
      order[j] = swap;
    }
    return order;
  }

  /** A standard normal draw (Box–Muller, one of the pair). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }
}
