import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type CifarOptions, loadCifar } from '../../src/datasets/cifar.js';
import { CIFAR10_FORMAT } from '../../src/datasets/cifar10.js';
import { expectWhole, makeData, sha256, unpack } from './datasets-cifar-fixture.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pad-ft-cifar-'));
  vi.stubEnv('PAD_FT_DATA', join(folder, 'cache'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

describe('a folder', () => {
  test('itself, its parent, and a folder with the archive in it', async () => {
    const data = makeData();
    const place = unpack(data, folder);
    for (const path of [place, folder]) {
      const pair = await loadCifar(data.format, { path });
      expectWhole(pair, data);
      expect(pair.provenance).toMatchObject({ source: 'folder', verified: true, rows: { train: 9, test: 2 } });
      expect(pair.provenance.files).toHaveLength(4);
    }
    rmSync(place, { recursive: true });
    writeFileSync(join(folder, 'tiny.tar.gz'), data.packed);
    const fromArchive = await loadCifar(data.format, { path: folder });
    expectWhole(fromArchive, data);
    expect(fromArchive.provenance).toMatchObject({ source: 'archive' });
  });

  test('a limit keeps the first rows and reads only the files it needs', async () => {
    const data = makeData();
    const place = unpack(data, folder);
    rmSync(join(place, 'c.bin'));
    const pair = await loadCifar(data.format, { path: place, limit: { train: 4, test: 1 } });
    expect(pair.train.shape.count).toBe(4);
    expect(pair.test.shape.count).toBe(1);
    expect(Array.from(pair.train.labels)).toEqual([0, 1, 2, 3].map((row) => data.rows[row * 3074 + 1]));
    expect((pair.provenance.files as { file: string }[]).map(({ file }) => file)).toEqual(['a.bin', 'b.bin', 't.bin']);
  });

  test('a missing, short, long or changed file, and a wrong label', async () => {
    const data = makeData();
    const place = unpack(data, folder);
    const file = join(place, 'b.bin');
    const good = readFileSync(file);
    const load = (options: Partial<CifarOptions> = {}) => loadCifar(data.format, { path: place, ...options });

    rmSync(file);
    await expect(load()).rejects.toMatchObject({ code: 'ERR_FILE_MISSING', message: expect.stringContaining(file) });
    mkdirSync(file);
    await expect(load()).rejects.toMatchObject({ code: 'ERR_FILE_MISSING' });
    rmSync(file, { recursive: true });
    execFileSync('mkfifo', [file]);
    await expect(load()).rejects.toMatchObject({ code: 'ERR_FILE_MISSING' });
    rmSync(file);

    writeFileSync(file, good.subarray(1));
    await expect(load()).rejects.toMatchObject({ code: 'ERR_FILE_FORMAT', details: { expected: 6148, got: 6147 } });
    writeFileSync(file, Buffer.concat([good, Buffer.alloc(1)]));
    await expect(load({ verify: false })).rejects.toMatchObject({ code: 'ERR_FILE_FORMAT', details: { got: 6149 } });

    const changed = Buffer.from(good);
    changed[100]! ^= 1;
    writeFileSync(file, changed);
    await expect(load()).rejects.toMatchObject({ code: 'ERR_CHECKSUM', message: expect.stringContaining(file) });
    const unverified = await load({ verify: false });
    expect(unverified.provenance).toMatchObject({ verified: false });
    expect(JSON.stringify(unverified.provenance)).toContain(sha256(changed));

    changed[3075] = 5;
    writeFileSync(file, changed);
    await expect(load({ verify: false })).rejects.toMatchObject({
      code: 'ERR_DATA',
      message: expect.stringContaining('labels from 0 to 4, got 5 in record 1'),
    });
  });

  test('a path that leads nowhere says what to do', async () => {
    const { format } = makeData();
    for (const path of [join(folder, 'nowhere'), folder]) {
      await expect(loadCifar(format, { path })).rejects.toMatchObject({
        code: 'ERR_FILE_MISSING',
        message: expect.stringContaining('--download'),
      });
    }
  });
});

test.each<[object, RegExp]>([
  [{ path: '' }, /dataset\.tiny\.path/],
  [{ path: 3 }, /dataset\.tiny\.path/],
  [{ download: 'yes' }, /dataset\.tiny\.download: expected true or false/],
  [{ path: 'x', download: true }, /left out when a path is given/],
  [{ verify: 1 }, /dataset\.tiny\.verify/],
  [{ limit: 5 }, /dataset\.tiny\.limit: expected an object/],
  [{ limit: { train: 0 } }, /dataset\.tiny\.limit\.train/],
  [{ limit: { tset: 1 } }, /dataset\.tiny\.limit\.tset: expected one of the options train, test/],
  [{ paht: 'x' }, /dataset\.tiny\.paht/],
])('refuses the options %j', async (options, message) => {
  const { format } = makeData();
  await expect(loadCifar(format, options)).rejects.toMatchObject({
    code: 'ERR_OPTION',
    message: expect.stringMatching(message),
  });
});

const REAL = process.env.PAD_FT_CIFAR10 ?? '';
test.skipIf(REAL === '')(
  'the official CIFAR-10 files load and verify (skipped unless PAD_FT_CIFAR10 names their folder)',
  async () => {
    const pair = await loadCifar(CIFAR10_FORMAT, { path: REAL });
    expect(Array.from(pair.train.labels.subarray(0, 5))).toEqual([6, 9, 9, 4, 1]);
    expect(pair.test.shape.count).toBe(10_000);
  },
);
