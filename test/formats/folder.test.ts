import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeFolder, openFolder, removeFile, shareFile } from '../../src/formats/folder.js';

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
  await expect(shareFile(join(folder, 'none'), to)).rejects.toMatchObject({ code: 'ERR_FILE_WRITE' });
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
