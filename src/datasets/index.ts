import { invalidOption } from '../errors.js';
import type { CifarOptions } from './cifar.js';
import { cifar10 } from './cifar10.js';
import { cifar100 } from './cifar100.js';
import type { DatasetSource, LoadContext } from './dataset-source.js';
import type { DatasetPair } from './image-set.js';
import { type SyntheticOptions, synthetic } from './synthetic.js';

/** Every data set by its name. Adding one is a file and a line here. */
export const DATASETS = { cifar10, cifar100, synthetic } as const;

export type DatasetName = keyof typeof DATASETS;

/** The options each data set takes. */
export type DatasetOptions<Name extends DatasetName> =
  (typeof DATASETS)[Name] extends DatasetSource<infer Options> ? Partial<Options> : never;

export function isDatasetName(name: string): name is DatasetName {
  return Object.hasOwn(DATASETS, name);
}

/**
 * Loads the training and the test set of a data set by its name.
 *
 * @throws PadFtError ERR_OPTION for an unknown name or option; what the source throws otherwise
 */
export async function loadDatasetPair<Name extends DatasetName>(
  name: Name,
  options: DatasetOptions<Name> = {} as DatasetOptions<Name>,
  context: LoadContext = {},
): Promise<DatasetPair> {
  if (!isDatasetName(name)) throw invalidOption('dataset', `one of ${Object.keys(DATASETS).join(', ')}`, name);
  // Each source checks its own options at run time, so the table's common type may be the loose one.
  const source: DatasetSource<object> = DATASETS[name];
  return source.load(options, context);
}

export type { LoadProgress } from './dataset-source.js';
export { checkImageSet, type ImageSet } from './image-set.js';
export type { CifarOptions, DatasetPair, DatasetSource, LoadContext, SyntheticOptions };
