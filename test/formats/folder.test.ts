import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { link } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { makeFolder, openFolder, removeFile, requireFolder, shareFile } from '../../src/formats/folder.js';

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  return { ...real, link: vi.fn(real.link) };
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pad-ft-folder-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('makes a folder with those above it, once', async () => {
  const inner = join(folder, 'a', 'b');
  await makeFolder(inner);
  writeFileSync(join(inner, 'kept'), '');
  await openFolder(inner, ['kept']);
  expect(readdirSync(inner)).toEqual(['kept']);
});

test.runIf(process.platform === 'linux')('gives up where the system lets nobody make a folder', async () => {
  await expect(makeFolder('/proc/pad-ft/below')).rejects.toMatchObject({
    code: 'ERR_FILE_WRITE',
    message: expect.stringContaining('/proc/pad-ft/below: the folder could not be made'),
  });
});

test('several may make the same folder at once', async () => {
  const inner = join(folder, 'a', 'b', 'c');
  await Promise.all(Array.from({ length: 8 }, () => makeFolder(inner)));
  expect(statSync(inner).isDirectory()).toBe(true);
});

test('says which folder could not be made, and why, in words', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  await expect(openFolder(join(file, 'below'), [])).rejects.toMatchObject({
    code: 'ERR_FILE_WRITE',
    message: `${join(file, 'below')}: the folder could not be made: a part of the path is a file, not a folder (ENOTDIR)`,
    details: { path: join(file, 'below'), errno: 'ENOTDIR' },
  });
  await expect(makeFolder(file)).rejects.toThrow(/a file of that name is there \(EEXIST\)/);
});

test('removes a file, and nothing when there is none; a folder is refused', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  await removeFile(file);
  await removeFile(file);
  expect(readdirSync(folder)).toEqual([]);
  mkdirSync(file);
  await expect(removeFile(file)).rejects.toMatchObject({ code: 'ERR_FILE_WRITE', details: { path: file } });
  await expect(removeFile(join(folder, 'none', 'file'))).resolves.toBeUndefined();
});

test('gives a file a second name in place of another', async () => {
  const [from, to] = [join(folder, 'from'), join(folder, 'to')];
  writeFileSync(from, 'new');
  writeFileSync(to, 'old');
  await shareFile(from, to);
  expect(readFileSync(to, 'utf8')).toBe('new');
  // What cannot be given leaves what is there: nothing to read, or nothing that may be copied.
  mkdirSync(join(folder, 'inner'));
  for (const missing of ['none', 'inner']) {
    const failing = shareFile(join(folder, missing), to);
    await expect(failing).rejects.toMatchObject({ code: 'ERR_FILE_WRITE', details: { path: to } });
    expect(readFileSync(to, 'utf8')).toBe('new');
  }
  // The very file, under the same name and under the other.
  await shareFile(to, to);
  await shareFile(from, to);
  expect(readFileSync(to, 'utf8')).toBe('new');
  expect(readdirSync(folder).sort()).toEqual(['from', 'inner', 'to']);
});

test('gives a second name to the file that a symbolic link leads to', async () => {
  mkdirSync(join(folder, 'store'));
  mkdirSync(join(folder, 'away'));
  writeFileSync(join(folder, 'store', 'blob'), 'model');
  symlinkSync(join('store', 'blob'), join(folder, 'linked'));
  const to = join(folder, 'away', 'model');
  await shareFile(join(folder, 'linked'), to);
  expect(lstatSync(to).isFile()).toBe(true);
  expect(readFileSync(to, 'utf8')).toBe('model');
});

test('where no link can be made, a whole copy takes the place of what is there, or nothing does', async () => {
  const [from, to] = [join(folder, 'from'), join(folder, 'to')];
  writeFileSync(from, 'new');
  writeFileSync(to, 'old');
  const inode = statSync(to).ino;
  vi.mocked(link).mockRejectedValueOnce(Object.assign(new Error('another file system'), { code: 'EXDEV' }));
  await shareFile(from, to);
  expect(readFileSync(to, 'utf8')).toBe('new');
  // Another file was put in its place: it was not written over, so nobody saw half of it.
  expect([inode, statSync(from).ino]).not.toContain(statSync(to).ino);
  expect(readdirSync(folder).sort()).toEqual(['from', 'to']);
});

test('takes away what a killed write of these names left an hour ago, and nothing else', async () => {
  const tail = '0123456789ab.tmp';
  const [stale, young, foreign] = [`.card.json.${tail}`, '.card.json.ba9876543210.tmp', `.other.json.${tail}`];
  const earlier = new Date(Date.now() - 2 * 60 * 60 * 1000);
  for (const name of [stale, young, foreign]) writeFileSync(join(folder, name), 'half');
  for (const name of [stale, foreign]) utimesSync(join(folder, name), earlier, earlier);
  await openFolder(folder, ['card.json']);
  expect(readdirSync(folder).sort()).toEqual([young, foreign].sort());
});

test('a folder that is not there, or is a file, is refused with what to name instead', async () => {
  await expect(requireFolder(folder, 'name another')).resolves.toBeUndefined();
  const file = join(folder, 'file');
  writeFileSync(file, '');
  await expect(requireFolder(file, 'name another')).rejects.toMatchObject({
    code: 'ERR_FILE_MISSING',
    message: `${file}: it is no folder; name another`,
  });
  await expect(requireFolder(join(folder, 'none'), 'name another')).rejects.toThrow(
    /none: .*\(ENOENT\); name another$/,
  );
});
