import { type Precision, resolvePrecision } from '../../device.js';
import { invalidOption, PadFtError } from '../../errors.js';
import { fitGamma, gammaUpperTail } from '../../gamma.js';
import { MemoryWatch, type StageCost } from '../../memory.js';
import type { Model } from '../../model.js';
import { type RunContext, runJob } from '../../native/job.js';
import { integer, number, withDefaults } from '../../options.js';
import { streamSeed } from '../../random.js';
import type { Given } from '../given.js';

/**
 * MM-BD's detector: H. Wang, Z. Xiang, D. J. Miller, G. Kesidis, "MM-BD: Post-Training Detection of Backdoor Attacks with
 * Arbitrary Backdoor Pattern Types Using a Maximum Margin Statistic", IEEE S&P 2024. It looks at the model alone.
 */
export interface InspectSettings {
  /** Random starts of each class. */
  readonly images: number;
  /** Their height and width, pixels: what the model was trained on. */
  readonly imageSize: number;
  /** Of gradient ascent, at most. */
  readonly steps: number;
  readonly learningRate: number;
  /** A class is done when its margins, summed, change by less than this share in a step. */
  readonly tolerance: number;
  /** The model is called backdoored when the p-value is at most this. */
  readonly significance: number;
  readonly seed: number;
}

/** The published values. Its momentum of 0.2 has no effect there: a new optimizer is made for every step. */
export const INSPECT_DEFAULTS: InspectSettings = {
  images: 30,
  imageSize: 32,
  steps: 300,
  learningRate: 0.01,
  tolerance: 1e-5,
  significance: 0.05,
  seed: 0,
};

const MODEL_ALONE: Given = { victim: 'weights', training: null, clean: null };

export type InspectOptions = { readonly [K in keyof InspectSettings]?: InspectSettings[K] | undefined };

export interface InspectContext extends RunContext {
  readonly precision?: Precision | undefined;
}

export interface ClassMargin {
  readonly label: number;
  /** The largest logit of the class above the best other one, over images of any kind. */
  readonly margin: number;
  /** Steps of ascent until it stopped. */
  readonly steps: number;
}

export interface Inspection {
  readonly settings: InspectSettings;
  readonly labels: readonly ClassMargin[];
  /** Of the largest margin under the Gamma that the others follow: what a clean model gives by chance, in [0, 1]. */
  readonly pValue: number;
  /** The label of the largest margin when the p-value is at most `significance`; else null. */
  readonly target: number | null;
  /** One sentence. */
  readonly text: string;
}

/** What `inspect` found, with what it was given and what that cost. */
export interface InspectResult extends Inspection {
  readonly given: Given;
  /** Seconds and peak memory, one stage. */
  readonly costs: readonly StageCost[];
}

/** Of gradient ascent. */
export const MOST_STEPS = 1 << 20;
/** Fewer other classes do not fix three parameters. */
const LEAST_CLASSES = 4;

/** Complete, checked settings. ERR_OPTION names the first that is unknown, of the wrong type or out of range. */
export function inspectSettings(options: InspectOptions = {}): InspectSettings {
  const settings = withDefaults('inspect', INSPECT_DEFAULTS, options);
  integer('inspect.images', settings.images, 1, 1 << 16);
  integer('inspect.imageSize', settings.imageSize, 8, 1 << 12);
  integer('inspect.steps', settings.steps, 1, MOST_STEPS);
  if (!(settings.learningRate > 0)) throw invalidOption('inspect.learningRate', 'a number > 0', settings.learningRate);
  number('inspect.tolerance', settings.tolerance, 0, 1);
  number('inspect.significance', settings.significance, 0, 1);
  integer('inspect.seed', settings.seed, 0);
  return settings;
}

/**
 * Says whether a model looks backdoored, without any data: a backdoor lets some image drive its target class farther above
 * the others than any clean class goes. Progress in classes.
 *
 * @throws PadFtError ERR_OPTION, ERR_MODEL for fewer than 4 classes, ERR_NUMERIC, ERR_OOM, ERR_ABORTED
 */
export async function inspect(
  model: Model,
  options: InspectOptions = {},
  { signal, onProgress, precision = 'auto' }: InspectContext = {},
): Promise<InspectResult> {
  const settings = inspectSettings(options);
  requireInspectable(model);
  const { images, imageSize, steps, learningRate, tolerance, seed } = settings;
  const watch = new MemoryWatch(model.device);
  const found = await watch.measure('inspect', () =>
    runJob(signal, () =>
      model.native.maximumMargins(
        {
          images,
          height: imageSize,
          width: imageSize,
          steps,
          learningRate,
          tolerance,
          seed: streamSeed(seed, 'inspect'),
          precision: resolvePrecision(precision, model.device, 'evaluation'),
        },
        onProgress,
      ),
    ),
  );
  return { given: MODEL_ALONE, ...judgeMargins(found.margins, found.steps, settings), costs: watch.costs };
}

/** Refuses a model of too few classes. ERR_MODEL */
export function requireInspectable({ classes }: Pick<Model, 'classes'>): void {
  if (classes >= LEAST_CLASSES) return;
  throw new PadFtError(
    'ERR_MODEL',
    `MM-BD compares a class with the others and needs a model of at least ${LEAST_CLASSES} classes; this one has ${classes}`,
  );
}

/**
 * The verdict on one margin a class: p = 1 − H(r_max)^C, H the Gamma that the other C − 1 follow. The largest of the
 * others counts among them, as published.
 */
export function judgeMargins(
  margins: readonly number[],
  steps: ArrayLike<number>,
  settings: InspectSettings,
): Inspection {
  const largest = Math.max(...margins);
  const label = margins.indexOf(largest);
  const others = margins.filter((_, index) => index !== label);
  const gamma = fitGamma(others);
  // Margins that are all alike leave no room for chance.
  const tail = gamma === null ? Number(largest <= Math.max(...others)) : gammaUpperTail(gamma, largest);
  const pValue = -Math.expm1(margins.length * Math.log1p(-tail));
  const target = pValue <= settings.significance ? label : null;
  const labels = margins.map((margin, index) => ({ label: index, margin, steps: steps[index] as number }));
  const p = `p = ${pValue < 0.001 ? pValue.toExponential(1) : pValue.toFixed(3)}`;
  const text =
    target === null
      ? `no evidence of a backdoor (${p})`
      : `the model looks backdoored, target label ${target}: some image drives it ${largest.toFixed(1)} above every other class, ` +
        `the others reach ${Math.max(...others).toFixed(1)} at most (${p})`;
  const rising = labels.filter((each) => each.steps >= settings.steps).length;
  const unsettled =
    rising === 0 ? '' : `; ${rising} of ${labels.length} margins had not settled at step ${settings.steps}, the last`;
  return { settings, labels, pValue, target, text: `${text}${unsettled}` };
}
