import type { Dataset } from '../../dataset.js';
import { PadFtError } from '../../errors.js';
import { accuracy, fallsAtMost } from '../../metrics.js';
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
export function normBefore(method: string, victim: Pick<Model, 'name'>, site: string | undefined): string {
  if (site === undefined || !SITE.test(site)) {
    const message = `${method}: ${victim.name} has no batch norm before ${site ?? 'a ReLU'}, and ${method} prunes by its scale: take a method that does not prune`;
    throw new PadFtError('ERR_MODEL', message, { details: { site: site ?? null } });
  }
  return site.replace(SITE, 'bn$1');
}

const SITE = /relu(\d+)$/;

/** Refuses a model of whose sites one has no batch norm before it, or that has none. ERR_MODEL */
export function requireNorms(method: string, victim: Pick<Model, 'name' | 'sites'>): void {
  const sites = victim.sites.length === 0 ? [undefined] : victim.sites.map(({ name }) => name);
  for (const site of sites) normBefore(method, victim, site);
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
  const known = new Set(state.map(({ name }) => name));
  const unknown = [...doomed.keys()].find((name) => !known.has(name));
  if (unknown !== undefined) {
    throw new PadFtError('ERR_MODEL', `pruning: the model has no ${unknown}; take a method that does not prune`);
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
  /** Channels that are pruned. */
  readonly pruned: number;
  /** Which portion they are, counted from 1; 0 where even the first cost too much. */
  readonly portion: number;
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
  let kept = { channels: [] as readonly Channel[], portion: 0, accuracy: before };
  for (const [i, channels] of portions.entries()) {
    // Portions grow: as long as the last kept one is pruned no more than it.
    const grown = channels.length > kept.channels.length;
    if (grown) await model.loadState(prunedState(state, channels, kinds));
    const now = grown ? await accuracyNow() : kept.accuracy;
    if (!fallsAtMost(before, now, maxAccDrop)) break;
    kept = { channels, portion: i + 1, accuracy: now };
  }
  await model.loadState(prunedState(state, kept.channels, kinds));
  return { pruned: kept.channels.length, portion: kept.portion, before, after: kept.accuracy };
}
