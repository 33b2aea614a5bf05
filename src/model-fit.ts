import type { Dataset } from './dataset.js';
import { PadFtError } from './errors.js';
import { counted } from './formats/plural.js';
import { safeText } from './formats/terminal.js';
import type { Model } from './model.js';
import type { Overruled } from './model-file.js';

/**
 * Refuses a model and a data set that do not belong together, in the words of whoever chose them: `path` is the model's
 * file, `source` the data's folder or name.
 *
 * @throws PadFtError ERR_MODEL
 */
export function requireFit(
  model: Pick<Model, 'classes' | 'mean'>,
  path: string,
  { shape }: Pick<Dataset, 'shape'>,
  source: string,
): void {
  const expected = { classes: model.classes, channels: model.mean.length };
  if (expected.classes === shape.classes && expected.channels === shape.channels) return;
  const got = { classes: shape.classes, channels: shape.channels };
  const message =
    `${path} was made for ${inWords(expected)}, and the data set ${source} has ${inWords(got)}: ` +
    'give the data set that the model was trained on, or the model that was trained on this data set';
  throw new PadFtError('ERR_MODEL', safeText(message), { details: { path, source, expected, got } });
}

function inWords({ classes, channels }: { readonly classes: number; readonly channels: number }): string {
  return `${counted(classes, 'class', 'classes')} and ${counted(channels, 'colour channel')}`;
}

/** What to tell whoever loaded a model whose tensors are not all numbers (`LoadedModel.nonFinite`); null when they are. */
export function nonFiniteWarning(path: string, tensors: readonly string[]): string | null {
  const [first, ...others] = tensors;
  if (first === undefined) return null;
  const more = others.length === 0 ? '' : ` and ${others.length} other tensors`;
  return safeText(`${path}: ${first}${more} hold NaN or infinity: the training that wrote it failed, or it is damaged`);
}

/** What to tell whoever gave a model another `mean` or `std` than its file states; null where they gave none. */
export function overruledWarning(path: string, overruled: Overruled): string | null {
  if (overruled.size === 0) return null;
  const own = Array.from(overruled, ([key, numbers]) => `${key} ${numbers.join(',')}`).join(' and ');
  const [what, used] = overruled.size === 1 ? ['what was given', 'is'] : ['those that were given', 'are'];
  const message = `${path} was saved with ${own}; ${what} instead ${used} used, so the model sees its input otherwise than in training`;
  return safeText(`${message}: leave ${[...overruled.keys()].join(' and ')} out unless that is meant`);
}
