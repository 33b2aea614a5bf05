import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { removeRun } from '../../src/report/defense-files.js';

async function folderWith(...names: readonly string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pad-ft-test-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const name of names) await writeFile(join(folder, name), '{}');
  return folder;
}

const FILES = ['old.pad.safetensors', 'old.pad-ft.safetensors', 'old.suspects.csv'];

test('what an unreadable card stood for goes with it, and nothing else', async () => {
  const folder = await folderWith('card.json', ...FILES, 'victim.safetensors', 'notes.txt');
  await removeRun(folder, ['new']);
  expect((await readdir(folder)).sort()).toEqual(['notes.txt', 'victim.safetensors']);
});

test('without a card only the files of the coming defences are taken away', async () => {
  const folder = await folderWith(...FILES, 'new.pad.safetensors', 'new.suspects.csv');
  await removeRun(folder, ['new']);
  expect((await readdir(folder)).sort()).toEqual([...FILES].sort());
  const nowhere = join(folder, 'none');
  await mkdir(nowhere);
  await removeRun(nowhere, ['new']);
  expect(await readdir(nowhere)).toEqual([]);
});

test('what a stopped run had finished goes with it', async () => {
  const folder = await folderWith(...FILES, 'truth.safetensors', 'checkpoint.safetensors');
  await removeRun(folder, ['new']);
  expect((await readdir(folder)).sort()).toEqual(['checkpoint.safetensors', 'truth.safetensors']);
});
