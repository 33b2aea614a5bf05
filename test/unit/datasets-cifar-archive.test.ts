import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadCifar } from '../../src/datasets/cifar.js';
import type { LoadProgress } from '../../src/datasets/dataset-source.js';
import { Random } from '../../src/random.js';
import { type Entry, expectWhole, makeData, repack, sha256, unpack } from './datasets-cifar-fixture.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pad-ft-cifar-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('an archive', () => {
  const put = (bytes: Uint8Array) => {
    const path = join(folder, 'tiny.tar.gz');
    writeFileSync(path, bytes);
    return path;
  };

  test('is streamed whatever the order of its members, with progress', async () => {
    const data = makeData();
    const path = put(data.packed);
    const seen: LoadProgress[] = [];
    const pair = await loadCifar(data.format, { path }, { onProgress: (step) => seen.push(step) });
    expectWhole(pair, data);
    expect(seen.at(-1)).toEqual({ stage: 'read', done: data.packed.byteLength, total: data.packed.byteLength });
    expect(readdirSync(folder)).toEqual(['tiny.tar.gz']);
    const limited = await loadCifar(data.format, { path, limit: { train: 4 } });
    expect(sha256(limited.train.images)).toBe(sha256(pair.train.images.subarray(0, 4 * 3072)));
  });

  test('of another size or another SHA-256 is refused, even where tar would not notice', async () => {
    const data = makeData();
    const long = put(Buffer.concat([data.packed, Buffer.alloc(1)]));
    await expect(loadCifar(data.format, { path: long })).rejects.toMatchObject({ code: 'ERR_FILE_FORMAT' });
    const stamped = Buffer.from(data.packed);
    stamped[4]! ^= 1; // a byte of gzip's time stamp
    const path = put(stamped);
    await expect(loadCifar(data.format, { path })).rejects.toMatchObject({ code: 'ERR_CHECKSUM' });
    expectWhole(await loadCifar(data.format, { path, verify: false }), data);
  });

  test.each<[string, (entries: Entry[]) => Entry[], string, RegExp]>([
    [
      'a missing member',
      (all) => all.filter(({ name }) => name !== 'tiny/b.bin'),
      'ERR_FILE_FORMAT',
      /tiny\/b.bin is not in it/,
    ],
    [
      'an oversized member',
      (all) => all.map((entry) => (entry.name === 'tiny/b.bin' ? { ...entry, bytes: new Uint8Array(6149) } : entry)),
      'ERR_FILE_FORMAT',
      /tiny\/b.bin: expected exactly 6148 bytes.*got 6149/,
    ],
    [
      'a short member',
      (all) => all.map((entry) => (entry.name === 'tiny/t.bin' ? { ...entry, bytes: new Uint8Array(10) } : entry)),
      'ERR_FILE_FORMAT',
      /got 10/,
    ],
    [
      'a changed member',
      (all) =>
        all.map((entry) => (entry.name === 'tiny/c.bin' ? { ...entry, bytes: new Uint8Array(4 * 3074) } : entry)),
      'ERR_CHECKSUM',
      /tiny\/c.bin/,
    ],
    ['a member twice', (all) => [...all, all[2]!], 'ERR_FILE_FORMAT', /tiny\/a.bin twice/],
    [
      'a member that is a link',
      (all) =>
        all.map((entry) =>
          entry.name === 'tiny/a.bin' ? { name: entry.name, bytes: new Uint8Array(0), type: 'SymbolicLink' } : entry,
        ),
      'ERR_FILE_FORMAT',
      /as a SymbolicLink/,
    ],
    [
      'a large stranger',
      (all) => [{ name: 'tiny/bomb.bin', bytes: new Uint8Array((1 << 20) + 1) }, ...all],
      'ERR_FILE_FORMAT',
      /unknown entry tiny\/bomb.bin/,
    ],
    [
      'too many strangers',
      (all) => [...all, ...Array.from({ length: 64 }, (_, i) => ({ name: `x${i}`, bytes: new Uint8Array(0) }))],
      'ERR_FILE_FORMAT',
      /more than 64 entries/,
    ],
    [
      'a member outside its folder',
      (all) => all.map((e) => ({ ...e, name: e.name.slice(5) || 'x/' })),
      'ERR_FILE_FORMAT',
      /not in it/,
    ],
    ['nothing', () => [], 'ERR_FILE_FORMAT', /tiny.tar.gz/],
  ])('with %s is refused', async (_, change, code, message) => {
    const data = makeData();
    const { format, packed } = repack(data.format, change(data.entries));
    const path = put(packed);
    await expect(loadCifar(format, { path })).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(readdirSync(folder)).toEqual(['tiny.tar.gz']);
  });

  test('that is cut short, is no archive, or is damaged inside is refused', async () => {
    const data = makeData();
    for (const bytes of [
      data.packed.subarray(0, data.packed.byteLength >> 1),
      data.packed.subarray(0, data.packed.byteLength - 4),
      new Uint8Array(0),
      Buffer.from('this is not an archive, it only looks like a file'.repeat(100)),
      Buffer.alloc(4096),
      gzipSync(Buffer.alloc(100_000, 7)),
      Buffer.concat([data.packed.subarray(0, 9000), Buffer.alloc(64, 0xff), data.packed.subarray(9064)]),
    ]) {
      const path = put(bytes);
      await expect(loadCifar(data.format, { path, verify: false })).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_(FILE_FORMAT|CHECKSUM|DATA)$/),
        message: expect.stringContaining(path),
      });
    }
  });

  test('150 damaged archives end in a coded error or the whole set, never in a hang', async () => {
    const data = makeData();
    const random = new Random(3);
    for (let round = 0; round < 150; round++) {
      const bytes = Buffer.from(data.packed);
      for (let edit = random.below(8); edit >= 0; edit--) bytes[random.below(bytes.byteLength)] = random.below(256);
      const path = put(bytes.subarray(0, random.below(3) > 0 ? undefined : random.below(bytes.byteLength)));
      const outcome = await loadCifar(data.format, { path, verify: false }).catch((error: unknown) => error);
      if (outcome instanceof Error) expect(outcome).toMatchObject({ code: expect.stringMatching(/^ERR_/) });
      else expect(outcome).toMatchObject({ train: { shape: { count: 9 } } });
    }
  });

  test('an abort ends the reading', async () => {
    const data = makeData();
    const path = put(data.packed);
    const signal = AbortSignal.abort();
    await expect(loadCifar(data.format, { path }, { signal })).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await expect(loadCifar(data.format, { path: unpack(data, folder) }, { signal })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
  });
});
