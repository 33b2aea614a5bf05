import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildCli, lastLine, padFt, TINY_DATA, TINY_TRAINING, temporaryFolder } from './support.js';

/** Less than the training set (1.2 MB) and the network (0.7 MB) that the commands below write. */
const SMALL = '300k';

const folder = temporaryFolder();
const disk = join(folder.path, 'disk');
mkdirSync(disk);
const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL}`, 'tmpfs', disk]).status === 0;

beforeAll(buildCli);
afterAll(() => {
  if (mounted) execFileSync('umount', [disk]);
  folder[Symbol.dispose]();
});

/** Every file below the disk, temporary ones too. */
function leftovers(): string[] {
  return readdirSync(disk, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name);
}

describe.skipIf(!mounted)('a full disk (skipped where a small one cannot be mounted: that takes root)', () => {
  const commands: readonly [what: string, args: readonly string[]][] = [
    ['poison', ['poison', ...TINY_DATA, '--device', 'cpu']],
    ['train', ['train', ...TINY_DATA, ...TINY_TRAINING, '--epochs', '1']],
    ['demo', ['demo', ...TINY_DATA, ...TINY_TRAINING, '--epochs', '1']],
  ];

  it.each(commands)('ends %s with a typed error that names the file, and nothing half-written', async (_, args) => {
    const { code, stdout, stderr } = await padFt([...args, '--out', join(disk, 'out'), '--json']);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('the disk is full (ENOSPC)') });
    expect(lastLine(stdout)).toMatchObject({
      type: 'error',
      code: 'ERR_FILE_WRITE',
      details: { path: expect.stringContaining(disk), errno: 'ENOSPC' },
    });
    // The ground truth of `demo` is small and whole; what says "this run is finished" is not there.
    expect(leftovers().filter((name) => name !== 'truth.safetensors')).toEqual([]);
  });
});
