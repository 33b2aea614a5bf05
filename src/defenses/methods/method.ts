import type { Dataset } from '../../dataset.js';
import { PadFtError } from '../../errors.js';
import { counted } from '../../formats/plural.js';
import { type EvaluationOptions, MODEL_NAMES, Model } from '../../model.js';
import { choice } from '../../options.js';
import { streamSeed } from '../../random.js';
import type { Given } from '../given.js';

/** What a method may look at. No ground truth, by construction; `clean` are images known to be clean, if it was given any. */
export interface MethodInput {
  readonly victim: Model;
  /** Null for a method that does not need it. */
  readonly training: Dataset | null;
  readonly clean: Dataset | null;
  /** Whether a mirrored image keeps its class. */
  readonly flip: boolean;
  readonly seed: number;
  readonly evaluation: EvaluationOptions;
}

/** What `fits` may look at; `evaluation` where it has to ask the victim. */
export type FitInput = Pick<MethodInput, 'victim' | 'training' | 'clean'> & Partial<Pick<MethodInput, 'evaluation'>>;

/** What a method hands back: a model of its own, never the victim itself. Dispose of it. */
export interface MethodOutcome {
  readonly model: Model;
  /** What it did, in a sentence. */
  readonly said: string;
  /** Its own figures, for the card: JSON. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** What there is to work on, for an estimate: rows of the training set, clean images (0 for a method that gets none). */
export interface GivenSizes {
  readonly rows: number;
  readonly clean: number;
  readonly classes: number;
}

/** Another way to repair a victim, to compare with. */
export interface Method<Settings extends object = object> {
  readonly name: string;
  readonly title: string;
  /** Authors, title, year. */
  readonly paper: string;
  /** What it cannot do without. `shape`: it trains a network anew and takes none of the victim's weights. */
  readonly needs: {
    readonly victim: NonNullable<Given['victim']>;
    readonly training: boolean;
    readonly clean: boolean;
  };
  /** In what arithmetic it computes, besides evaluation's: whether it trains, scores rows, fits a classifier or bounds. */
  readonly computes: readonly ('training' | 'scoring' | 'fitting')[];
  readonly defaults: Settings;
  /** In words, for the command line. */
  readonly help: { readonly [K in keyof Settings]: string };
  /** What may be said of the settings that are a word. */
  readonly words?: { readonly [K in keyof Settings]?: readonly string[] } | undefined;
  /** ERR_OPTION naming the first field out of range. */
  readonly check: (settings: Settings) => void;
  /** Refuses what does not fit the victim or the data, before anything is written. */
  readonly fits?: ((input: FitInput, settings: Settings) => void | Promise<void>) | undefined;
  /** Raised when the same settings would make something else than before: no cached result is taken over then. Left out at first. */
  readonly revision?: number | undefined;
  /** What was in effect before a setting was there: cards that lack it mean that. */
  readonly earlier?: Partial<Settings> | undefined;
  /** Settings of PAD-FT that it works by, besides its own: a cached result depends on them too. */
  readonly basis?: ((seed: number) => unknown) | undefined;
  /** In which it differs from how it is commonly run, for those who compare tables. */
  readonly note?: string | undefined;
  /** About what it costs, in forward units. */
  readonly units: (settings: Settings, given: GivenSizes) => number;
  readonly run: (input: MethodInput, settings: Settings) => Promise<MethodOutcome>;
}

/**
 * Works on a model of the method's own, and disposes of it when the work fails: what is handed back is whole. Await it:
 * what the work uses must not be disposed of before it is done.
 */
export async function workOn(model: Model, work: () => Promise<Omit<MethodOutcome, 'model'>>): Promise<MethodOutcome> {
  try {
    return { model, ...(await work()) };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/**
 * Runs a part of the core that names its options by words of its own: an error then names the method's option,
 * `ft.learningRate` and not `train.learningRate`.
 */
export async function naming<T>(options: Readonly<Record<string, string>>, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof PadFtError) || error.code !== 'ERR_NUMERIC') throw error;
    const message = Object.entries(options).reduce((text, [own, name]) => text.replaceAll(own, name), error.message);
    if (message === error.message) throw error;
    const named = new PadFtError(error.code, message, { cause: error, details: error.details });
    // Whose call it was, as the first error says it.
    if (error.stack !== undefined) named.stack = error.stack.replace(error.message, message);
    throw named;
  }
}

/**
 * The clean images of a method that needs them.
 *
 * @throws PadFtError ERR_OPTION without any, ERR_DATA when a class has none
 */
export function requireClean(
  method: Pick<Method, 'name'>,
  { clean, victim }: Pick<MethodInput, 'clean' | 'victim'>,
): Dataset {
  // Undefined too, from plain JavaScript.
  if (clean == null) {
    const message = `clean: ${method.name} needs images known to be clean: name a folder of them, or take a method that needs none`;
    throw new PadFtError('ERR_OPTION', message, { details: { path: 'clean', method: method.name } });
  }
  const missing = labelsWithout(clean, victim.classes);
  if (missing.length > 0) {
    const [first] = missing;
    const message = `clean: ${counted(missing.length, 'class', 'classes')} of ${victim.classes} without an image (${first} is the first): ${method.name} would unlearn what it never sees; add images of every class`;
    throw new PadFtError('ERR_DATA', message, { details: { missing } });
  }
  return clean;
}

/**
 * Refuses a model without the sites that a method works on.
 *
 * @throws PadFtError ERR_MODEL naming the first that is missing
 */
export function requireSites(
  { name }: Pick<Method, 'name'>,
  victim: Pick<Model, 'name' | 'sites'>,
  wanted: readonly string[],
): void {
  const known = new Set(victim.sites.map((site) => site.name));
  const missing = wanted.filter((site) => !known.has(site));
  if (missing.length === 0) return;
  const message = `${name}: ${victim.name} has no site ${missing[0]}, and ${name} works on ${wanted.join(', ')}: take another method`;
  throw new PadFtError('ERR_MODEL', message, { details: { missing } });
}

/** Those of 0 … classes − 1 that no row is labelled. */
export function labelsWithout(data: Dataset, classes: number): readonly number[] {
  const seen = new Set(data.labels());
  return Array.from({ length: classes }, (_, label) => label).filter((label) => !seen.has(label));
}

/** Refuses a training set of which a class has no row: what is trained on it would never name that class. ERR_DATA */
export function requireEveryClass({ name }: Pick<Method, 'name'>, training: Dataset): void {
  const missing = labelsWithout(training, training.classes);
  if (missing.length === 0) return;
  const message = `training: ${counted(missing.length, 'class', 'classes')} of ${training.classes} without a row (${missing[0]} is the first): what ${name} trains would never name it; add rows, or take a method that works on clean images`;
  throw new PadFtError('ERR_DATA', message, { details: { missing, method: name } });
}

/** The training set of a method that works on it. ERR_OPTION without one. */
export function requireTraining({ name }: Pick<Method, 'name'>, { training }: Pick<MethodInput, 'training'>): Dataset {
  if (training === null) throw new PadFtError('ERR_OPTION', `training: ${name} works on the training set; give it`);
  return training;
}

/**
 * A network of the victim's shape with new weights, on its device: what a method trains that does not trust the victim's.
 * A stream of its own: of `init` the victim's own first weights may be.
 */
export function newLike({ name, classes, width, mean, std, device }: Model, seed: number): Model {
  const own = { classes, width, mean, std, device, seed: streamSeed(seed, 'anew') };
  return Model.create({ ...own, name: choice('model', name, MODEL_NAMES) });
}
