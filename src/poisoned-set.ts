import type { BuiltAttack } from './attacks/attack.js';
import { type AttackName, findAttack } from './attacks/index.js';
import type { LabelPolicy, LabelPolicyName } from './attacks/labels.js';
import { type PoisonDraw, type PoisonManifest, type PoisonPlan, planPoison, poisonManifest } from './attacks/poison.js';
import type { Trigger } from './attacks/trigger.js';
import { Dataset } from './dataset.js';
import type { DatasetPair } from './datasets/image-set.js';
import type { Device } from './device.js';
import type { RunContext } from './native/job.js';
import { choice, withDefaults } from './options.js';
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

/** Which rows were poisoned, and how: what a defence never sees and a report is judged by. */
export interface GroundTruth {
  readonly poisoned: Uint32Array;
  /** The labels of those rows before, in the same order. */
  readonly originalLabels: Int32Array;
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
  const attack = findAttack(settings.attack ?? POISON_DEFAULTS.attack);
  const complete = withDefaults('attack', { ...POISON_DEFAULTS, policy: attack.policies[0] }, settings);
  choice('attack.policy', complete.policy, attack.policies);
  const built = attack.build(complete.attackOptions, pair.train.shape);
  const plan = planPoison({ ...complete, labels: pair.train.labels, classes: pair.train.shape.classes });
  const manifest = poisonManifest(
    VERSION,
    { name: pair.name, provenance: JSON.stringify(pair.provenance) },
    built,
    { ...complete, labels: pair.train.labels, classes: pair.train.shape.classes },
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
    const train = poisons ? await clean.withTrigger(plan.indices, built.trigger, plan.poisonedLabels, context) : clean;
    made.push(train);
    const test = Dataset.from(pair.test, context.device);
    made.push(test);
    const triggered = poisons ? await trigger(test, built.trigger, context) : null;
    const { name, classNames, mean, std, flip } = pair;
    const truth = {
      poisoned: plan.indices,
      originalLabels: plan.originalLabels,
      trigger: poisons ? built.trigger : null,
    };
    const policy = poisons ? plan.policy : null;
    if (train !== clean) clean.dispose();
    return new PoisonedSet({ name, classNames, mean, std, flip, train, test, triggered, policy, truth, manifest });
  } catch (error) {
    for (const data of made) data.dispose();
    clean.dispose();
    throw error;
  }
}

/** Every image of a test set with a trigger; labels stay the original ones. */
export function trigger(test: Dataset, drawn: Trigger, context: RunContext = {}): Promise<Dataset> {
  const rows = Uint32Array.from({ length: test.count }, (_, row) => row);
  return test.withTrigger(rows, drawn, test.labels(), context);
}
