import { createHash } from 'node:crypto';
import { PadFtError, withMemory } from '../errors.js';
import { counted } from '../formats/plural.js';
import { safeText } from '../formats/terminal.js';
import type { ImageSet } from './image-set.js';

/** 32 × 32 pixels in three planes: what follows the label bytes in every record. */
export const CIFAR_IMAGE_BYTES = 3 * 32 * 32;

/** One binary file of the official distribution. */
export interface CifarMember {
  readonly file: string;
  readonly rows: number;
  readonly sha256: string;
}

/**
 * A CIFAR data set in its official binary form: records of `labelBytes` label bytes and 3072 pixel bytes
 * (the red plane, then green, then blue, row-major), without any header.
 */
export interface CifarFormat {
  readonly name: string;
  readonly url: string;
  readonly archive: { readonly file: string; readonly bytes: number; readonly sha256: string };
  /** The folder inside the archive, and the one people have after unpacking it. */
  readonly folder: string;
  readonly labelBytes: number;
  /** Which of the label bytes is the label used here. */
  readonly labelIndex: number;
  readonly classNames: readonly string[];
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly flip: boolean;
  readonly train: readonly CifarMember[];
  readonly test: readonly CifarMember[];
}

/** What a file was, for the run card. */
export interface CifarFileRecord {
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
}

export function memberBytes(format: CifarFormat, member: CifarMember): number {
  return member.rows * (format.labelBytes + CIFAR_IMAGE_BYTES);
}

/** The rows of one split that are kept: the first `count` of all its members' rows. */
export class CifarSplit {
  readonly images: Uint8Array;
  readonly labels: Int32Array;
  readonly #format: CifarFormat;
  readonly #members: readonly CifarMember[];

  constructor(format: CifarFormat, members: readonly CifarMember[], limit: number) {
    const count = Math.min(
      limit,
      members.reduce((sum, member) => sum + member.rows, 0),
    );
    this.#format = format;
    this.#members = members;
    this.images = withMemory(() => new Uint8Array(count * CIFAR_IMAGE_BYTES));
    this.labels = new Int32Array(count);
  }

  /** Each member with the row its first record lands in; those past the last kept row are not needed. */
  *layout(): Iterable<{ readonly member: CifarMember; readonly firstRow: number; readonly needed: boolean }> {
    let firstRow = 0;
    for (const member of this.#members) {
      yield { member, firstRow, needed: firstRow < this.labels.length };
      firstRow += member.rows;
    }
  }

  toImageSet(): ImageSet {
    const shape = { count: this.labels.length, channels: 3, height: 32, width: 32 };
    const classes = this.#format.classNames.length;
    return { images: this.images, labels: this.labels, shape: { ...shape, classes } };
  }
}

/** Decodes one member from chunks cut anywhere, straight into its split, and checks it at the end. */
export class CifarMemberReader {
  readonly #format: CifarFormat;
  readonly #member: CifarMember;
  readonly #split: CifarSplit;
  readonly #firstRow: number;
  readonly #path: string;
  readonly #hash = createHash('sha256');
  #position = 0;
  #wrongLabel: string | undefined;

  /** `path` names the member in messages: a file's path, or the archive's with the member behind it. */
  constructor(format: CifarFormat, member: CifarMember, split: CifarSplit, firstRow: number, path: string) {
    this.#format = format;
    this.#member = member;
    this.#split = split;
    this.#firstRow = firstRow;
    this.#path = path;
  }

  push(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    const { labelBytes, labelIndex } = this.#format;
    const recordBytes = labelBytes + CIFAR_IMAGE_BYTES;
    for (let at = 0; at < chunk.byteLength; ) {
      const row = this.#firstRow + Math.floor(this.#position / recordBytes);
      const offset = this.#position % recordBytes;
      const end = offset < labelBytes ? offset + 1 : recordBytes;
      const run = Math.min(end - offset, chunk.byteLength - at);
      if (row < this.#split.labels.length) {
        if (offset === labelIndex) this.#takeLabel(row, chunk[at]!);
        if (offset >= labelBytes) {
          this.#split.images.set(chunk.subarray(at, at + run), row * CIFAR_IMAGE_BYTES + offset - labelBytes);
        }
      }
      at += run;
      this.#position += run;
    }
  }

  /**
   * The member has ended: its size, its SHA-256 (when `verify`) and its labels must be right.
   *
   * @throws PadFtError ERR_FILE_FORMAT, ERR_CHECKSUM, ERR_DATA
   */
  finish(verify: boolean): CifarFileRecord {
    checkMemberSize(this.#format, this.#member, this.#path, this.#position);
    const sha256 = this.#hash.digest('hex');
    if (verify && sha256 !== this.#member.sha256) {
      throw checksumError(this.#path, this.#member.sha256, sha256);
    }
    if (this.#wrongLabel !== undefined) {
      const expected = `labels from 0 to ${this.#format.classNames.length - 1}`;
      const message = `${safeText(this.#path)}: expected ${expected}, got ${this.#wrongLabel}`;
      throw new PadFtError('ERR_DATA', message, { details: { path: this.#path, expected, got: this.#wrongLabel } });
    }
    return { file: this.#member.file, bytes: this.#position, sha256 };
  }

  #takeLabel(row: number, label: number): void {
    this.#split.labels[row] = label;
    if (label >= this.#format.classNames.length) this.#wrongLabel ??= `${label} in record ${row - this.#firstRow}`;
  }
}

/** @throws PadFtError ERR_FILE_FORMAT when a member is not exactly as large as the official one. */
export function checkMemberSize(format: CifarFormat, member: CifarMember, path: string, got: number): void {
  const expected = memberBytes(format, member);
  if (got === expected) return;
  const message =
    `${safeText(path)}: expected exactly ${expected} bytes (${counted(member.rows, 'record')}), got ${got}: ` +
    `this is not the official ${format.name} binary file, or it is incomplete; unpack ${format.archive.file} again`;
  throw new PadFtError('ERR_FILE_FORMAT', message, { details: { path, expected, got } });
}

/** One shape for every file whose bytes are not the pinned ones. */
export function checksumError(path: string, expected: string, got: string): PadFtError {
  const message =
    `${safeText(path)}: SHA-256 is ${got}, expected ${expected}: the file is damaged or is not the official one; ` +
    'delete it and get it again, or switch `verify` off to use it as it is';
  return new PadFtError('ERR_CHECKSUM', message, { details: { path, expected, got } });
}
