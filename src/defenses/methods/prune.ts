import type { Dataset } from '../../dataset.js';
import { PadFtError } from '../../errors.js';
import { accuracy } from '../../metrics.js';
import type { EvaluationOptions, Model } from '../../model.js';
import type { StateEntry } from '../../native/contract.js';

/** A channel of a site, as the batch norm before that site has it. */
export interface Channel {
  /** The batch norm's name: `layer4.1.bn2`. */
  readonly norm: string;
  readonly index: number;
}

/**
 * The batch norm before a site: `layer4.1.relu2` → `layer4.1.bn2`.
 *
 * @throws PadFtError ERR_MODEL when the site's name does not say
 */
export function normBefore(method: string, victim: Model, site: string | undefined): string {
  if (site === undefined || !/\.relu\d+$/.test(site)) {
    throw new PadFtError(
      'ERR_MODEL',
      `${method}: ${victim.name} has no batch norm before ${site ?? 'a ReLU'} to prune by`,
    );
  }
  return site.replace(/relu(\d+)$/, 'bn$1');
}

/** The state with these channels' entries of a batch norm (`weight`, `bias`) set to zero. */
export function prunedState(
  state: readonly StateEntry[],
  channels: readonly Channel[],
  kinds: readonly ('weight' | 'bias')[],
): StateEntry[] {
  const doomed = new Map<string, number[]>();
  for (const { norm, index } of channels) {
    for (const kind of kinds) doomed.set(`${norm}.${kind}`, [...(doomed.get(`${norm}.${kind}`) ?? []), index]);
  }
  return state.map((entry) => {
    const indices = doomed.get(entry.name);
    if (indices === undefined) return entry;
    const data = new Uint8Array(entry.data);
    const values = new Float32Array(data.buffer);
    for (const index of indices) values[index] = 0;
    return { ...entry, data };
  });
}

export interface Pruning {
  readonly pruned: number;
  /** Accuracy on the clean images before and after. */
  readonly before: number;
  readonly after: number;
}

/**
 * Prunes `model`, a copy of the victim, by ever longer portions of channels, as long as the accuracy on the clean images
 * stays within `maxAccDrop` of what it is, and leaves it at the last portion that did. The test set, which some
 * implementations stop by, is not read. ERR_OOM, ERR_ABORTED
 */
export async function pruneWithin(
  model: Model,
  clean: Dataset,
  portions: readonly (readonly Channel[])[],
  { kinds, maxAccDrop }: { readonly kinds: readonly ('weight' | 'bias')[]; readonly maxAccDrop: number },
  evaluation: EvaluationOptions,
): Promise<Pruning> {
  const accuracyNow = async () => accuracy(await model.predict(clean, evaluation), clean.labels());
  const state = await model.state();
  const before = await accuracyNow();
  let kept: { readonly channels: readonly Channel[]; readonly accuracy: number } = { channels: [], accuracy: before };
  for (const channels of portions) {
    await model.loadState(prunedState(state, channels, kinds));
    const now = await accuracyNow();
    if (now < before - maxAccDrop) break;
    kept = { channels, accuracy: now };
  }
  await model.loadState(prunedState(state, kept.channels, kinds));
  return { pruned: kept.channels.length, before, after: kept.accuracy };
}
