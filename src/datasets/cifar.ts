import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { invalidOption, PadFtError } from '../errors.js';
import { describeFileProblem, openRegularFile } from '../formats/file-problem.js';
import { safeText } from '../formats/terminal.js';
import { readCifarArchive } from './cifar-archive.js';
import {
  type CifarFileRecord,
  type CifarFormat,
  CifarMemberReader,
  CifarSplit,
  checkMemberSize,
  memberBytes,
} from './cifar-format.js';
import { DatasetOptionReader } from './dataset-options.js';
import { type LoadContext, throwIfAborted } from './dataset-source.js';
import { downloadPinned } from './download.js';
import { checkImageSet, type DatasetPair } from './image-set.js';

export interface CifarOptions {
  /**
   * The folder with the .bin files, the folder that holds it, or the official .tar.gz.
   * Defaults to the cache: `$PAD_FT_DATA`, else `~/.cache/pad-ft`.
   */
  readonly path?: string;
  /** Fetch the archive into the cache when it is not there. Defaults to false. */
  readonly download?: boolean;
  /** Compare every file with its pinned SHA-256. Sizes and labels are checked in any case. Defaults to true. */
  readonly verify?: boolean;
  /** Keep only the first rows of a split, for quick runs. Defaults to all. */
  readonly limit?: { readonly train?: number; readonly test?: number };
}

type Place = { readonly kind: 'folder' | 'archive'; readonly path: string };

/** Where downloads are kept: `$PAD_FT_DATA`, else `~/.cache/pad-ft`. */
export function cacheFolder(): string {
  return process.env.PAD_FT_DATA || join(homedir(), '.cache', 'pad-ft');
}

/**
 * Loads a CIFAR data set from its official binary form.
 *
 * @throws PadFtError ERR_OPTION, ERR_FILE_MISSING, ERR_FILE_FORMAT, ERR_CHECKSUM, ERR_DOWNLOAD, ERR_DATA, ERR_ABORTED
 */
export async function loadCifar(
  format: CifarFormat,
  given: Partial<CifarOptions>,
  context: LoadContext = {},
): Promise<DatasetPair> {
  const options = parse(format, given);
  const place =
    options.path === undefined ? await findInCache(format, options, context) : await find(format, options.path);
  const train = new CifarSplit(format, format.train, options.trainRows);
  const test = new CifarSplit(format, format.test, options.testRows);
  const files =
    place.kind === 'archive'
      ? await readCifarArchive(place.path, format, [train, test], options.verify, context)
      : await readFolder(place.path, format, [train, test], options.verify, context);
  const pair: DatasetPair = {
    name: format.name,
    classNames: format.classNames,
    mean: format.mean,
    std: format.std,
    flip: format.flip,
    train: train.toImageSet(),
    test: test.toImageSet(),
    provenance: {
      source: place.kind,
      files,
      verified: options.verify,
      rows: { train: train.labels.length, test: test.labels.length },
    },
  };
  checkImageSet(pair.train, place.path);
  checkImageSet(pair.test, place.path);
  return pair;
}

/**
 * Looks whether a CIFAR data set is where the options have it; nothing is read or fetched.
 *
 * @throws PadFtError ERR_OPTION, ERR_FILE_MISSING
 */
export async function locateCifar(format: CifarFormat, given: Partial<CifarOptions>): Promise<void> {
  const options = parse(format, given);
  if (options.path !== undefined) await find(format, options.path);
  else if (!options.download) await findInCache(format, options, {});
}

interface ParsedOptions {
  readonly path: string | undefined;
  readonly download: boolean;
  readonly verify: boolean;
  readonly trainRows: number;
  readonly testRows: number;
}

function parse(format: CifarFormat, given: unknown): ParsedOptions {
  const reader = new DatasetOptionReader(`dataset.${format.name}`, given);
  const path = reader.filePath('path');
  const download = reader.boolean('download', false);
  const verify = reader.boolean('verify', true);
  const limit = reader.group('limit');
  const trainRows = limit.integer('train', Number.MAX_SAFE_INTEGER, 1, Number.MAX_SAFE_INTEGER);
  const testRows = limit.integer('test', Number.MAX_SAFE_INTEGER, 1, Number.MAX_SAFE_INTEGER);
  limit.done();
  reader.done();
  if (download && path !== undefined) {
    throw invalidOption(`dataset.${format.name}.download`, 'to be left out when a path is given', download);
  }
  return { path, download, verify, trainRows, testRows };
}

/** What the user named: a folder (itself or its parent) or the archive. */
async function find(format: CifarFormat, path: string): Promise<Place> {
  const info = await stat(path).catch((error: unknown) => {
    throw missing(format, path, describeFileProblem(error), error);
  });
  if (info.isDirectory()) {
    const place = await findIn(format, path);
    if (place === undefined) throw missing(format, path, `it holds no ${format.train[0]?.file ?? 'data'}`);
    return place;
  }
  if (info.isFile()) return { kind: 'archive', path };
  throw missing(format, path, 'it is neither a folder nor a regular file');
}

async function findIn(format: CifarFormat, folder: string): Promise<Place | undefined> {
  const first = format.train[0]?.file ?? '';
  if (await exists(join(folder, first))) return { kind: 'folder', path: folder };
  const inner = join(folder, format.folder);
  if (await exists(join(inner, first))) return { kind: 'folder', path: inner };
  const archive = join(folder, format.archive.file);
  return (await exists(archive)) ? { kind: 'archive', path: archive } : undefined;
}

async function findInCache(format: CifarFormat, options: ParsedOptions, context: LoadContext): Promise<Place> {
  const cache = cacheFolder();
  const place = await findIn(format, cache);
  if (place !== undefined) return place;
  const path = join(cache, format.archive.file);
  if (!options.download) throw missing(format, cache, `there is neither ${format.archive.file} nor ${format.folder}`);
  const { bytes, sha256 } = format.archive;
  await downloadPinned({ url: format.url, path, bytes, sha256 }, context);
  return { kind: 'archive', path };
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function readFolder(
  folder: string,
  format: CifarFormat,
  splits: readonly CifarSplit[],
  verify: boolean,
  context: LoadContext,
): Promise<readonly CifarFileRecord[]> {
  const needed = splits.flatMap((split) =>
    [...split.layout()].filter((part) => part.needed).map((part) => ({ split, ...part })),
  );
  const total = needed.reduce((sum, { member }) => sum + memberBytes(format, member), 0);
  const records: CifarFileRecord[] = [];
  let done = 0;
  for (const { split, member, firstRow } of needed) {
    const path = join(folder, member.file);
    const reader = new CifarMemberReader(format, member, split, firstRow, path);
    const handle = await openRegularFile(path);
    try {
      checkMemberSize(format, member, path, (await handle.stat()).size);
      for await (const chunk of handle.createReadStream({ autoClose: false, highWaterMark: 1 << 20 })) {
        throwIfAborted(context.signal, `dataset.${format.name}`);
        reader.push(chunk);
        done += chunk.byteLength;
        context.onProgress?.({ stage: 'read', done, total });
      }
    } catch (error) {
      throw error instanceof PadFtError ? error : missing(format, path, describeFileProblem(error), error);
    } finally {
      await handle.close();
    }
    records.push(reader.finish(verify));
  }
  return records;
}

function missing(format: CifarFormat, path: string, problem: string, cause?: unknown): PadFtError {
  const message =
    `${path}: expected the official ${format.name} binary files, but ${problem}. Give the folder ${format.folder}, ` +
    `its parent or ${format.archive.file} as the path (\`--path\`), or have it fetched from ${format.url} (\`--download\`)`;
  return new PadFtError('ERR_FILE_MISSING', safeText(message), {
    details: { path, name: basename(path), problem },
    cause,
  });
}
