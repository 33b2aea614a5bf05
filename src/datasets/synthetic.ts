import { setImmediate } from 'node:timers/promises';
import { withMemory } from '../errors.js';
import { Random, streamSeed } from '../random.js';
import { DatasetOptionReader } from './dataset-options.js';
import { type DatasetSource, type LoadContext, throwIfAborted } from './dataset-source.js';
import { checkImageSet, type DatasetPair, type ImageSet } from './image-set.js';
import { SIDE, SyntheticRenderer } from './synthetic-render.js';
import { SHAPES } from './synthetic-shapes.js';

/** Raised whenever the same options would draw other pictures; a run card records it. */
const GENERATOR_VERSION = 1;

export interface SyntheticOptions {
  /** Root seed; the pictures come from its `data` stream. */
  readonly seed: number;
  /** Number of classes, one shape each, 2 to 16. */
  readonly classes: number;
  /** Number of training images. */
  readonly train: number;
  /** Number of test images. */
  readonly test: number;
}

export const SYNTHETIC_DEFAULTS: SyntheticOptions = { seed: 0, classes: 10, train: 6000, test: 2000 };

function parse(options: unknown): SyntheticOptions {
  const reader = new DatasetOptionReader('dataset.synthetic', options);
  const seed = reader.integer('seed', SYNTHETIC_DEFAULTS.seed, 0, Number.MAX_SAFE_INTEGER);
  const classes = reader.integer('classes', SYNTHETIC_DEFAULTS.classes, 2, SHAPES.length);
  const train = reader.integer('train', SYNTHETIC_DEFAULTS.train, classes, 500_000);
  const test = reader.integer('test', SYNTHETIC_DEFAULTS.test, classes, 500_000);
  reader.done();
  return { seed, classes, train, test };
}

async function load(given: Partial<SyntheticOptions>, context: LoadContext = {}): Promise<DatasetPair> {
  const options = parse(given);
  const { seed, classes } = options;
  const split = new Random(streamSeed(seed, 'data'));
  const trainSeed = split.uint32();
  const testSeed = split.uint32();
  const total = options.train + options.test;
  const train = await generate(options.train, classes, trainSeed, context, 0, total);
  const test = await generate(options.test, classes, testSeed, context, options.train, total);
  return {
    name: 'synthetic',
    classNames: SHAPES.slice(0, classes).map((shape) => shape.name),
    mean: [0.405, 0.405, 0.405],
    std: [0.208, 0.208, 0.208],
    flip: true,
    train,
    test,
    provenance: { generator: 'pad-ft synthetic shapes', version: GENERATOR_VERSION, ...options },
  };
}

/** Draws one split. A longer split starts with the very images of a shorter one. */
async function generate(
  count: number,
  classes: number,
  seed: number,
  { signal, onProgress }: LoadContext,
  before: number,
  total: number,
): Promise<ImageSet> {
  const random = new Random(seed);
  const renderer = new SyntheticRenderer(random);
  const shape = { count, channels: 3, height: SIDE, width: SIDE, classes };
  const images = withMemory(() => new Uint8Array(count * 3 * SIDE * SIDE));
  const labels = new Int32Array(count);
  let deck = random.permutation(classes);
  for (let row = 0; row < count; row++) {
    // Every `classes` rows hold each class once, in an order of their own: balanced, and so is every prefix.
    if (row > 0 && row % classes === 0) deck = random.permutation(classes);
    const label = deck[row % classes]!;
    labels[row] = label;
    renderer.draw(label, images, row * 3 * SIDE * SIDE);
    if (row % 256 === 255 || row === count - 1) {
      onProgress?.({ stage: 'generate', done: before + row + 1, total });
      await setImmediate();
      throwIfAborted(signal, 'dataset.synthetic');
    }
  }
  const set = { images, labels, shape };
  checkImageSet(set, 'dataset.synthetic');
  return set;
}

/** Shapes on cluttered grounds: made in a second, hard for a linear model, learnt by a thin network in a minute. */
export const synthetic: DatasetSource<SyntheticOptions> = {
  name: 'synthetic',
  summary: 'procedural 32×32 pictures of shapes on cluttered grounds; needs no files',
  paper: 'This package (no publication): a stand-in for CIFAR-10 where no data is at hand.',
  version: GENERATOR_VERSION,
  load,
};
