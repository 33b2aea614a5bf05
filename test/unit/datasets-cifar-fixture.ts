import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Header } from 'tar';
import { expect } from 'vitest';
import type { CifarFormat, CifarMember } from '../../src/datasets/cifar-format.js';
import type { DatasetPair } from '../../src/datasets/image-set.js';
import { Random } from '../../src/random.js';

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

export interface Entry {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly type?: 'File' | 'Directory' | 'SymbolicLink';
}

/** A .tar.gz of exactly these entries, whatever they are. */
function archive(entries: readonly Entry[]): Buffer {
  const blocks = entries.flatMap(({ name, bytes, type = 'File' }) => {
    const link = type === 'SymbolicLink' ? { linkpath: '/etc/passwd' } : {};
    const header = new Header({ path: name, size: bytes.byteLength, mode: 0o644, type, ...link });
    header.encode();
    return [header.block ?? Buffer.alloc(512), bytes, Buffer.alloc((512 - (bytes.byteLength % 512)) % 512)];
  });
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

/** Three training files and a test file of a few records, with two label bytes as CIFAR-100 has them. */
export function makeData(seed = 1, classes = 5) {
  const random = new Random(seed);
  const member = (file: string, rows: number) => {
    const bytes = Uint8Array.from({ length: rows * 3074 }, (_, i) => {
      const value = random.uint32();
      return i % 3074 === 0 ? 200 : i % 3074 === 1 ? value % classes : value & 255;
    });
    return { bytes, member: { file, rows, sha256: sha256(bytes) } satisfies CifarMember };
  };
  const train = [member('a.bin', 3), member('b.bin', 2), member('c.bin', 4)];
  const held = [member('t.bin', 2)];
  const entries: Entry[] = [
    { name: 'tiny/', bytes: new Uint8Array(0), type: 'Directory' },
    ...[...held, ...train].map(({ member: { file }, bytes }) => ({ name: `tiny/${file}`, bytes })),
    { name: 'tiny/readme.html', bytes: Buffer.from('hello') },
  ];
  const packed = archive(entries);
  const format: CifarFormat = {
    name: 'tiny',
    url: 'http://127.0.0.1:9/tiny.tar.gz',
    archive: { file: 'tiny.tar.gz', bytes: packed.byteLength, sha256: sha256(packed) },
    folder: 'tiny',
    labelBytes: 2,
    labelIndex: 1,
    classNames: Array.from({ length: classes }, (_, i) => `class ${i}`),
    mean: [0.5, 0.5, 0.5],
    std: [0.2, 0.2, 0.2],
    flip: false,
    train: train.map((part) => part.member),
    test: held.map((part) => part.member),
  };
  const rows = Buffer.concat(train.map((part) => part.bytes));
  return { format, entries, packed, rows, files: [...train, ...held] };
}

/** The same archive with other contents, pinned as if it were the official one. */
export function repack(format: CifarFormat, entries: readonly Entry[]): { format: CifarFormat; packed: Buffer } {
  const packed = archive(entries);
  const pin = { file: 'tiny.tar.gz', bytes: packed.byteLength, sha256: sha256(packed) };
  return { packed, format: { ...format, archive: pin } };
}

/** Writes the data's files as people have them after unpacking; returns their folder. */
export function unpack({ files }: ReturnType<typeof makeData>, folder: string): string {
  const place = join(folder, 'tiny');
  mkdirSync(place);
  for (const { member, bytes } of files) writeFileSync(join(place, member.file), bytes);
  return place;
}

/** All eleven rows, byte for byte. */
export function expectWhole(pair: DatasetPair, { rows }: ReturnType<typeof makeData>): void {
  expect(pair.train.shape).toEqual({ count: 9, channels: 3, height: 32, width: 32, classes: 5 });
  expect(pair.test.shape.count).toBe(2);
  for (let row = 0; row < 9; row++) {
    expect(pair.train.labels[row]).toBe(rows[row * 3074 + 1]);
    const image = pair.train.images.subarray(row * 3072, (row + 1) * 3072);
    expect(Buffer.compare(image, rows.subarray(row * 3074 + 2, (row + 1) * 3074))).toBe(0);
  }
}
