import { parseStrictJson, type StrictJson, StrictJsonError, StrictNumber } from './strict-json.js';
import { isUnsafeText } from './terminal.js';

/** Bits of one element of each type we read and write. Types of less than a byte are refused. */
export const SAFETENSORS_DTYPE_BITS = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  I64: 64,
  U64: 64,
  F64: 64,
} as const;

export type SafetensorsDtype = keyof typeof SAFETENSORS_DTYPE_BITS;

/** The longest header the reference reader accepts, bytes. */
export const MAX_HEADER_BYTES = 100_000_000;
export const MAX_RANK = 16;

/** One tensor as the header describes it; offsets count from the end of the header. */
export interface TensorHeader {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of the header. */
  readonly tensors: readonly TensorHeader[];
  readonly metadata: ReadonlyMap<string, string>;
}

/** A broken rule: what the format demands and what the file holds. */
export class HeaderProblem extends Error {
  readonly expected: string;
  readonly got: string;

  constructor(expected: string, got: string) {
    super(`expected ${expected}, got ${got}`);
    this.expected = expected;
    this.got = got;
  }
}

/**
 * Reads the JSON header. `dataBytes` is how many bytes follow it in the file; the tensors must fill
 * them exactly, one after the other.
 *
 * @throws HeaderProblem
 */
export function parseSafetensorsHeader(bytes: Uint8Array, dataBytes: number): SafetensorsHeader {
  const root = parseHeaderJson(bytes);
  if (!(root instanceof Map)) throw new HeaderProblem('a JSON object as the header', kind(root));
  let metadata: ReadonlyMap<string, string> = new Map();
  const tensors: TensorHeader[] = [];
  for (const [name, entry] of root as ReadonlyMap<string, StrictJson>) {
    if (name === '__metadata__') metadata = parseMetadata(entry);
    else tensors.push(parseTensor(name, entry));
  }
  checkLayout(tensors, dataBytes);
  return { tensors, metadata };
}

/** Refuses names that are empty or that a terminal or a reader would not show as they are. */
export function checkName(name: string, what: string): void {
  if (name === '') throw new HeaderProblem(`${what} with at least one character`, 'an empty one');
  if (isUnsafeText(name)) {
    throw new HeaderProblem(`${what} without control, invisible and bidirectional characters`, quote(name));
  }
}

/** Metadata values may have several lines and joined letters; other unsafe characters have no business there. */
export function checkMetadataValue(key: string, value: string): void {
  if (isUnsafeText(value.replace(/[\t\n\r\u200c\u200d]/g, ''))) {
    throw new HeaderProblem(
      `metadata ${quote(key)} without control, invisible and bidirectional characters`,
      quote(value),
    );
  }
}

/**
 * Bytes of a tensor, with every step of the product checked against 2⁵³ − 1.
 *
 * @throws HeaderProblem
 */
export function tensorBytes(name: string, dtype: SafetensorsDtype, shape: readonly number[]): number {
  let count = 1;
  for (const size of shape) {
    count *= size;
    if (!Number.isSafeInteger(count))
      throw new HeaderProblem(`tensor ${quote(name)} with at most 2^53 − 1 elements`, 'more');
  }
  const bytes = count * (SAFETENSORS_DTYPE_BITS[dtype] / 8);
  if (!Number.isSafeInteger(bytes)) throw new HeaderProblem(`tensor ${quote(name)} of at most 2^53 − 1 bytes`, 'more');
  return bytes;
}

/** Untrusted text, shortened and quoted for a message. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}

function parseHeaderJson(bytes: Uint8Array): StrictJson {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new HeaderProblem('a header in UTF-8', 'bytes that are not');
  }
  if (!text.startsWith('{')) throw new HeaderProblem('a header that begins with "{"', quote(text.slice(0, 16)));
  try {
    return parseStrictJson(text, 4);
  } catch (error) {
    if (error instanceof StrictJsonError) throw new HeaderProblem('a strict JSON header', error.message);
    throw error;
  }
}

function parseMetadata(value: StrictJson): ReadonlyMap<string, string> {
  if (!(value instanceof Map)) throw new HeaderProblem('__metadata__ to be an object of strings', kind(value));
  const metadata = new Map<string, string>();
  for (const [key, text] of value as ReadonlyMap<string, StrictJson>) {
    checkName(key, 'a metadata key');
    if (typeof text !== 'string') throw new HeaderProblem(`metadata ${quote(key)} to be a string`, kind(text));
    checkMetadataValue(key, text);
    metadata.set(key, text);
  }
  return metadata;
}

function parseTensor(name: string, value: StrictJson): TensorHeader {
  checkName(name, 'a tensor name');
  const tensor = `tensor ${quote(name)}`;
  if (!(value instanceof Map)) {
    throw new HeaderProblem(`${tensor} to be an object with dtype, shape and data_offsets`, kind(value));
  }
  const fields = value as ReadonlyMap<string, StrictJson>;
  for (const field of fields.keys()) {
    if (field !== 'dtype' && field !== 'shape' && field !== 'data_offsets') {
      throw new HeaderProblem(`${tensor} with only dtype, shape and data_offsets`, `a field ${quote(field)}`);
    }
  }
  const dtype = fields.get('dtype');
  if (typeof dtype !== 'string' || !isDtype(dtype)) {
    const known = Object.keys(SAFETENSORS_DTYPE_BITS).join(', ');
    throw new HeaderProblem(
      `${tensor} with a dtype of ${known}`,
      typeof dtype === 'string' ? quote(dtype) : kind(dtype),
    );
  }
  const shape = integers(fields.get('shape'), `${tensor} with a shape`);
  if (shape.length > MAX_RANK)
    throw new HeaderProblem(`${tensor} with at most ${MAX_RANK} dimensions`, `${shape.length}`);
  const offsets = integers(fields.get('data_offsets'), `${tensor} with data_offsets`);
  const [begin, end] = offsets;
  if (begin === undefined || end === undefined || offsets.length !== 2 || end < begin) {
    throw new HeaderProblem(`${tensor} with data_offsets [begin, end], begin ≤ end`, `[${offsets.join(', ')}]`);
  }
  const bytes = tensorBytes(name, dtype, shape);
  if (end - begin !== bytes) {
    throw new HeaderProblem(`${tensor} to hold ${bytes} bytes (${dtype} [${shape.join(', ')}])`, `${end - begin}`);
  }
  return { name, dtype, shape, begin, end };
}

/** The reference's order: by begin, then by end, so that empty tensors may sit between the others. */
function checkLayout(tensors: readonly TensorHeader[], dataBytes: number): void {
  let filled = 0;
  for (const { name, begin, end } of [...tensors].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== filled) {
      const fault = begin > filled ? 'a hole' : 'an overlap';
      throw new HeaderProblem(`tensor ${quote(name)} to begin at offset ${filled}`, `${begin}, which leaves ${fault}`);
    }
    filled = end;
  }
  if (filled !== dataBytes) {
    const cut =
      dataBytes < filled ? `only ${dataBytes}: the file was cut off, copy or download it again` : `${dataBytes}`;
    throw new HeaderProblem(`${filled} bytes of tensor data after the header`, cut);
  }
}

function isDtype(text: string): text is SafetensorsDtype {
  return Object.hasOwn(SAFETENSORS_DTYPE_BITS, text);
}

function integers(value: StrictJson | undefined, what: string): readonly number[] {
  if (!Array.isArray(value)) throw new HeaderProblem(`${what}, an array of integers`, kind(value));
  return (value as readonly StrictJson[]).map((item) => {
    const integer = item instanceof StrictNumber ? item.integer : undefined;
    if (integer !== undefined) return integer;
    const got = item instanceof StrictNumber ? quote(item.text) : kind(item);
    throw new HeaderProblem(`${what} of plain integers in [0, 2^53 − 1]`, got);
  });
}

function kind(value: StrictJson | undefined): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Map) return 'an object';
  return value instanceof StrictNumber ? 'a number' : `a ${typeof value}`;
}
