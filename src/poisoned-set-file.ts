import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Dataset } from './dataset.js';
import { checkImageSet, type ImageSet } from './datasets/image-set.js';
import type { Device } from './device.js';
import { PadFtError } from './errors.js';
import { type WrittenFile, writeJsonAtomic } from './formats/atomic-file.js';
import { sayWhatToDo } from './formats/file-problem.js';
import { openFolder, removeFile, requireFolder } from './formats/folder.js';
import { readJsonFile } from './formats/json-file.js';
import {
  checkFile,
  checkJson,
  count,
  finite,
  flag,
  listOf,
  object,
  oneOf,
  positive,
  record,
  sha256,
  text,
  wrong,
} from './formats/json-shape.js';
import { counted } from './formats/plural.js';
import { parseSafetensors, type SafetensorsFile, writeSafetensors } from './formats/safetensors.js';
import { sha256Hex } from './formats/sha256.js';
import { safeText } from './formats/terminal.js';
import { readWhole } from './formats/whole-file.js';
import { type RunContext, throwIfAborted } from './native/job.js';
import { PoisonedSet, trigger } from './poisoned-set.js';
import { copyOf, parseTruth, TRUTH_FILE, writeTruth } from './truth-file.js';
import { VERSION } from './version.js';

/**
 * A poisoned set as a folder. `train.safetensors` is what a defender has; without `test.safetensors` and
 * `truth.safetensors` the folder still defends, only nothing can be judged. `manifest.json` is written last and names
 * every file with its SHA-256.
 */
export const MANIFEST_FILE = 'manifest.json';
export const TRAIN_FILE = 'train.safetensors';
const TEST_FILE = 'test.safetensors';

interface FolderManifest {
  readonly kind: 'pad-ft-poisoned-set';
  readonly version: 1;
  /** Version of this package. */
  readonly tool: string;
  readonly dataset: {
    readonly name: string;
    readonly classNames: readonly string[];
    readonly mean: readonly number[];
    readonly std: readonly number[];
    readonly flip: boolean;
    /** Of the clean data. */
    readonly provenance: Readonly<Record<string, unknown>>;
  };
  readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
}

const checkManifest = object<FolderManifest>({
  kind: oneOf(['pad-ft-poisoned-set']),
  version: oneOf([1]),
  tool: text,
  dataset: object<FolderManifest['dataset']>({
    name: text,
    classNames: listOf(text),
    mean: listOf(finite),
    std: listOf(positive),
    flip: flag,
    provenance: record,
  }),
  files: listOf(object<FolderManifest['files'][number]>({ path: text, bytes: count, sha256 })),
});

/** What a defender has: images, given labels, and what a network needs to know about them. No ground truth. */
export interface TrainingData extends Disposable {
  readonly name: string;
  readonly classNames: readonly string[];
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly flip: boolean;
  /** Of the clean data. */
  readonly provenance: Readonly<Record<string, unknown>>;
  readonly train: Dataset;
  /** Of the file that holds images and labels, lower-case hexadecimal. */
  readonly sha256: string;
  /** True when the manifest also names the test set and the ground truth, and they are there: `loadPoisonedSet` reads it. */
  readonly judged: boolean;
}

export interface LoadFolderOptions extends RunContext {
  readonly device?: Device | undefined;
}

/**
 * Writes a poisoned set into a folder, which is made when it is not there.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function savePoisonedSet(set: PoisonedSet, folder: string): Promise<void> {
  await openFolder(folder, [TRAIN_FILE, TEST_FILE, TRUTH_FILE, MANIFEST_FILE]);
  // Without its manifest a half-written folder is not mistaken for a finished one.
  await removeFile(join(folder, MANIFEST_FILE));
  const { name, classNames, mean, std, flip } = set;
  const written: [path: string, file: WrittenFile][] = [
    [TRAIN_FILE, await writeImages(join(folder, TRAIN_FILE), set.train)],
    [TEST_FILE, await writeImages(join(folder, TEST_FILE), set.test)],
    [TRUTH_FILE, await writeTruth(join(folder, TRUTH_FILE), set.truth, set.manifest)],
  ];
  const manifest: FolderManifest = {
    kind: 'pad-ft-poisoned-set',
    version: 1,
    tool: VERSION,
    dataset: {
      name,
      classNames,
      mean,
      std,
      flip,
      provenance: checkJson(record, set.manifest.dataset.provenance, { file: 'provenance', path: '' }),
    },
    files: written.map(([path, { bytes, sha256 }]) => ({ path, bytes, sha256 })),
  };
  await writeJsonAtomic(join(folder, MANIFEST_FILE), manifest);
}

/** What a network and a reader need to know of a training set. */
export type TrainingSubjectInfo = Pick<TrainingData, 'name' | 'classNames' | 'mean' | 'std' | 'flip'>;

/**
 * Writes a training set of your own into a folder that `pad-ft defend` takes, which is made when it is not there; what
 * an earlier set left in it goes. `mean` and `std` (> 0) are what `pad-ft train` gives a network, a number a channel,
 * of pixels in [0, 1]; `classNames` are two or more; `flip` says whether a mirrored image keeps its class.
 *
 * @throws PadFtError ERR_DATA when these do not fit the images or are out of range, ERR_FILE_WRITE
 */
export async function saveTrainingData(folder: string, data: Dataset, about: TrainingSubjectInfo): Promise<void> {
  const { name, classNames, mean, std, flip } = about;
  const { classes, channels } = data.shape;
  const wrongCount = (what: string, expected: number, got: number) =>
    new PadFtError('ERR_DATA', `${what}: expected ${expected}, as the images have, got ${got}`, {
      details: { expected, got },
    });
  if (classNames.length !== classes) throw wrongCount('classNames', classes, classNames.length);
  if (classes < 2) throw new PadFtError('ERR_DATA', `classNames: expected at least two classes, got ${classes}`);
  const bad = mean.find((value) => !Number.isFinite(value)) ?? std.find((value) => !(value > 0 && value < 1e6));
  if (bad !== undefined) {
    throw new PadFtError('ERR_DATA', `mean, std: expected finite numbers, std above 0, got ${bad}`, {
      details: { mean, std },
    });
  }
  for (const [what, values] of [
    ['mean', mean],
    ['std', std],
  ] as const)
    if (values.length !== channels) throw wrongCount(what, channels, values.length);
  await openFolder(folder, [TRAIN_FILE, MANIFEST_FILE]);
  // The manifest first: without it nothing here is a training set.
  for (const file of [MANIFEST_FILE, TEST_FILE, TRUTH_FILE]) await removeFile(join(folder, file));
  const written = await writeImages(join(folder, TRAIN_FILE), data);
  const manifest: FolderManifest = {
    kind: 'pad-ft-poisoned-set',
    version: 1,
    tool: VERSION,
    dataset: { name, classNames, mean, std, flip, provenance: {} },
    files: [{ path: TRAIN_FILE, bytes: written.bytes, sha256: written.sha256 }],
  };
  await writeJsonAtomic(join(folder, MANIFEST_FILE), manifest);
}

/**
 * Loads a folder written by `savePoisonedSet`, ground truth included; the triggered test set is drawn again.
 *
 * @throws PadFtError ERR_FILE_MISSING, ERR_FILE_FORMAT, ERR_CHECKSUM, ERR_DATA, ERR_DEVICE, ERR_OOM, ERR_ABORTED
 */
export async function loadPoisonedSet(folder: string, options: LoadFolderOptions = {}): Promise<PoisonedSet> {
  const manifest = await readManifest(folder);
  const {
    truth,
    manifest: poison,
    policy,
  } = parseTruth(await readChecked(folder, manifest, TRUTH_FILE), join(folder, TRUTH_FILE));
  const made: Dataset[] = [];
  try {
    const train = await loadImages(folder, manifest, TRAIN_FILE, options);
    made.push(train);
    if (train.count !== poison.dataset.rows || sha256Hex(train.labels()) !== poison.labelsSha256) {
      throw new PadFtError(
        'ERR_CHECKSUM',
        safeText(`${join(folder, TRUTH_FILE)}: it belongs to other training labels than ${TRAIN_FILE} holds`),
        {
          details: { path: join(folder, TRUTH_FILE) },
        },
      );
    }
    const test = await loadImages(folder, manifest, TEST_FILE, options);
    made.push(test);
    const triggered = truth.trigger === null ? null : await trigger(test, truth.trigger, options);
    const { name, classNames, mean, std, flip } = manifest.dataset;
    return new PoisonedSet({
      name,
      classNames,
      mean,
      std,
      flip,
      train,
      test,
      triggered,
      policy,
      truth,
      manifest: poison,
      recipe: null,
    });
  } catch (error) {
    for (const data of made) data.dispose();
    throw error;
  }
}

/**
 * True when the manifest names a test set or a ground truth, whether or not they are there: a folder that lost one is
 * damaged, and not one of images alone.
 *
 * @throws PadFtError ERR_FILE_MISSING, ERR_FILE_FORMAT
 */
export async function namesTruth(folder: string): Promise<boolean> {
  const { files } = await readManifest(folder);
  return files.some(({ path }) => path === TEST_FILE || path === TRUTH_FILE);
}

/**
 * Loads what a defender has and reads nothing else.
 *
 * @throws PadFtError ERR_FILE_MISSING, ERR_FILE_FORMAT, ERR_CHECKSUM, ERR_DATA, ERR_DEVICE, ERR_OOM, ERR_ABORTED
 */
export async function loadTrainingData(folder: string, options: LoadFolderOptions = {}): Promise<TrainingData> {
  const manifest = await readManifest(folder);
  const train = await loadImages(folder, manifest, TRAIN_FILE, options);
  // A file that the manifest does not name is not of this set, whatever it is called.
  const listed = new Set(manifest.files.map(({ path }) => path));
  const judged = [TEST_FILE, TRUTH_FILE].every((name) => listed.has(name) && existsSync(join(folder, name)));
  const sha256 = manifest.files.find(({ path }) => path === TRAIN_FILE)?.sha256 ?? '';
  return { ...manifest.dataset, train, sha256, judged, [Symbol.dispose]: () => train.dispose() };
}

function writeImages(path: string, data: Dataset): Promise<WrittenFile> {
  const { count: rows, channels, height, width, classes } = data.shape;
  const labels = data.labels();
  return writeSafetensors(
    path,
    [
      {
        name: 'images',
        dtype: 'U8',
        shape: [rows, channels, height, width],
        data: data.images(Uint32Array.from({ length: rows }, (_, row) => row)),
      },
      {
        name: 'labels',
        dtype: 'I32',
        shape: [rows],
        data: new Uint8Array(labels.buffer, labels.byteOffset, labels.byteLength),
      },
    ],
    { 'pad-ft.classes': String(classes) },
  );
}

async function loadImages(
  folder: string,
  manifest: FolderManifest,
  name: string,
  options: LoadFolderOptions,
): Promise<Dataset> {
  throwIfAborted(options.signal);
  const path = join(folder, name);
  const { classNames, mean } = manifest.dataset;
  const set = parseImages(await readChecked(folder, manifest, name), classNames.length, path);
  checkImageSet(set, path, `, as many as ${MANIFEST_FILE} has dataset.classNames`);
  const { count: rows, channels, height, width } = set.shape;
  if (channels !== mean.length && width === mean.length) {
    const found = `${rows} × ${channels} × ${height} × ${width}`;
    const expected = `rows × ${mean.length} channels × height × width`;
    const message =
      `${path}: images: expected ${expected}, got ${found}: these have their channels last; ` +
      'from numpy, save np.ascontiguousarray(images.transpose(0, 3, 1, 2))';
    throw new PadFtError('ERR_FILE_FORMAT', safeText(message), { details: { path, expected, got: found } });
  }
  if (channels !== mean.length) {
    const at = { file: join(folder, MANIFEST_FILE), path: 'dataset.mean' };
    throw wrong(at, `a number for each of the ${channels} channels of ${name}`, mean);
  }
  return Dataset.from(set, options.device);
}

function parseImages({ tensors }: SafetensorsFile, classes: number, path: string): ImageSet {
  const images = tensors.get('images');
  const labels = tensors.get('labels');
  const [rows, channels, height, width] = images?.shape ?? [];
  if (
    images?.dtype !== 'U8' ||
    images.shape.length !== 4 ||
    labels?.dtype !== 'I32' ||
    labels.shape.length !== 1 ||
    rows === undefined ||
    channels === undefined ||
    height === undefined ||
    width === undefined
  ) {
    const expected = 'tensors images (U8, rows × channels × height × width) and labels (I32, rows)';
    const shapes = Array.from(tensors, ([name, { dtype, shape }]) => `${name} (${[dtype, ...shape].join(', ')})`);
    const got = shapes.length === 0 ? 'none' : shapes.slice(0, 4).join(', ');
    const advice = [
      ...(images !== undefined && images.dtype !== 'U8'
        ? ['pixels are whole numbers from 0 to 255, not normalised']
        : []),
      ...(labels !== undefined && labels.dtype !== 'I32' ? ['from numpy, labels.astype(np.int32)'] : []),
    ];
    const message = [`${path}: expected ${expected}, got ${got}`, ...advice].join('; ');
    throw new PadFtError('ERR_FILE_FORMAT', safeText(message), {
      details: { path, expected, got },
    });
  }
  const shape = { count: rows, channels, height, width, classes };
  return { images: images.data, labels: new Int32Array(copyOf(labels)), shape };
}

async function readManifest(folder: string): Promise<FolderManifest> {
  const path = join(folder, MANIFEST_FILE);
  await requireFolder(
    folder,
    'name the folder of a training set, one of your own or of `pad-ft poison --dataset NAME --out FOLDER`',
  );
  const manifest = checkFile(
    checkManifest,
    await readJsonFile(path).catch(
      sayWhatToDo({
        ENOENT: existsSync(join(folder, TRAIN_FILE))
          ? `${TRAIN_FILE} is there; a set of your own needs both: see Your own model in README.md`
          : `a training set has one: make the set with \`pad-ft poison --dataset NAME --out FOLDER\``,
      }),
    ),
    path,
  );
  const { classNames, mean, std } = manifest.dataset;
  const at = (field: string) => ({ file: path, path: `dataset.${field}` });
  if (classNames.length < 2) throw wrong(at('classNames'), 'at least two names', classNames);
  if (std.length !== mean.length) throw wrong(at('std'), `as many numbers as mean has (${mean.length})`, std);
  return manifest;
}

/** Reads one of the folder's files once: the bytes that are compared with the manifest are the bytes that are used. */
async function readChecked(folder: string, manifest: FolderManifest, name: string): Promise<SafetensorsFile> {
  const path = join(folder, name);
  const listed = manifest.files.find((file) => file.path === name);
  if (listed === undefined) {
    const use =
      name === TRAIN_FILE
        ? ''
        : '; images of which only the accuracy is to be measured go into a folder of their own, as train.safetensors';
    throw new PadFtError(
      'ERR_FILE_FORMAT',
      safeText(
        `${join(folder, MANIFEST_FILE)}: files: expected ${name} among them, got ${counted(manifest.files.length, 'other')}${use}`,
      ),
      {
        details: { path: join(folder, MANIFEST_FILE), name },
      },
    );
  }
  const bytes = await readWhole(path);
  const found = sha256Hex(bytes);
  if (found !== listed.sha256) {
    throw new PadFtError(
      'ERR_CHECKSUM',
      safeText(
        `${path}: expected SHA-256 ${listed.sha256}, as ${MANIFEST_FILE} says, got ${found}: the file was changed`,
      ),
      {
        details: { path, expected: listed.sha256, got: found },
      },
    );
  }
  return parseSafetensors(bytes, path);
}
