import { type Command, Option } from 'commander';
import type { DatasetName } from '../datasets/index.js';
import { PadFtError } from '../errors.js';
import { type PoisonedSet, poison } from '../poisoned-set.js';
import { loadPoisonedSet, loadTrainingData } from '../poisoned-set-file.js';
import {
  addDatasetFlags,
  type DatasetFlags,
  datasetNameOption,
  datasetRequest,
  loadRequested,
} from './dataset-flags.js';
import type { Compute, Session } from './session.js';

/** A training set as a network needs it, and the test sets when they are there. */
export interface TrainingSource extends Pick<PoisonedSet, 'name' | 'mean' | 'std' | 'flip' | 'train'>, Disposable {
  /** Null for a folder that holds nothing but the training set. */
  readonly judged: PoisonedSet | null;
}

/** What `addDataFlags` parses to. */
export interface DataFlags extends DatasetFlags {
  readonly data?: string;
  readonly dataset?: DatasetName;
}

/** `--data <folder>` or `--dataset <name>` with its flags. */
export function addDataFlags(command: Command): Command {
  command.addOption(
    new Option('--data <folder>', 'images and labels: what `pad-ft poison` wrote, or a folder of your own')
      .conflicts('dataset')
      .helpGroup('Data set:'),
  );
  command.addOption(datasetNameOption('a clean data set by name, instead'));
  return addDatasetFlags(command);
}

/** Opens what the flags name. ERR_OPTION when they name nothing; what the loaders throw otherwise. */
export async function openTrainingSource(
  session: Session,
  compute: Compute,
  flags: DataFlags,
): Promise<TrainingSource> {
  const { signal } = session;
  const { device } = compute;
  if (flags.dataset !== undefined) {
    const pair = await loadRequested(session, datasetRequest(flags.dataset, flags));
    return judgedSource(await poison(pair, { rate: 0 }, { device, signal }));
  }
  const folder = requireData(flags);
  session.progress.stage(`load ${folder}`);
  const data = await loadTrainingData(folder, { device, signal });
  if (!data.judged) return { ...pick(data), judged: null, [Symbol.dispose]: () => data[Symbol.dispose]() };
  data[Symbol.dispose]();
  return judgedSource(await loadPoisonedSet(folder, { device, signal }));
}

/** Refuses flags that do not go together, before anything is loaded. ERR_OPTION. */
export function checkDataFlags(flags: DataFlags): void {
  if (flags.dataset === undefined) requireData(flags);
  else datasetRequest(flags.dataset, flags);
}

/** The folder of `--data`. ERR_OPTION without one, or with flags that only a data set by name takes. */
export function requireData(flags: DataFlags): string {
  if (flags.data === undefined) {
    throw new PadFtError(
      'ERR_OPTION',
      '--data: expected the folder of a training set (make one with `pad-ft poison`), or --dataset and a name',
      {
        details: { path: '--data' },
      },
    );
  }
  const { path, download, trainRows, testRows, classes, dataSeed } = flags;
  if ([path, download, trainRows, testRows, classes, dataSeed].some((value) => value !== undefined)) {
    throw new PadFtError('ERR_OPTION', '--data takes the folder as it is: leave out the flags of a data set by name', {
      details: { path: '--data' },
    });
  }
  return flags.data;
}

function judgedSource(set: PoisonedSet): TrainingSource {
  return { ...pick(set), judged: set, [Symbol.dispose]: () => set.dispose() };
}

function pick({ name, mean, std, flip, train }: Pick<PoisonedSet, 'name' | 'mean' | 'std' | 'flip' | 'train'>) {
  return { name, mean, std, flip, train };
}
