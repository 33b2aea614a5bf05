import { invalidOption } from '../errors.js';
import { sha256Hex } from '../formats/sha256.js';
import type { LabelPolicyName } from './labels.js';
import { describeTrigger, type ImageShape, type Trigger, type TriggerDescription } from './trigger.js';

/** Where an attack was published. */
export interface PaperReference {
  readonly title: string;
  readonly authors: string;
  readonly year: number;
  /** e.g. `arXiv 1708.06733`. */
  readonly venue: string;
}

/** A number in [minimum, maximum], whole if `integer`; `exclusiveMinimum` leaves the lower end out. */
export interface NumberOption {
  readonly type: 'number';
  readonly integer: boolean;
  readonly minimum: number;
  readonly maximum: number;
  readonly exclusiveMinimum?: boolean;
  readonly default: number;
  readonly help: string;
}

/** An image given as raw uint8 values, C×H×W, the size of the data set's images; null draws the attack's own. */
export interface ImageOption {
  readonly type: 'image';
  readonly default: null;
  readonly help: string;
}

/** The schema entry that fits a value of type V. */
export type OptionFor<V> = [V] extends [number] ? NumberOption : [V] extends [Uint8Array | null] ? ImageOption : never;

/** One option with its name and its full path (`badnets.patchSize`), as a command line or a document lists it. */
export type AttackOption = (NumberOption | ImageOption) & { readonly name: string; readonly path: string };

/** Options as JSON for manifests and cards: an image is named by its length and SHA-256. */
export type JsonOptions = Readonly<Record<string, number | null | { readonly bytes: number; readonly sha256: string }>>;

/** How an attack's own training poisons every batch anew, from clean images. */
export interface PerBatch {
  /** Noise images for each poisoned one, ≥ 0. */
  readonly crossRatio: number;
  /** Largest angle of its augmentation, in degrees. */
  readonly rotation: number;
}

/** An attack made concrete for images of one shape. */
export interface BuiltAttack {
  readonly attack: string;
  readonly trigger: Trigger;
  /** What to call the trigger in reports, e.g. `synthetic trigger`. */
  readonly triggerName: string;
  readonly description: TriggerDescription;
  /** Every option used, defaults included. */
  readonly options: JsonOptions;
  /** Null for an attack that marks rows once; else a stored set is marked block by block (see `blockRows`). */
  readonly perBatch: PerBatch | null;
}

/**
 * An attack: a paper, typed options with their one set of defaults, and a trigger as data. Which rows are
 * poisoned and what they are labelled is decided elsewhere (`planPoison`), alike for every attack.
 */
export interface Attack<O extends object = object> {
  /** The name on the command line and in manifests. */
  readonly name: string;
  readonly title: string;
  readonly paper: PaperReference;
  readonly summary: string;
  /** The label policies it can follow, the usual one first. */
  readonly policies: readonly [LabelPolicyName, ...LabelPolicyName[]];
  /** True when it poisons training batches: no rows are drawn then, a stored set is marked block by block. */
  readonly poisonsBatches: boolean;
  readonly options: readonly AttackOption[];
  readonly defaults: Readonly<O>;
  /** What can be said without the images: ERR_OPTION for an unknown option or a value out of range. */
  check(options: Readonly<Partial<O>>): void;
  /**
   * The trigger for images of this shape; options left out take their defaults. `seed` feeds what an attack draws: an
   * integer ≥ 0, 0 when left out.
   * ERR_OPTION for an unknown option, a value out of range, or a trigger that does not fit the image.
   */
  build(options: Readonly<Partial<O>>, shape: ImageShape, seed?: number): BuiltAttack;
}

/** What an attack's file states; `defineAttack` adds defaults, validation and descriptions. */
export interface AttackDefinition<O extends object> {
  readonly name: string;
  readonly title: string;
  readonly paper: PaperReference;
  readonly summary: string;
  readonly policies: readonly [LabelPolicyName, ...LabelPolicyName[]];
  readonly options: { readonly [K in keyof O]-?: OptionFor<O[K]> };
  /** Draws the trigger from complete, checked options. May still throw ERR_OPTION where shape and options clash. */
  draw(
    options: Readonly<O>,
    shape: ImageShape,
    seed: number,
  ): { readonly trigger: Trigger; readonly triggerName: string };
  /** How its training poisons batches, from complete, checked options; left out by attacks that mark rows once. */
  perBatch?(options: Readonly<O>): PerBatch;
}

/** An attack from its definition. */
export function defineAttack<O extends object>(definition: AttackDefinition<O>): Attack<O> {
  const { name, title, paper, summary, policies } = definition;
  const options = Object.entries<NumberOption | ImageOption>(definition.options).map(([option, spec]) => ({
    ...spec,
    name: option,
    path: `${name}.${option}`,
  }));
  // Sound because the mapped type above ties each schema entry, and so its default, to the option's own type.
  const defaults = Object.freeze(Object.fromEntries(options.map((option) => [option.name, option.default])) as O);
  return {
    name,
    title,
    paper,
    summary,
    policies,
    poisonsBatches: definition.perBatch !== undefined,
    options,
    defaults,
    check: (given) => checkOptions(name, options, given),
    build(given, shape, seed = 0) {
      checkOptions(name, options, given);
      const complete: O = { ...defaults, ...withoutUndefined(given) };
      const { trigger, triggerName } = definition.draw(complete, shape, seed);
      const perBatch = definition.perBatch?.(complete) ?? null;
      const description = describeTrigger(trigger, shape);
      return { attack: name, trigger, triggerName, description, options: jsonOptions(complete), perBatch };
    },
  };
}

/** The range of a number option in words, for messages and help: `an integer in [1, 64]`. */
export function rangeOf(option: NumberOption): string {
  const kind = option.integer ? 'an integer' : 'a number';
  if (option.maximum === Number.POSITIVE_INFINITY) {
    return `${kind} ${option.exclusiveMinimum ? '>' : '≥'} ${option.minimum}`;
  }
  return `${kind} in ${option.exclusiveMinimum ? '(' : '['}${option.minimum}, ${option.maximum}]`;
}

function checkOptions(attack: string, options: readonly AttackOption[], given: object): void {
  for (const [name, value] of entriesOf(withoutUndefined(given))) {
    const option = options.find((candidate) => candidate.name === name);
    if (option === undefined) {
      const known = options.map((candidate) => candidate.name).join(', ');
      throw invalidOption(`${attack}.${name}`, `one of the options of ${attack} (${known})`, value);
    }
    if (option.type === 'number') checkNumber(option, value);
    else if (value !== null && !(value instanceof Uint8Array)) {
      throw invalidOption(option.path, 'raw image values (Uint8Array, C×H×W) or null', value);
    }
  }
}

function checkNumber(option: NumberOption & { readonly path: string }, value: unknown): void {
  const ok =
    typeof value === 'number' &&
    (option.exclusiveMinimum ? value > option.minimum : value >= option.minimum) &&
    value <= option.maximum &&
    (!option.integer || Number.isInteger(value));
  if (!ok) throw invalidOption(option.path, rangeOf(option), value);
}

/** An option set to undefined means "left out", as it does when a command line passes its parsed flags on. */
function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(entriesOf(options).filter(([, value]) => value !== undefined)) as T;
}

function entriesOf(options: object): [name: string, value: unknown][] {
  return Object.entries(options);
}

function jsonOptions(options: object): JsonOptions {
  return Object.fromEntries(
    entriesOf(options).map(([name, value]) => {
      if (value instanceof Uint8Array) return [name, { bytes: value.length, sha256: sha256Hex(value) }];
      if (typeof value === 'number' || value === null) return [name, value];
      throw invalidOption(name, 'a number, raw image values or null', value);
    }),
  );
}
