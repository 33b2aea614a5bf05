import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { writeFileAtomic } from '../../src/formats/atomic-file.js';
import { LARGEST_PIECE, pieces, sha256Hex } from '../../src/formats/sha256.js';
import { readWhole } from '../../src/formats/whole-file.js';

// More than one piece: all that differs for a file beyond what Node reads, writes or hashes at a time.
test('a file of several pieces is written, hashed and read back as it is', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pad-ft-whole-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const bytes = new Uint8Array(LARGEST_PIECE + 3).fill(7);
  bytes.set([1, 2, 3], LARGEST_PIECE);
  expect(Array.from(pieces(bytes), (piece) => piece.byteLength)).toEqual([LARGEST_PIECE, 3]);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  expect(sha256Hex(bytes)).toBe(sha256);
  const path = join(folder, 'file');
  expect(await writeFileAtomic(path, bytes)).toEqual({ bytes: bytes.byteLength, sha256 });
  expect(Buffer.compare(await readWhole(path), bytes)).toBe(0);
});

test('an empty file is read as one, a folder is none', async () => {
  expect([...pieces(new Uint8Array(0))]).toEqual([]);
  const folder = mkdtempSync(join(tmpdir(), 'pad-ft-whole-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'file');
  const { sha256 } = await writeFileAtomic(path, new Uint8Array(0));
  expect(sha256).toBe(createHash('sha256').digest('hex'));
  expect((await readWhole(path)).byteLength).toBe(0);
  await expect(readWhole(folder)).rejects.toMatchObject({ code: 'ERR_FILE_MISSING' });
});
