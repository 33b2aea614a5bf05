import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { providedRoot } from '../../scripts/lib/find-libtorch.mjs';
import { withLock } from '../../scripts/lib/lock.mjs';
import { neededFromWheel, provideLibtorch } from '../../scripts/lib/provide-libtorch.mjs';
import { unzip } from '../../scripts/lib/unzip.mjs';
import { libtorchFiles, makeProgram, temporaryFolder, write, zip } from './support/made-libtorch.js';

/** A made wheel, as bytes, with files the project needs and files it does not. */
function madeWheel(): Buffer {
  const entries = new Map([...libtorchFiles()].map(([name, text]) => [`torch/${name}`, text]));
  entries.set('torch/lib/libtorch_python.so', 'not needed');
  entries.set('torch/__init__.py', 'not needed');
  entries.set('torch-2.13.0.dist-info/licenses/LICENSE', 'BSD');
  return zip(entries);
}

/** Serves one answer for every request; resolves to its address. */
async function serve(status: number, body: Buffer): Promise<string> {
  const server = createServer((_request, response) => response.writeHead(status).end(body));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/wheel.whl`;
}

function pinned(bytes: Buffer, url: string) {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { file: 'made.whl', url, bytes: bytes.length, sha256, requirement: 'torch==0', pip: [], unpackedBytes: 0 };
}

const noPython = { PATH: '' };
const say = (): void => {};

describe('provideLibtorch', () => {
  it('fetches over HTTPS without Python, and unpacks only what the core needs', async () => {
    const projectRoot = temporaryFolder();
    const wheel = madeWheel();
    const root = await provideLibtorch({
      projectRoot,
      say,
      env: noPython,
      wheel: pinned(wheel, await serve(200, wheel)),
    });
    expect(root).toBe(providedRoot(projectRoot));
    expect(existsSync(join(root, 'include/ATen/ATen.h'))).toBe(true);
    expect(existsSync(join(root, '../torch-2.13.0.dist-info/licenses/LICENSE'))).toBe(true);
    expect(readdirSync(join(root, 'lib'))).toEqual(['libtorch_cpu.so']);
    expect(existsSync(join(root, '__init__.py'))).toBe(false);
    expect(readdirSync(join(projectRoot, '.libtorch'))).toEqual(['2.13.0']);
  });

  it('prefers pip, which knows the machine’s mirrors', async () => {
    const folder = temporaryFolder();
    const wheel = madeWheel();
    writeFileSync(join(folder, 'made.whl'), wheel);
    // The folder after --dest is where pip is told to save.
    const script = `while [ "$1" != --dest ]; do shift; done; mkdir -p "$2"; cp '${folder}/made.whl' "$2"`;
    const env = { PATH: `${makeProgram(join(folder, 'bin'), 'python3', script)}:/usr/bin:/bin` };
    const root = await provideLibtorch({
      projectRoot: folder,
      say,
      env,
      wheel: pinned(wheel, await serve(500, wheel)),
    });
    expect(existsSync(join(root, 'lib/libtorch_cpu.so'))).toBe(true);
  });

  it.each([
    [
      'other bytes of the same length',
      (wheel: Buffer) => Buffer.from(wheel).fill(1, 40, 50),
      /expected SHA-256 .*, got/,
    ],
    ['a shorter file', (wheel: Buffer) => wheel.subarray(0, -1), /expected \d+ bytes, got \d+/],
    ['a longer file', (wheel: Buffer) => Buffer.concat([wheel, wheel]), /more than the expected/],
  ])('refuses %s and leaves nothing behind', async (_what, change, why) => {
    const projectRoot = temporaryFolder();
    const wheel = madeWheel();
    const served = await serve(200, change(wheel));
    const providing = provideLibtorch({ projectRoot, say, env: noPython, wheel: pinned(wheel, served) });
    await expect(providing).rejects.toMatchObject({ exitCode: 3, message: expect.stringMatching(why) });
    expect(readdirSync(join(projectRoot, '.libtorch'))).toEqual([]);
  });

  it('says what was tried and three ways out', async () => {
    const projectRoot = temporaryFolder();
    const wheel = pinned(madeWheel(), await serve(404, Buffer.from('no')));
    const error = await provideLibtorch({ projectRoot, say, env: noPython, wheel }).catch((caught: Error) => caught);
    const message = error instanceof Error ? error.message : '';
    expect(message).toMatch(/pip download torch==0: no python3 on PATH/);
    expect(message).toMatch(/HTTP 404/);
    for (const way of ['LIBTORCH=', 'pip install torch==', 'apt-get install libtorch-dev'])
      expect(message).toContain(way);
  });

  it('clears away what a killed set-up left', async () => {
    const projectRoot = temporaryFolder();
    // No process has this id: Linux gives none above 2^22.
    mkdirSync(join(projectRoot, '.libtorch/tmp-4194305-abc'), { recursive: true });
    const wheel = madeWheel();
    await provideLibtorch({ projectRoot, say, env: noPython, wheel: pinned(wheel, await serve(200, wheel)) });
    expect(readdirSync(join(projectRoot, '.libtorch'))).toEqual(['2.13.0']);
  });

  it.each([
    ['torch/lib/libtorch_cpu.so', true],
    ['torch/lib/libc10.so', true],
    ['torch/lib/libgomp.so.1', true],
    ['torch/lib/libgomp-a34b3233.so.1', true],
    ['torch/include/ATen/ATen.h', true],
    ['torch/version.py', true],
    ['torch/lib/libtorch_python.so', false],
    ['torch/share/cmake/Torch/TorchConfig.cmake', false],
    ['torchgen/model.py', false],
  ])('takes %s from a wheel: %s', (name, wanted) => {
    expect(neededFromWheel(name)).toBe(wanted);
  });
});

describe('unzip', () => {
  const unpack = (bytes: Buffer) => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'a.zip'), bytes);
    return { folder, done: unzip(join(folder, 'a.zip'), join(folder, 'out'), () => true) };
  };

  it('restores contents, empty files included', async () => {
    const { folder, done } = unpack(
      zip(
        new Map([
          ['a/b.txt', 'x'.repeat(1000)],
          ['empty', ''],
        ]),
      ),
    );
    expect(await done).toBe(2);
    expect(readFileSync(join(folder, 'out/a/b.txt'), 'utf8')).toBe('x'.repeat(1000));
    expect(readFileSync(join(folder, 'out/empty'), 'utf8')).toBe('');
  });

  it.each(['../outside', '/absolute', 'a/../../outside', 'a/./b'])('refuses an entry named %s', async (name) => {
    await expect(unpack(zip(new Map([[name, 'x']]))).done).rejects.toThrow(/would leave the folder/);
  });

  it('refuses damaged contents and a file cut short', async () => {
    const good = zip(new Map([['a', 'some text that is long enough']]));
    const damaged = Buffer.from(good);
    // The CRC-32 in the directory: 16 bytes into its only entry.
    const directory = good.readUInt32LE(good.length - 6);
    damaged.writeUInt32LE(1, directory + 16);
    await expect(unpack(damaged).done).rejects.toThrow(/a is damaged/);
    await expect(unpack(good.subarray(0, -10)).done).rejects.toThrow(/not a ZIP archive, or cut short/);
  });
});

describe('withLock', () => {
  it('runs one after the other and removes the lock, also after a failure', async () => {
    const lock = join(temporaryFolder(), 'build', 'lock');
    let inside = 0;
    const work = async () => {
      inside += 1;
      expect(inside).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 30));
      inside -= 1;
    };
    await Promise.all([withLock(lock, say, work), withLock(lock, say, work)]);
    await expect(withLock(lock, say, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(existsSync(lock)).toBe(false);
  });

  it('takes over the lock of a process that is gone', async () => {
    const lock = write(join(temporaryFolder(), 'lock'), '4194305');
    expect(await withLock(lock, say, async () => 'done')).toBe('done');
  });
});
