import { type Command, Option } from 'commander';
import type { DatasetSource } from '../datasets/dataset-source.js';
import type { DatasetPair } from '../datasets/image-set.js';
import { DATASETS, type DatasetName, type LoadContext } from '../datasets/index.js';
import { SYNTHETIC_DEFAULTS } from '../datasets/synthetic.js';
import { PadFtError } from '../errors.js';
import { parseInteger } from './options.js';
import type { Session } from './session.js';

export const DATASET_NAMES = Object.keys(DATASETS) as readonly DatasetName[];

const HEADING = 'Data set:';

/** What `addDatasetFlags` parses to. */
export interface DatasetFlags {
  readonly path?: string;
  readonly download?: boolean;
  readonly trainRows?: number;
  readonly testRows?: number;
  readonly classes?: number;
  readonly dataSeed?: number;
}

/** A data set by name with its own options, as the library takes them. */
export interface DatasetRequest {
  readonly name: DatasetName;
  readonly options: Readonly<Record<string, unknown>>;
}

/** `own`: what a command that has sizes of its own makes of the generated set when none are asked for. */
export function addDatasetFlags(command: Command, own: Readonly<Record<string, unknown>> = {}): Command {
  const { train, test, classes, seed } = { ...SYNTHETIC_DEFAULTS, ...own };
  const add = (option: Option) => command.addOption(option.helpGroup(HEADING));
  add(
    new Option(
      '--path <path>',
      'CIFAR: the folder with the .bin files, or the .tar.gz (default: $PAD_FT_DATA or ~/.cache/pad-ft)',
    ),
  );
  add(new Option('--download', 'CIFAR: fetch the official archive into the cache when it is not there'));
  add(
    new Option('--train-rows <count>', `training images (default: all; synthetic: ${train})`).argParser(
      parseInteger(1),
    ),
  );
  add(new Option('--test-rows <count>', `test images (default: all; synthetic: ${test})`).argParser(parseInteger(1)));
  add(new Option('--classes <count>', `synthetic: number of classes (default: ${classes})`).argParser(parseInteger(2)));
  add(
    new Option('--data-seed <number>', `synthetic: seed of the pictures (default: ${seed})`).argParser(parseInteger(0)),
  );
  return command;
}

/** `--dataset <name>`, for commands that take a data set as an option. */
export function datasetNameOption(help: string): Option {
  return new Option('--dataset <name>', help).choices(DATASET_NAMES).helpGroup(HEADING);
}

const GENERATED_ONLY = { classes: '--classes', dataSeed: '--data-seed' } as const;
const FILES_ONLY = { path: '--path', download: '--download' } as const;

/** The flags as the data set's own options. ERR_OPTION for a flag that this data set does not have. */
export function datasetRequest(name: DatasetName, flags: DatasetFlags): DatasetRequest {
  const generated = name === 'synthetic';
  for (const [key, flag] of Object.entries(generated ? FILES_ONLY : GENERATED_ONLY)) {
    if (Reflect.get(flags, key) === undefined) continue;
    throw new PadFtError('ERR_OPTION', `${flag}: the data set ${name} has no such option; leave it out`, {
      details: { path: flag, dataset: name },
    });
  }
  const rows = given({ train: flags.trainRows, test: flags.testRows });
  const options = generated
    ? { ...rows, ...given({ classes: flags.classes, seed: flags.dataSeed }) }
    : given({ path: flags.path, download: flags.download, limit: Object.keys(rows).length > 0 ? rows : undefined });
  return { name, options };
}

function given(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** Loads both sets, with progress. */
export async function loadRequested(session: Session, request: DatasetRequest): Promise<DatasetPair> {
  session.progress.stage(`load ${request.name}`);
  const context: LoadContext = {
    signal: session.signal,
    onProgress: ({ stage, done, total }) => session.progress.update(stage, done, total),
  };
  // Each source checks its own options at run time, so the table's common type may be the loose one.
  const source: DatasetSource<object> = DATASETS[request.name];
  const pair = await source.load(request.options, context);
  session.progress.end();
  return pair;
}
