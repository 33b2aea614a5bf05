import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { CIFAR10_FORMAT } from '../../src/datasets/cifar10.js';
import { type ExperimentOptions, runExperiment } from '../../src/experiment.js';
import { reevaluate } from '../../src/reevaluate.js';
import { readCard } from '../../src/report/card.js';
import { formatTable } from '../../src/report/table.js';
import { repack } from '../unit/datasets-cifar-fixture.js';
import { madeFolder, tinyExperiment } from './made.js';

function undefended(folder: string, change: Partial<ExperimentOptions> = {}): ExperimentOptions {
  const { train, ...options } = tinyExperiment(folder);
  return { ...options, train: { ...train, epochs: 1, precision: 'fp32' }, defenses: [], ...change };
}

test('the card says what was computed in, and a run is evaluated again in that', async () => {
  const folder = await madeFolder();
  await runExperiment(undefended(folder, { precision: 'bf16' }));
  const card = await readCard(join(folder, 'card.json'));
  expect(card.environment.precision).toEqual({
    training: 'fp32',
    scoring: 'bf16',
    fitting: 'bf16',
    evaluation: 'bf16',
  });
  expect(formatTable(card)).toContain('on cpu: trained in fp32, evaluated in bf16');

  const again = await reevaluate(folder, { device: 'cpu' });
  expect(again).toMatchObject({ precision: 'bf16', tolerance: 0, same: true });
  const otherwise = await reevaluate(folder, { device: 'cpu', precision: 'fp32' });
  expect(otherwise).toMatchObject({ precision: 'fp32', tolerance: 0.005 });
  await expect(reevaluate(folder, { device: 'cpu', precision: 'tf32' })).rejects.toMatchObject({ code: 'ERR_OPTION' });

  // Written before cards knew it, or on CUDA: what this processor does when nothing is asked for.
  const { precision: _, ...environment } = card.environment;
  for (const precision of [undefined, { training: null, evaluation: 'tf32' }]) {
    await writeFile(join(folder, 'card.json'), JSON.stringify({ ...card, environment: { ...environment, precision } }));
    expect(await reevaluate(folder, { device: 'cpu' })).toMatchObject({ precision: 'fp32' });
  }
});

/** Files as large as the official ones, which nobody needs for their contents. */
function madeCifar() {
  const { train, test: held, folder } = CIFAR10_FORMAT;
  return [...train, ...held].map(({ file, rows }, member) => {
    const bytes = new Uint8Array(rows * 3073);
    for (let row = 0; row < rows; row++) bytes.fill((row * 37 + member) % 251, row * 3073 + 1, (row + 1) * 3073);
    for (let row = 0; row < rows; row++) bytes[row * 3073] = row % 10;
    return { file, name: `${folder}/${file}`, bytes };
  });
}

test('a run on a downloaded archive is checked against an unpacked folder, and the other way round', async () => {
  const [cache, run, unpacked] = [await madeFolder(), await madeFolder(), join(await madeFolder(), 'unpacked')];
  const members = madeCifar();
  const archive = join(cache, CIFAR10_FORMAT.archive.file);
  await writeFile(archive, repack(CIFAR10_FORMAT, members).packed);
  await mkdir(unpacked);
  for (const { file, bytes } of members) await writeFile(join(unpacked, file), bytes);
  vi.stubEnv('PAD_FT_DATA', cache);
  try {
    const options = { verify: false, limit: { train: 300, test: 60 } };
    await runExperiment(undefended(run, { dataset: 'cifar10', datasetOptions: { ...options, download: true } }));
    const { config } = await readCard(join(run, 'card.json'));
    expect(config.dataset.options).toMatchObject({ download: true });
    expect((await reevaluate(run, { device: 'cpu', datasetOptions: { path: unpacked } })).same).toBe(true);

    await runExperiment(undefended(run, { dataset: 'cifar10', datasetOptions: { ...options, path: unpacked } }));
    expect((await reevaluate(run, { device: 'cpu', datasetOptions: { path: archive } })).same).toBe(true);
    expect((await reevaluate(run, { device: 'cpu', datasetOptions: { download: true } })).same).toBe(true);
  } finally {
    vi.unstubAllEnvs();
  }
});
