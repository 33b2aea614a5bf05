import { Argument, type Command } from 'commander';
import type { DatasetPair, ImageSet } from '../../datasets/image-set.js';
import type { DatasetName } from '../../datasets/index.js';
import { counted } from '../../formats/plural.js';
import { sha256Hex } from '../../formats/sha256.js';
import { safeText } from '../../formats/terminal.js';
import { addDatasetFlags, DATASET_NAMES, type DatasetFlags, datasetRequest, loadRequested } from '../dataset-flags.js';
import { addOutputFlags } from '../options.js';
import { checkSheet, imageAt, writeSheet } from '../preview.js';
import type { Run } from '../session.js';
import { textTable } from '../tables.js';

const COLUMNS = 10;

const EXAMPLES = `
Examples:
  $ pad-ft dataset cifar10 --download
  $ pad-ft dataset cifar10 --path ~/data/cifar-10-batches-bin --preview cifar10.png
  $ pad-ft dataset synthetic --train-rows 1000 --preview shapes.png`;

interface Flags extends DatasetFlags {
  readonly preview?: string;
}

export function define(command: Command, run: Run): void {
  command
    .description('Loads a data set, compares its files with their pinned SHA-256, and says what is in it.')
    .addArgument(new Argument('<name>', 'which data set').choices(DATASET_NAMES))
    .option('--preview <file>', `write a picture (.png or .ppm) with ${COLUMNS} training images of each class`)
    .addHelpText('after', EXAMPLES);
  addDatasetFlags(command);
  addOutputFlags(command).action((name: DatasetName, flags: Flags) =>
    run(async (session) => {
      if (flags.preview !== undefined) checkSheet(flags.preview);
      const pair = await loadRequested(session, datasetRequest(name, flags));
      if (flags.preview !== undefined) await writePreview(flags.preview, pair);
      const description = describe(pair);
      session.output.result({ dataset: description, preview: flags.preview ?? null }, format(pair, description));
      return undefined;
    }),
  );
}

interface Split {
  readonly rows: number;
  readonly perLabel: readonly number[];
  /** SHA-256 of the pixels, and of the labels as int32, little-endian. */
  readonly imagesSha256: string;
  readonly labelsSha256: string;
}

interface Description {
  readonly name: string;
  readonly shape: {
    readonly channels: number;
    readonly height: number;
    readonly width: number;
    readonly classes: number;
  };
  readonly classNames: readonly string[];
  readonly train: Split;
  readonly test: Split;
  readonly provenance: Readonly<Record<string, unknown>>;
}

function describe(pair: DatasetPair): Description {
  const { channels, height, width, classes } = pair.train.shape;
  return {
    name: pair.name,
    shape: { channels, height, width, classes },
    classNames: pair.classNames,
    train: split(pair.train),
    test: split(pair.test),
    provenance: pair.provenance,
  };
}

function split({ images, labels, shape }: ImageSet): Split {
  const perLabel = new Array<number>(shape.classes).fill(0);
  for (const label of labels) perLabel[label] = (perLabel[label] ?? 0) + 1;
  return { rows: shape.count, perLabel, imagesSha256: sha256Hex(images), labelsSha256: sha256Hex(labels) };
}

function format(pair: DatasetPair, { name, shape, train, test }: Description): string {
  const rows = pair.classNames.map((className, label) => [
    String(label),
    className,
    String(train.perLabel[label] ?? 0),
    String(test.perLabel[label] ?? 0),
  ]);
  return [
    `${safeText(name)}: ${train.rows} training and ${counted(test.rows, 'test image')}, ${shape.channels}×${shape.height}×${shape.width}, ${shape.classes} classes`,
    '',
    textTable(['label', 'class', 'training', 'test'], rows, [0, 2, 3]),
    '',
    `SHA-256 of the training images  ${train.imagesSha256}`,
    `SHA-256 of the training labels  ${train.labelsSha256}`,
    `SHA-256 of the test images      ${test.imagesSha256}`,
    `SHA-256 of the test labels      ${test.labelsSha256}`,
    '',
    `from ${safeText(JSON.stringify(pair.provenance))}`,
  ].join('\n');
}

async function writePreview(path: string, { train }: DatasetPair): Promise<void> {
  const perLabel: Uint8Array[][] = Array.from({ length: train.shape.classes }, () => []);
  const blank = new Uint8Array(train.shape.channels * train.shape.height * train.shape.width).fill(255);
  train.labels.forEach((label, row) => {
    const images = perLabel[label];
    if (images !== undefined && images.length < COLUMNS) images.push(imageAt(train.images, row, train.shape));
  });
  const cells = perLabel.flatMap((images) => Array.from({ length: COLUMNS }, (_, i) => images[i] ?? blank));
  await writeSheet(path, cells, train.shape, COLUMNS);
}
