import type { BuiltAttack } from './attacks/attack.js';
import { type AttackName, findAttack } from './attacks/index.js';
import { type LabelPolicy, type LabelPolicyName, targetOf } from './attacks/labels.js';
import {
  POISON_DRAWS,
  type PoisonDraw,
  type PoisonManifest,
  type PoisonPlan,
  planPoison,
  poisonManifest,
} from './attacks/poison.js';
import type { Trigger } from './attacks/trigger.js';
import { Dataset } from './dataset.js';
import type { DatasetPair } from './datasets/image-set.js';
import type { Device } from './device.js';
import { invalidOption } from './errors.js';
import type { WarpRecipe } from './native/contract.js';
import type { RunContext } from './native/job.js';
import { choice, integer, number, withDefaults } from './options.js';
import { streamSeed } from './random.js';
import { VERSION } from './version.js';

/** How a training set is poisoned. */
export interface PoisonSettings {
  readonly attack: AttackName;
  /** The attack's own options (`patchSize`, `alpha`, …); those left out take the attack's defaults. */
  readonly attackOptions: Readonly<Record<string, unknown>>;
  /** Share of all training rows, in [0, 1]. */
  readonly rate: number;
  /** One of the attack's; its first when left out. */
  readonly policy: LabelPolicyName;
  readonly target: number;
  readonly seed: number;
  /** Of rows; an attack that marks blocks of them (WaNet) takes the default alone. */
  readonly draw: PoisonDraw;
}

export const POISON_DEFAULTS: PoisonSettings = {
  attack: 'badnets',
  attackOptions: {},
  rate: 0.1,
  policy: 'all-to-one',
  target: 0,
  seed: 0,
  draw: 'uniform',
};

/**
 * Complete settings, checked as far as they can be before the data set is known. ERR_OPTION names the first that is
 * unknown or out of range.
 */
export function poisonSettings(given: Partial<PoisonSettings> = {}): PoisonSettings {
  const attack = findAttack(given.attack ?? POISON_DEFAULTS.attack);
  const settings = withDefaults('attack', { ...POISON_DEFAULTS, policy: attack.policies[0] }, given);
  attack.check(settings.attackOptions);
  choice('attack.policy', settings.policy, attack.policies);
  choice('attack.draw', settings.draw, POISON_DRAWS);
  // It would change nothing, and the manifest would say that it had.
  if (attack.poisonsBatches && settings.draw !== POISON_DEFAULTS.draw) {
    const expected = `it to be left out: ${attack.name} draws no rows, it marks blocks of them`;
    throw invalidOption('attack.draw', expected, settings.draw);
  }
  number('attack.rate', settings.rate, 0, 1);
  integer('attack.seed', settings.seed, 0);
  if (settings.policy !== 'all-to-all') integer('attack.target', settings.target, 0);
  return settings;
}

/** Which rows were poisoned, and how: what a defence never sees and a report is judged by. */
export interface GroundTruth {
  readonly poisoned: Uint32Array;
  /** The labels of those rows before, in the same order. */
  readonly originalLabels: Int32Array;
  /** Rows that the attack disturbed without poisoning them: their labels are right. Empty for most attacks. */
  readonly noise: Uint32Array;
  /** Null at rate 0. */
  readonly trigger: Trigger | null;
}

/** A poisoned training set and its test sets on a device, with everything needed to make it again. */
export class PoisonedSet implements Disposable {
  readonly name: string;
  readonly classNames: readonly string[];
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly flip: boolean;
  /** What the defender has: images and given labels. */
  readonly train: Dataset;
  readonly test: Dataset;
  /** Every test image with the trigger, labelled as before; null at rate 0. */
  readonly triggered: Dataset | null;
  readonly policy: LabelPolicy | null;
  readonly truth: GroundTruth;
  readonly manifest: PoisonManifest;
  /**
   * How to train a victim on the clean rows instead, every batch poisoned anew, as the attack was published. Null for
   * attacks that mark rows once, at rate 0, and for a set read from a folder, whose clean rows are not known.
   */
  readonly recipe: WarpRecipe | null;

  /** @internal Use `poison` or `loadPoisonedSet`. */
  constructor(parts: Omit<PoisonedSet, 'dispose' | typeof Symbol.dispose>) {
    this.name = parts.name;
    this.classNames = parts.classNames;
    this.mean = parts.mean;
    this.std = parts.std;
    this.flip = parts.flip;
    this.train = parts.train;
    this.test = parts.test;
    this.triggered = parts.triggered;
    this.policy = parts.policy;
    this.truth = parts.truth;
    this.manifest = parts.manifest;
    this.recipe = parts.recipe;
  }

  /** Frees the three data sets. */
  dispose(): void {
    this.train.dispose();
    this.test.dispose();
    this.triggered?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Poisons a training set: draws the rows, puts the trigger on them, relabels them by the policy (the attack's first when
 * none is given). Rate 0 gives the clean set.
 *
 * @throws PadFtError ERR_OPTION, ERR_DATA, ERR_DEVICE, ERR_OOM
 */
export async function poison(
  pair: DatasetPair,
  settings: Partial<PoisonSettings> = {},
  context: RunContext & { readonly device?: Device } = {},
): Promise<PoisonedSet> {
  const complete = poisonSettings(settings);
  const built = findAttack(complete.attack).build(complete.attackOptions, pair.train.shape, complete.seed);
  const { labels, shape } = pair.train;
  const options = { ...complete, labels, classes: shape.classes, perBatch: built.perBatch };
  const plan = planPoison(options);
  const manifest = poisonManifest(
    VERSION,
    { name: pair.name, provenance: JSON.stringify(pair.provenance) },
    built,
    options,
    plan,
  );
  return assemble(pair, built, plan, manifest, context);
}

async function assemble(
  pair: DatasetPair,
  built: BuiltAttack,
  plan: PoisonPlan,
  manifest: PoisonManifest,
  context: RunContext & { readonly device?: Device },
): Promise<PoisonedSet> {
  const clean = Dataset.from(pair.train, context.device);
  const made: Dataset[] = [];
  try {
    const poisons = plan.indices.length > 0;
    const train = poisons ? await mark(clean, built, plan, manifest.seed, context) : clean;
    made.push(train);
    const test = Dataset.from(pair.test, context.device);
    made.push(test);
    const triggered = poisons ? await trigger(test, built.trigger, context) : null;
    const { name, classNames, mean, std, flip } = pair;
    const truth = {
      poisoned: plan.indices,
      originalLabels: plan.originalLabels,
      noise: plan.noise,
      trigger: poisons ? built.trigger : null,
    };
    const policy = poisons ? plan.policy : null;
    const recipe = poisons ? recipeOf(built, plan, manifest.rate) : null;
    if (train !== clean) clean.dispose();
    const sets = { train, test, triggered };
    return new PoisonedSet({ name, classNames, mean, std, flip, ...sets, policy, truth, manifest, recipe });
  } catch (error) {
    for (const data of made) data.dispose();
    clean.dispose();
    throw error;
  }
}

/** The training set with the trigger on the planned rows, and noise on the noise rows. */
async function mark(
  clean: Dataset,
  { trigger }: BuiltAttack,
  plan: PoisonPlan,
  seed: number,
  context: RunContext,
): Promise<Dataset> {
  const marked = await clean.withTrigger(plan.indices, trigger, plan.poisonedLabels, context);
  if (trigger.kind !== 'warp' || plan.noise.length === 0) return marked;
  using _ = marked;
  return await marked.withNoiseWarp(plan.noise, { grid: trigger.grid, seed: streamSeed(seed, 'noise') }, context);
}

function recipeOf({ trigger, perBatch }: BuiltAttack, { policy }: PoisonPlan, rate: number): WarpRecipe | null {
  const target = targetOf(policy);
  if (trigger.kind !== 'warp' || perBatch === null || target === null) return null;
  return { rate, ...perBatch, target, grid: trigger.grid };
}

/** Every image of a test set with a trigger; labels stay the original ones. */
export function trigger(test: Dataset, drawn: Trigger, context: RunContext = {}): Promise<Dataset> {
  const rows = Uint32Array.from({ length: test.count }, (_, row) => row);
  return test.withTrigger(rows, drawn, test.labels(), context);
}
