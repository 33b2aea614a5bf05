import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { PROJECT_ROOT } from '../../scripts/lib/find-libtorch.mjs';
import { DEMO } from '../../src/demo.js';
import type { RunCard } from '../../src/report/card.js';
import { buildCli, temporaryFolder } from './support.js';

const EXAMPLE = join(PROJECT_ROOT, 'examples', 'demo.mjs');

/** The demonstration's own settings but for its sizes. */
const TINY = {
  device: 'cpu',
  datasetOptions: { train: 400, test: 80, classes: 3 },
  train: { width: 8, epochs: 4, batchSize: 16, precision: 'fp32' },
  defenses: DEMO.defenses?.map(({ name, options }) => ({
    name,
    options: {
      ...options,
      purify: { count: 60, rowsPerLabel: 16 },
      holdout: 0,
      clip: { steps: 5 },
      tune: { epochs: 1 },
    },
  })),
};

beforeAll(buildCli);

it('the example runs the demonstration as it is, at whatever size', () => {
  using folder = temporaryFolder();
  const out = join(folder.path, 'run');
  const ended = spawnSync(process.execPath, [EXAMPLE, out, JSON.stringify(TINY)], {
    encoding: 'utf8',
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });
  expect(ended).toMatchObject({ status: 0, stderr: expect.stringContaining('epoch 4') });
  expect(ended.stdout).toContain(`are in ${out}`);
  const card = JSON.parse(readFileSync(join(out, 'card.json'), 'utf8')) as RunCard;
  expect(card.config.poison).toMatchObject({ attack: { name: DEMO.poison?.attack }, rate: DEMO.poison?.rate });
  expect(card.config.train).toMatchObject({ ...DEMO.train, ...TINY.train });
  expect(card.rows.map(({ name }) => name)).toEqual(DEMO.defenses?.map(({ name }) => name));
  expect(readdirSync(out)).toContain('victim.safetensors');
});

it('is short, and what the README shows of it', () => {
  const example = readFileSync(EXAMPLE, 'utf8');
  expect(example.trimEnd().split('\n').length).toBeLessThan(30);
  const readme = readFileSync(join(PROJECT_ROOT, 'README.md'), 'utf8');
  const [, block = ''] = /A whole experiment is one call.*?```ts\n(.*?)```/s.exec(readme) ?? [];
  expect(block).toContain('await runDemo(');
  for (const name of ['formatTable', 'runDemo']) {
    expect(block).toContain(name);
    expect(example).toContain(name);
  }
});
