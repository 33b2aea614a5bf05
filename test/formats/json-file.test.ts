import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readJsonFile } from '../../src/formats/json-file.js';
import { checkJson, record } from '../../src/formats/json-shape.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pad-ft-json-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const nested = (levels: number) => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;

test.each([
  [64, true],
  [65, false],
  [100_000, false],
])('%i levels', async (levels, fits) => {
  const path = join(folder, 'file.json');
  writeFileSync(path, nested(levels));
  const reading = readJsonFile(path);
  if (fits) expect(JSON.stringify(await reading)).toBe(nested(levels));
  else {
    const message = `${path}: expected JSON in UTF-8, got more than 64 levels of lists and objects`;
    await expect(reading).rejects.toMatchObject({ code: 'ERR_FILE_FORMAT', message });
  }
});

test('neither does JSON inside a file go deeper', () => {
  const at = { file: 'x.safetensors', path: 'pad-ft.mean' };
  expect(() => checkJson(record, nested(64), at)).not.toThrow();
  expect(() => checkJson(record, nested(65), at)).toThrow(/x\.safetensors: pad-ft\.mean: expected JSON/);
});
