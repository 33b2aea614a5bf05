import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PROJECT_ROOT } from '../../scripts/lib/find-libtorch.mjs';
import { loadAddon } from '../../src/native/load.js';

const { cudaDevices, cudaProblem } = loadAddon().runtime();
const reason = cudaDevices.length > 0 ? '' : ` (skipped: ${cudaProblem ?? 'no CUDA device'})`;

it.skipIf(cudaDevices.length === 0)(`the stages give on CUDA what they give on the CPU${reason}`, () => {
  const script = join(PROJECT_ROOT, 'scripts', 'cuda-check.mjs');
  const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
  expect({ status, stdout, stderr }).toMatchObject({ status: 0, stdout: expect.stringContaining(', 0 failed') });
});
