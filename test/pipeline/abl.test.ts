import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  defendByMethod,
  evaluate,
  type MethodResult,
  Model,
  type PoisonedSet,
  planMethod,
  poison,
} from '../../src/index.js';
import { loadAddon } from '../../src/native/load.js';
import { made, stripes } from './made.js';

/** Faint stripes under much noise and a large patch on them: here, as on photographs, what is planted is learnt first. */
const FAINT = { heights: [12, 12], noise: 70 } as const;
const QUICK = {
  isolationEpochs: 4,
  isolationLearningRate: 0.02,
  isolationShare: 0.03,
  epochs: 6,
  learningRate: 0.05,
  batchSize: 32,
  cropPadding: 0,
};
const PATIENCE = 15 * 60_000;

/** What the method says of itself. */
interface Told {
  readonly isolated: readonly number[];
  readonly unlearning: Record<'first' | 'last', { readonly loss: number }>;
}

let set: PoisonedSet;
let victim: Model;

beforeAll(async () => {
  loadAddon().setThreads(1);
  const pair = stripes(2000, 400, FAINT);
  set = await poison(
    pair,
    { attack: 'badnets', rate: 0.1, target: 0, attackOptions: { patchSize: 6 } },
    { device: 'cpu' },
  );
  // Only its shape is taken.
  victim = Model.create({ classes: 4, width: 8, mean: pair.mean, std: pair.std, device: 'cpu', seed: 3 });
}, PATIENCE);

afterAll(() => {
  for (const handle of [victim, set]) handle.dispose();
});

function run(options: object, seed = 0): Promise<MethodResult> {
  const request = { victim, training: set.train, clean: null, flip: false, seed };
  return defendByMethod(planMethod('abl', { ...QUICK, ...options }), request);
}
