import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  parseSafetensors,
  readSafetensors,
  type SafetensorsEntry,
  writeSafetensors,
} from '../../src/formats/safetensors.js';
import { isUnsafeText } from '../../src/formats/terminal.js';
import { Random } from '../../src/random.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pad-ft-safetensors-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A file made by hand: the header's text, `data` bytes behind it, and a length that may lie. */
function file(header: string | Uint8Array, data: number | Uint8Array = 0, length?: bigint): Uint8Array {
  const json = Buffer.from(header as string);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(length ?? BigInt(json.byteLength));
  return Buffer.concat([size, json, typeof data === 'number' ? Buffer.alloc(data) : data]);
}

const tensor = (dtype: string, shape: string, offsets: string) =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
const GOOD = tensor('F32', '[2,2]', '[0,16]');

const ENTRIES: readonly SafetensorsEntry[] = [
  { name: 'flag', dtype: 'BOOL', shape: [3], data: Uint8Array.of(0, 1, 1) },
  {
    name: 'conv1.weight',
    dtype: 'F32',
    shape: [2, 2],
    data: new Uint8Array(Float32Array.of(1, -2, NaN, Infinity).buffer),
  },
  { name: 'bn1.num_batches_tracked', dtype: 'I64', shape: [], data: new Uint8Array(BigInt64Array.of(7n).buffer) },
  { name: 'empty', dtype: 'F16', shape: [0, 5], data: new Uint8Array(0) },
  { name: '__proto__', dtype: 'U8', shape: [1], data: Uint8Array.of(9) },
  { name: '../../x', dtype: 'U8', shape: [2], data: Uint8Array.of(1, 2) },
  { name: 'constructor', dtype: 'BF16', shape: [1, 1, 1], data: Uint8Array.of(0x80, 0x3f) },
];

describe('round trip', () => {
  test('what was written is what is read, names being names and nothing else', async () => {
    const path = join(folder, 'model.safetensors');
    const metadata = new Map([
      ['format', 'pt'],
      ['__proto__', 'a "quoted" line\nand another'],
    ]);
    const { bytes } = await writeSafetensors(path, ENTRIES, metadata);
    expect(readFileSync(path).byteLength).toBe(bytes);
    const read = await readSafetensors(path);
    expect(read.metadata).toEqual(metadata);
    expect(new Set(read.tensors.keys())).toEqual(new Set(ENTRIES.map((entry) => entry.name)));
    for (const { name, dtype, shape, data } of ENTRIES) {
      const found = read.tensors.get(name);
      expect(found).toMatchObject({ dtype, shape });
      expect(Buffer.from(found?.data ?? [])).toEqual(Buffer.from(data));
    }
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
    expect(readdirSync(folder)).toEqual(['model.safetensors']);
  });

  test('the same entries give the same bytes in any order; widest elements come first and are aligned', async () => {
    const a = join(folder, 'a.safetensors');
    const b = join(folder, 'b.safetensors');
    await writeSafetensors(a, ENTRIES, { format: 'pt' });
    await writeSafetensors(b, [...ENTRIES].reverse(), { format: 'pt' });
    expect(readFileSync(a)).toEqual(readFileSync(b));
    expect(Number(readFileSync(a).readBigUInt64LE()) % 8).toBe(0);
    expect([...(await readSafetensors(a)).tensors.keys()][0]).toBe('bn1.num_batches_tracked');
  });

  test('no tensors, no metadata', async () => {
    const path = join(folder, 'none.safetensors');
    await writeSafetensors(path, []);
    expect((await readSafetensors(path)).tensors.size).toBe(0);
  });

  test('the reference layout: padding with spaces, metadata, an empty tensor between two others', () => {
    const parsed = parseSafetensors(
      file(
        `{"__metadata__":{"a":"b"},"z":${tensor('U8', '[2]', '[0,2]')},"e":${tensor('F32', '[0]', '[2,2]')},` +
          `"a":${tensor('I8', '[1]', '[2,3]')}}      `,
        Uint8Array.of(5, 6, 7),
      ),
    );
    expect([...(parsed.tensors.get('z')?.data ?? [])]).toEqual([5, 6]);
    expect([...(parsed.tensors.get('a')?.data ?? [])]).toEqual([7]);
  });
});

const MAX = 9007199254740991n;
const BROKEN: readonly [string, Uint8Array, RegExp][] = [
  ['shorter than 8 bytes', Uint8Array.of(1, 2, 3), /at least 8 bytes, got 3/],
  ['header longer than 100 MB', file('{}', 0, 100_000_001n), /at most 100000000 bytes/],
  ['header length of 2^64 − 1', file('{}', 0, 2n ** 64n - 1n), /at most 100000000 bytes/],
  ['header longer than the file', file('{}', 0, 3n), /only 2 bytes/],
  ['empty header', file(''), /begins with "\{"/],
  ['header that begins with a space', file(' {}'), /begins with "\{"/],
  ['header with a byte order mark', file('\ufeff{}'), /begins with "\{"/],
  ['header that is an array', file('[]'), /begins with "\{"/],
  ['invalid UTF-8', file(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), /UTF-8/],
  ['overlong UTF-8', file(Uint8Array.of(0x7b, 0x22, 0xc0, 0x80, 0x22, 0x7d)), /UTF-8/],
  ['broken JSON', file('{"a":'), /strict JSON/],
  ['text after the JSON', file('{}x'), /strict JSON/],
  ['deep nesting', file(`{"a":${'['.repeat(5000)}`), /nesting/],
  ['duplicate names', file(`{"a":${GOOD},"a":${GOOD}}`, 16), /duplicate key "a"/],
  ['duplicate names after unescaping', file(`{"a":${GOOD},"\\u0061":${GOOD}}`, 16), /duplicate key "a"/],
  ['duplicate metadata keys', file('{"__metadata__":{"k":"1","k":"1"}}'), /duplicate key "k"/],
  ['metadata twice', file('{"__metadata__":{},"__metadata__":{}}'), /duplicate key/],
  ['metadata that is null', file('{"__metadata__":null}'), /__metadata__ to be an object/],
  ['metadata of numbers', file('{"__metadata__":{"k":1}}'), /to be a string, got a number/],
  ['escape sequence in metadata', file('{"__metadata__":{"k":"\\u001b[2J"}}'), /control/],
  ['duplicate fields', file(`{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}`), /duplicate key/],
  ['unknown field', file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"extra":1}}`), /a field "extra"/],
  ['tensor given as an array', file('{"a":["U8",[0],[0,0]]}'), /to be an object with dtype/],
  ['tensor given as null', file('{"a":null}'), /got null/],
  ['missing dtype', file('{"a":{"shape":[0],"data_offsets":[0,0]}}'), /got nothing/],
  ['missing shape', file('{"a":{"dtype":"U8","data_offsets":[0,0]}}'), /got nothing/],
  ['missing offsets', file('{"a":{"dtype":"U8","shape":[0]}}'), /got nothing/],
  ['unknown dtype', file(`{"a":${tensor('F33', '[0]', '[0,0]')}}`), /got "F33"/],
  ['dtype of Object.prototype', file(`{"a":${tensor('toString', '[0]', '[0,0]')}}`), /got "toString"/],
  ['lower-case dtype', file(`{"a":${tensor('f32', '[0]', '[0,0]')}}`), /got "f32"/],
  ['float in the shape', file(`{"a":${tensor('U8', '[1.0]', '[0,1]')}}`, 1), /plain integers.*got "1.0"/],
  ['exponent in the shape', file(`{"a":${tensor('U8', '[1e0]', '[0,1]')}}`, 1), /got "1e0"/],
  ['negative size', file(`{"a":${tensor('U8', '[-1]', '[0,1]')}}`, 1), /got "-1"/],
  ['string in the shape', file(`{"a":${tensor('U8', '["1"]', '[0,1]')}}`, 1), /got a string/],
  ['dimension above 2^53 − 1', file(`{"a":${tensor('U8', `[0,${MAX + 1n}]`, '[0,0]')}}`), /2\^53/],
  [
    'rank above 16',
    file(`{"a":${tensor('U8', `[${Array(17).fill(1)}]`, '[0,1]')}}`, 1),
    /at most 16 dimensions, got 17/,
  ],
  ['element count that overflows', file(`{"a":${tensor('U8', `[${MAX},${MAX},0]`, '[0,0]')}}`), /elements/],
  ['byte count that overflows', file(`{"a":${tensor('F64', `[${MAX}]`, '[0,8]')}}`, 8), /bytes/],
  ['one offset', file(`{"a":${tensor('U8', '[1]', '[0]')}}`, 1), /\[begin, end\]/],
  ['three offsets', file(`{"a":${tensor('U8', '[1]', '[0,1,1]')}}`, 1), /\[begin, end\]/],
  ['end before begin', file(`{"a":${tensor('U8', '[1]', '[1,0]')}}`, 1), /begin ≤ end/],
  ['too few bytes for the shape', file(`{"a":${tensor('F32', '[2,2]', '[0,15]')}}`, 15), /16 bytes.*got 15/],
  ['too many bytes for the shape', file(`{"a":${tensor('F32', '[2,2]', '[0,17]')}}`, 17), /16 bytes.*got 17/],
  ['a hole at the start', file(`{"a":${tensor('U8', '[1]', '[1,2]')}}`, 2), /a hole/],
  ['a hole between', file(`{"a":${tensor('U8', '[1]', '[0,1]')},"b":${tensor('U8', '[1]', '[2,3]')}}`, 3), /a hole/],
  ['an overlap', file(`{"a":${tensor('U8', '[2]', '[0,2]')},"b":${tensor('U8', '[2]', '[1,3]')}}`, 3), /an overlap/],
  ['two tensors on the same bytes', file(`{"a":${GOOD},"b":${GOOD}}`, 16), /an overlap/],
  [
    'an empty tensor in the middle of another',
    file(`{"a":${GOOD},"b":${tensor('U8', '[0]', '[8,8]')}}`, 16),
    /overlap/,
  ],
  ['a truncated file', file(`{"a":${GOOD}}`, 15), /16 bytes of tensor data.*got only 15: the file was cut off/],
  ['trailing bytes', file(`{"a":${GOOD}}`, 17), /16 bytes of tensor data.*got 17/],
  ['trailing bytes and no tensors', file('{}', 1), /0 bytes of tensor data/],
  ['a BOOL of 2', file(`{"a":${tensor('BOOL', '[2]', '[0,2]')}}`, Uint8Array.of(1, 2)), /bytes 0 and 1, got 2/],
  ['an empty name', file(`{"":${GOOD}}`, 16), /at least one character/],
  ['a control character in a name', file(`{"a\\u0000":${GOOD}}`, 16), /without control/],
  ['a bidirectional override in a name', file(`{"a\u202e":${GOOD}}`, 16), /without control/],
  ['an empty metadata key', file('{"__metadata__":{"":"x"}}'), /at least one character/],
  ['a lone surrogate', file('{"__metadata__":{"k":"\\ud800"}}'), /lone surrogate/],
];

test.each(BROKEN)('refuses %s', (_, bytes, message) => {
  expect(() => parseSafetensors(bytes, '/tmp/x')).toThrow(message);
  expect(() => parseSafetensors(bytes, '/tmp/x')).toThrow(
    expect.objectContaining({ code: 'ERR_FILE_FORMAT', details: expect.objectContaining({ path: '/tmp/x' }) }),
  );
});

test.each([
  ['a ZIP archive, as torch.save makes them', [0x50, 0x4b, 3, 4, 0, 0, 8, 8, 0, 0]],
  ['a Python pickle, as torch.save once made them', [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20]],
])('says of %s what it is', (what, first) => {
  const told = `got ${what}: save it with safetensors.torch.save_file from Python`;
  expect(() => parseSafetensors(Uint8Array.from(first), 'victim.pth')).toThrow(told);
});

test('messages never carry raw control characters', () => {
  try {
    parseSafetensors(file(`{"\u202e\u009b31m":${GOOD}}`, 16), 'evil\u001b[2J');
    expect.unreachable();
  } catch (error) {
    expect(isUnsafeText((error as Error).message)).toBe(false);
  }
});

test('a bytes view that starts at an odd address is read', () => {
  const good = file(`{"a":${GOOD}}`, 16);
  const shifted = new Uint8Array(good.byteLength + 3);
  shifted.set(good, 3);
  expect(parseSafetensors(shifted.subarray(3)).tensors.get('a')?.data.byteLength).toBe(16);
});

test('mutated files are refused with a coded error or read whole, never anything else', async () => {
  const path = join(folder, 'seed.safetensors');
  await writeSafetensors(path, ENTRIES, { format: 'pt' });
  const good = readFileSync(path);
  const random = new Random(1);
  for (let round = 0; round < 4000; round++) {
    let bytes: Uint8Array = Uint8Array.from(good);
    for (let edit = random.below(4); edit >= 0; edit--) bytes[random.below(bytes.byteLength)] = random.below(256);
    if (random.below(4) === 0) bytes = bytes.subarray(0, random.below(bytes.byteLength));
    try {
      const { tensors } = parseSafetensors(bytes);
      let total = 0;
      for (const { data } of tensors.values()) total += data.byteLength;
      expect(total).toBe(
        bytes.byteLength - 8 - Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)),
      );
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_FILE_FORMAT' });
    }
  }
});

describe('files that are none', () => {
  test('missing, a folder, a FIFO', async () => {
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const path of [join(folder, 'nowhere'), folder, fifo]) {
      await expect(readSafetensors(path)).rejects.toMatchObject({ code: 'ERR_FILE_MISSING', details: { path } });
    }
    rmSync(fifo);
  });

  test('the error names the file', async () => {
    const path = join(folder, 'broken.safetensors');
    writeFileSync(path, 'not a model');
    await expect(readSafetensors(path)).rejects.toThrow(path);
  });
});

describe('the writer refuses', () => {
  const base: SafetensorsEntry = { name: 'a', dtype: 'U8', shape: [2], data: Uint8Array.of(1, 2) };
  test.each<[string, readonly SafetensorsEntry[], Record<string, string>, RegExp]>([
    ['a name twice', [base, base], {}, /every tensor name once/],
    ['__metadata__ as a name', [{ ...base, name: '__metadata__' }], {}, /every tensor name once/],
    ['an empty name', [{ ...base, name: '' }], {}, /at least one character/],
    ['a lone surrogate', [{ ...base, name: '\ud800' }], {}, /without control/],
    ['an unknown dtype', [{ ...base, dtype: 'X8' as 'U8' }], {}, /known dtype/],
    ['a fraction in the shape', [{ ...base, shape: [0.5, 4] }], {}, /sizes ≥ 0/],
    ['too few bytes', [{ ...base, shape: [3] }], {}, /to hold 3 bytes/],
    ['a BOOL of 2', [{ ...base, dtype: 'BOOL' }], {}, /bytes 0 and 1/],
    ['a metadata value that is no string', [base], { k: 1 as unknown as string }, /to be a string/],
    ['a control character in metadata', [base], { k: '\u0007' }, /control/],
  ])('%s', async (_, entries, metadata, message) => {
    const path = join(folder, 'never.safetensors');
    await expect(writeSafetensors(path, entries, metadata)).rejects.toThrow(message);
    await expect(writeSafetensors(path, entries, metadata)).rejects.toMatchObject({ code: 'ERR_FILE_FORMAT' });
    expect(readdirSync(folder)).not.toContain('never.safetensors');
  });
});
