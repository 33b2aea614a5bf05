import { describe, PadFtError } from '../errors.js';
import { type WrittenFile, writeFileAtomic } from './atomic-file.js';
import {
  checkMetadataValue,
  checkName,
  HeaderProblem,
  MAX_HEADER_BYTES,
  MAX_RANK,
  parseSafetensorsHeader,
  quote,
  SAFETENSORS_DTYPE_BITS,
  type SafetensorsDtype,
  tensorBytes,
} from './safetensors-header.js';
import { safeText } from './terminal.js';
import { readWhole } from './whole-file.js';

export type { SafetensorsDtype } from './safetensors-header.js';

/** A tensor's bytes: little-endian, row-major, contiguous. `data` may start at any address: copy before viewing it as floats. */
export interface SafetensorsTensor {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** A tensor with its name, as the writer takes it; a native `StateEntry` is one. */
export interface SafetensorsEntry extends SafetensorsTensor {
  readonly name: string;
}

/** Names are Map keys and nothing else: `__proto__` or `../../x` mean nothing special. */
export interface SafetensorsFile {
  /** In the order of the file's header. */
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Reads a safetensors file, never more leniently than the reference reader (huggingface/safetensors).
 *
 * @throws PadFtError ERR_FILE_MISSING when it is not a readable regular file, ERR_FILE_FORMAT when a rule is broken,
 * ERR_OOM
 */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  return parseSafetensors(await readWhole(path), path);
}

/**
 * Reads safetensors from memory; the tensors are views into `bytes`. `path` opens the messages.
 *
 * @throws PadFtError ERR_FILE_FORMAT
 */
export function parseSafetensors(bytes: Uint8Array, path = 'safetensors'): SafetensorsFile {
  try {
    return parse(bytes);
  } catch (error) {
    if (error instanceof HeaderProblem) throw formatError(path, error);
    throw error;
  }
}

/** What torch.save writes, by its first bytes; null for anything else. */
function otherFormat(bytes: Uint8Array): string | null {
  const [a, b, c, d] = bytes;
  if (a === 0x50 && b === 0x4b && c === 3 && d === 4) return 'a ZIP archive, as torch.save makes them';
  return a === 0x80 && (b === 2 || b === 4) && c === 0x8a ? 'a Python pickle, as torch.save once made them' : null;
}

function parse(given: Uint8Array): SafetensorsFile {
  // A plain view: slice() of a Node Buffer does not copy, so a tensor's `.buffer` would be the whole file.
  const bytes = new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
  if (bytes.byteLength < 8) throw new HeaderProblem('at least 8 bytes', `${bytes.byteLength}`);
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    const other = otherFormat(bytes);
    if (other !== null) {
      throw new HeaderProblem('a safetensors file', `${other}: save it with safetensors.torch.save_file from Python`);
    }
    throw new HeaderProblem(`a header of at most ${MAX_HEADER_BYTES} bytes`, `a length of ${length}`);
  }
  const start = 8 + Number(length);
  if (start > bytes.byteLength) {
    throw new HeaderProblem(`a header of ${length} bytes`, `only ${bytes.byteLength - 8} bytes after its length`);
  }
  const header = parseSafetensorsHeader(bytes.subarray(8, start), bytes.byteLength - start);
  const tensors = new Map<string, SafetensorsTensor>();
  for (const { name, dtype, shape, begin, end } of header.tensors) {
    const data = bytes.subarray(start + begin, start + end);
    checkBooleans(name, dtype, data);
    tensors.set(name, { dtype, shape, data });
  }
  return { tensors, metadata: header.metadata };
}

/**
 * Writes a safetensors file atomically, and reads it back with the reader above before it gets its name.
 * The same entries and metadata in the same order give the same bytes.
 *
 * @throws PadFtError ERR_FILE_FORMAT when an entry breaks a rule, ERR_FILE_WRITE when the file cannot be written
 */
export async function writeSafetensors(
  path: string,
  entries: Iterable<SafetensorsEntry>,
  metadata: ReadonlyMap<string, string> | Readonly<Record<string, string>> = new Map(),
): Promise<WrittenFile> {
  let chunks: readonly Uint8Array[];
  try {
    chunks = serialise(entries, metadata instanceof Map ? metadata : new Map(Object.entries(metadata)));
  } catch (error) {
    if (error instanceof HeaderProblem) throw formatError(path, error);
    throw error;
  }
  return writeFileAtomic(path, chunks, {
    verify: async (temporary) => {
      await readSafetensors(temporary);
    },
  });
}

/** Widest elements first, then by name, as the reference writer lays them out: every tensor is aligned. */
function serialise(entries: Iterable<SafetensorsEntry>, metadata: ReadonlyMap<string, string>): Uint8Array[] {
  const sorted = [...entries].sort(
    (a, b) => SAFETENSORS_DTYPE_BITS[b.dtype] - SAFETENSORS_DTYPE_BITS[a.dtype] || (a.name < b.name ? -1 : 1),
  );
  const fields: string[] = [];
  if (metadata.size > 0) fields.push(`"__metadata__":${serialiseMetadata(metadata)}`);
  const seen = new Set(['__metadata__']);
  let offset = 0;
  for (const entry of sorted) {
    if (seen.has(entry.name))
      throw new HeaderProblem('every tensor name once, and not __metadata__', quote(entry.name));
    seen.add(entry.name);
    checkEntry(entry);
    const { name, dtype, shape, data } = entry;
    const info = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(info)}`);
    offset += data.byteLength;
  }
  const json = Buffer.from(`{${fields.join(',')}}`);
  const header = Buffer.alloc(8 + Math.ceil(json.byteLength / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.byteLength - 8), 0);
  header.set(json, 8);
  return [header, ...sorted.map((entry) => entry.data)];
}

function serialiseMetadata(metadata: ReadonlyMap<string, string>): string {
  const fields = [...metadata].map(([key, value]) => {
    checkName(key, 'a metadata key');
    if (typeof value !== 'string') throw new HeaderProblem(`metadata ${quote(key)} to be a string`, describe(value));
    checkMetadataValue(key, value);
    return `${JSON.stringify(key)}:${JSON.stringify(value)}`;
  });
  return `{${fields.join(',')}}`;
}

function checkEntry({ name, dtype, shape, data }: SafetensorsEntry): void {
  checkName(name, 'a tensor name');
  if (!Object.hasOwn(SAFETENSORS_DTYPE_BITS, dtype)) {
    throw new HeaderProblem(`tensor ${quote(name)} with a known dtype`, describe(dtype));
  }
  if (shape.length > MAX_RANK || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new HeaderProblem(`tensor ${quote(name)} with at most ${MAX_RANK} sizes ≥ 0`, `[${shape.join(', ')}]`);
  }
  const bytes = tensorBytes(name, dtype, shape);
  if (data.byteLength !== bytes) {
    const expected = `tensor ${quote(name)} to hold ${bytes} bytes (${dtype} [${shape.join(', ')}])`;
    throw new HeaderProblem(expected, `${data.byteLength}`);
  }
  checkBooleans(name, dtype, data);
}

function checkBooleans(name: string, dtype: SafetensorsDtype, data: Uint8Array): void {
  if (dtype !== 'BOOL') return;
  const wrong = data.find((byte) => byte > 1);
  if (wrong !== undefined) throw new HeaderProblem(`BOOL tensor ${quote(name)} of bytes 0 and 1`, `${wrong}`);
}

function formatError(path: string, { expected, got }: HeaderProblem): PadFtError {
  const message = safeText(`${path}: not a valid safetensors file: expected ${expected}, got ${got}`);
  return new PadFtError('ERR_FILE_FORMAT', message, { details: { path, expected, got } });
}
