import { createHash } from 'node:crypto';
import { Parser, type ReadEntry } from 'tar';
import { PadFtError } from '../errors.js';
import { describeFileProblem, openRegularFile } from '../formats/file-problem.js';
import { safeText } from '../formats/terminal.js';
import {
  type CifarFileRecord,
  type CifarFormat,
  CifarMemberReader,
  type CifarSplit,
  checkMemberSize,
  checksumError,
} from './cifar-format.js';
import { type LoadContext, throwIfAborted } from './dataset-source.js';

/** Read-me and class name files are small; nothing else belongs into the archive. */
const LARGEST_OTHER_ENTRY = 1 << 20;
const MOST_ENTRIES = 64;

/**
 * Streams the official .tar.gz once, without extracting anything: members go straight into their splits,
 * every other entry is skipped unread. With `verify` the archive itself must be the pinned one.
 *
 * @throws PadFtError ERR_FILE_MISSING, ERR_FILE_FORMAT, ERR_CHECKSUM, ERR_DATA, ERR_ABORTED
 */
export async function readCifarArchive(
  path: string,
  format: CifarFormat,
  splits: readonly CifarSplit[],
  verify: boolean,
  context: LoadContext,
): Promise<readonly CifarFileRecord[]> {
  const handle = await openRegularFile(path);
  try {
    const { size } = await handle.stat();
    checkArchiveSize(path, format, size, verify);
    const hash = createHash('sha256');
    const members = new ArchiveMembers(path, format, splits, verify);
    let done = 0;
    for await (const chunk of handle.createReadStream({ autoClose: false, highWaterMark: 1 << 18 })) {
      throwIfAborted(context.signal, `dataset.${format.name}`);
      hash.update(chunk);
      await members.write(chunk);
      done += chunk.byteLength;
      context.onProgress?.({ stage: 'read', done, total: size });
    }
    const sha256 = hash.digest('hex');
    // Whatever else is wrong with a damaged archive follows from this.
    if (verify && sha256 !== format.archive.sha256) throw checksumError(path, format.archive.sha256, sha256);
    return [{ file: format.archive.file, bytes: size, sha256 }, ...(await members.end())];
  } catch (error) {
    if (error instanceof PadFtError) throw error;
    throw archiveError(path, format, describeFileProblem(error), error);
  } finally {
    await handle.close();
  }
}

function checkArchiveSize(path: string, format: CifarFormat, size: number, verify: boolean): void {
  const { bytes } = format.archive;
  // Unverified archives may be packed differently, but not so as to keep us unpacking for hours.
  if (verify ? size === bytes : size <= 4 * bytes) return;
  const expected = verify ? `exactly ${bytes} bytes` : `at most ${4 * bytes} bytes`;
  const message =
    `${safeText(path)}: expected ${expected}, got ${size}: this is not ${format.archive.file}, or it is incomplete; ` +
    `get it from ${format.url}, or unpack it and give the folder`;
  throw new PadFtError('ERR_FILE_FORMAT', message, { details: { path, expected, got: size } });
}

/** Routes the entries of one archive. The first problem stops everything and is thrown by `write` or `end`. */
class ArchiveMembers {
  readonly #path: string;
  readonly #format: CifarFormat;
  readonly #verify: boolean;
  /** What is still to come, by its name in the archive. */
  readonly #awaited = new Map<string, { readonly split: CifarSplit; readonly index: number }>();
  readonly #records: CifarFileRecord[] = [];
  readonly #parser: Parser;
  readonly #ended: Promise<void>;
  #entries = 0;
  #problem: unknown;

  constructor(path: string, format: CifarFormat, splits: readonly CifarSplit[], verify: boolean) {
    this.#path = path;
    this.#format = format;
    this.#verify = verify;
    for (const split of splits) {
      for (const [index, { member }] of [...split.layout()].entries()) {
        this.#awaited.set(`${format.folder}/${member.file}`, { split, index });
      }
    }
    this.#parser = new Parser({ strict: true, onReadEntry: (entry) => this.#guard(() => this.#enter(entry), entry) });
    this.#ended = new Promise((resolve) => {
      this.#parser.on('end', resolve);
      // The listener stays: a second error without one would take the process down.
      this.#parser.on('error', (error) => {
        this.#problem ??= error;
        resolve();
      });
    });
  }

  async write(chunk: Buffer): Promise<void> {
    const ready = this.#parser.write(chunk);
    this.#throwProblem();
    if (ready) return;
    await Promise.race([new Promise<void>((resolve) => this.#parser.once('drain', resolve)), this.#ended]);
    this.#throwProblem();
  }

  async end(): Promise<readonly CifarFileRecord[]> {
    this.#parser.end();
    await this.#ended;
    this.#throwProblem();
    const [missing] = this.#awaited.keys();
    if (missing !== undefined) throw archiveError(this.#path, this.#format, `${missing} is not in it`);
    return this.#records;
  }

  #enter(entry: ReadEntry): void {
    const name = entry.path;
    if (++this.#entries > MOST_ENTRIES) throw this.#refuse(`more than ${MOST_ENTRIES} entries`);
    const awaited = this.#awaited.get(name);
    if (awaited === undefined) {
      if (this.#records.some((record) => name === `${this.#format.folder}/${record.file}`)) {
        throw this.#refuse(`${name} twice`);
      }
      if (entry.size > LARGEST_OTHER_ENTRY) throw this.#refuse(`an unknown entry ${name} of ${entry.size} bytes`);
      entry.resume();
      return;
    }
    if (entry.type !== 'File' && entry.type !== 'OldFile') throw this.#refuse(`${name} as a ${entry.type}`);
    const { member, firstRow } = [...awaited.split.layout()][awaited.index]!;
    const memberPath = `${this.#path}:${name}`;
    checkMemberSize(this.#format, member, memberPath, entry.size);
    this.#awaited.delete(name);
    const reader = new CifarMemberReader(this.#format, member, awaited.split, firstRow, memberPath);
    entry.on('data', (chunk) => this.#guard(() => reader.push(chunk), entry));
    entry.on('end', () => this.#guard(() => this.#records.push(reader.finish(this.#verify)), entry));
  }

  /** An exception inside the parser's callbacks would leave it half-way: note it, and let the parser run dry. */
  #guard(action: () => void, entry: ReadEntry): void {
    try {
      if (this.#problem === undefined) action();
    } catch (error) {
      this.#problem = error;
    }
    if (this.#problem !== undefined) entry.resume();
  }

  #throwProblem(): void {
    if (this.#problem !== undefined) throw this.#problem;
  }

  #refuse(got: string): PadFtError {
    return archiveError(this.#path, this.#format, `it holds ${got}`);
  }
}

function archiveError(path: string, format: CifarFormat, problem: string, cause?: unknown): PadFtError {
  const message =
    `${path}: expected the official ${format.archive.file} (gzip-compressed tar with ${format.folder}/), but ` +
    `${problem}; get it again from ${format.url}`;
  return new PadFtError('ERR_FILE_FORMAT', safeText(message), { details: { path, problem }, cause });
}
