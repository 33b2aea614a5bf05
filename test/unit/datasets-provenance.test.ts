import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { loadCifar } from '../../src/datasets/cifar.js';
import { sameProvenance } from '../../src/datasets/provenance.js';
import { makeData, unpack } from './datasets-cifar-fixture.js';

function folderWith(data: ReturnType<typeof makeData>) {
  const folder = mkdtempSync(join(tmpdir(), 'pad-ft-provenance-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const archive = join(folder, data.format.archive.file);
  writeFileSync(archive, data.packed);
  return { archive, unpacked: unpack(data, folder) };
}

test.each([undefined, { train: 2, test: 1 }, { train: 4 }])(
  'folder and archive are the same data, limited to %o',
  async (limit) => {
    const data = makeData();
    const { archive, unpacked } = folderWith(data);
    const rows = limit === undefined ? {} : { limit };
    const fromArchive = (await loadCifar(data.format, { path: archive, ...rows })).provenance;
    const fromFolder = (await loadCifar(data.format, { path: unpacked, ...rows, verify: false })).provenance;
    expect(fromFolder).not.toEqual(fromArchive);
    expect(sameProvenance(fromArchive, fromFolder)).toBe(true);
    expect(sameProvenance(fromFolder, fromArchive)).toBe(true);
  },
);

test('other bytes, other rows and other generators are other data', async () => {
  const data = makeData();
  const { archive, unpacked } = folderWith(data);
  const { provenance } = await loadCifar(data.format, { path: archive });
  const fewer = await loadCifar(data.format, { path: unpacked, limit: { train: 8 } });
  expect(sameProvenance(provenance, fewer.provenance)).toBe(false);
  const other = makeData(2);
  const changed = await loadCifar(other.format, { path: folderWith(other).unpacked });
  expect(sameProvenance(provenance, changed.provenance)).toBe(false);
  expect(sameProvenance(provenance, { ...provenance, files: [] })).toBe(false);
  expect(sameProvenance({ source: 'generated', seed: 1, train: 4 }, { source: 'generated', train: 4, seed: 1 })).toBe(
    true,
  );
  expect(sameProvenance({ source: 'generated', seed: 1 }, { source: 'generated', seed: 2 })).toBe(false);
});
