import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { loadCifar } from '../../src/datasets/cifar.js';
import type { CifarFormat } from '../../src/datasets/cifar-format.js';
import type { LoadProgress } from '../../src/datasets/dataset-source.js';
import { expectWhole, makeData } from './datasets-cifar-fixture.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pad-ft-cifar-'));
  vi.stubEnv('PAD_FT_DATA', join(folder, 'cache'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

describe('a download', () => {
  let server: Server | undefined;
  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
    server = undefined;
  });

  async function serve(format: CifarFormat, listener: RequestListener): Promise<CifarFormat> {
    const running = createServer(listener);
    server = running;
    await new Promise<void>((resolve) => running.listen(0, '127.0.0.1', resolve));
    const { port } = running.address() as AddressInfo;
    return { ...format, url: `http://127.0.0.1:${port}/tiny.tar.gz` };
  }
  const cached = () => (existsSync(join(folder, 'cache')) ? readdirSync(join(folder, 'cache')) : []);

  test('fills the cache once; the next load needs no network', async () => {
    const data = makeData();
    let requests = 0;
    const format = await serve(data.format, (_, response) => {
      requests++;
      response.end(data.packed);
    });
    await expect(loadCifar(format, {})).rejects.toMatchObject({ code: 'ERR_FILE_MISSING' });
    const seen: LoadProgress[] = [];
    expectWhole(await loadCifar(format, { download: true }, { onProgress: (step) => seen.push(step) }), data);
    expect(cached()).toEqual(['tiny.tar.gz']);
    expectWhole(await loadCifar(format, { download: true }), data);
    expectWhole(await loadCifar(format, {}), data);
    expect(requests).toBe(1);
    const downloads = seen.filter((step) => step.stage === 'download');
    expect(downloads[0]?.done).toBe(0);
    expect(downloads.at(-1)).toEqual({
      stage: 'download',
      done: data.packed.byteLength,
      total: data.packed.byteLength,
    });
  });

  test.each<[string, (packed: Buffer) => RequestListener, string, RegExp]>([
    ['an error page', () => (_, response) => response.writeHead(503).end('later'), 'ERR_DOWNLOAD', /answered 503/],
    [
      'a connection that breaks off',
      (packed) => (_, response) => {
        response.writeHead(200, { 'content-length': packed.byteLength });
        response.write(packed.subarray(0, 5000), () => response.destroy());
      },
      'ERR_DOWNLOAD',
      /could not be downloaded/,
    ],
    ['too few bytes', (packed) => (_, response) => response.end(packed.subarray(1)), 'ERR_DOWNLOAD', /sent \d+ of/],
    [
      'too many bytes',
      (packed) => (_, response) => response.end(Buffer.concat([packed, packed])),
      'ERR_DOWNLOAD',
      /more than the expected/,
    ],
    [
      'other bytes of the same size',
      (packed) => (_, response) => response.end(Buffer.from(packed).fill(1, 40, 41)),
      'ERR_CHECKSUM',
      /SHA-256 is/,
    ],
  ])('of %s keeps nothing', async (_, listen, code, message) => {
    const data = makeData();
    const format = await serve(data.format, listen(data.packed));
    await expect(loadCifar(format, { download: true })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(cached()).toEqual([]);
  });

  test('from nobody, or aborted half-way, keeps nothing', async () => {
    const data = makeData();
    const nobody = await serve(data.format, () => {});
    server?.close();
    server = undefined;
    await expect(loadCifar(nobody, { download: true })).rejects.toMatchObject({ code: 'ERR_DOWNLOAD' });
    const slow = await serve(data.format, (_, response) => void response.write(data.packed.subarray(0, 2000)));
    const controller = new AbortController();
    const onProgress = ({ done }: LoadProgress) => {
      if (done > 0) controller.abort();
    };
    const aborted = loadCifar(slow, { download: true }, { signal: controller.signal, onProgress });
    await expect(aborted).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(cached()).toEqual([]);
  });

  test('removes what a killed download left long ago, and leaves a running one alone', async () => {
    const data = makeData();
    const format = await serve(data.format, (_, response) => void response.end(data.packed));
    const cache = join(folder, 'cache');
    mkdirSync(cache);
    const old = join(cache, '.tiny.tar.gz.0123456789ab.tmp');
    const young = join(cache, '.tiny.tar.gz.ba9876543210.tmp');
    for (const path of [old, young]) writeFileSync(path, 'partial');
    utimesSync(old, 1, 1);
    await loadCifar(format, { download: true });
    expect(cached().sort()).toEqual(['.tiny.tar.gz.ba9876543210.tmp', 'tiny.tar.gz']);
  });
});
