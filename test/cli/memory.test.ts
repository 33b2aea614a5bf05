import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildCli, CLI, type Ended, lastLine, TINY_DATA, TINY_TRAINING, temporaryFolder } from './support.js';

/** Runs `pad-ft` with so much address space, in KiB. One thread: each has a stack and an arena of its own. */
function padFtWithin(kilobytes: number, args: readonly string[]): Pick<Ended, 'code' | 'stdout' | 'stderr'> {
  const script = `ulimit -v ${kilobytes} && exec "$@"`;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', script, 'sh', process.execPath, CLI, ...args], {
    encoding: 'utf8',
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });
  return { code: status, stdout, stderr };
}

/** 500 000 pictures are one array of 1.5 GB, more than this by itself; Node and the program start with half of it. */
const LESS_THAN_PICTURES = 1_400_000;
/** A network of width 1024 is one block of 11 GB; libtorch and a small network fit several times. */
const LESS_THAN_WIDE = 6_000_000;

/** Why the tests below cannot be run here; null when they can. */
function obstacle(): string | null {
  const small = padFtWithin(LESS_THAN_PICTURES, ['list', 'presets', '--json']);
  return small.code === 0 ? null : 'a process cannot be given less address space here, or Node does not start with it';
}

beforeAll(buildCli);

describe('too little memory ends a command with ERR_OOM, which says what to do', () => {
  it('for arrays of JavaScript', ({ skip }) => {
    const why = obstacle();
    if (why !== null) skip(why);
    const args = ['dataset', 'synthetic', '--train-rows', '500000', '--test-rows', '20', '--json'];
    const { code, stdout, stderr } = padFtWithin(LESS_THAN_PICTURES, args);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('use fewer rows') });
    expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_OOM' });
    expect(stderr).not.toContain('a bug in pad-ft');
  });

  it('for tensors of the core', ({ skip }) => {
    using folder = temporaryFolder();
    const out = join(folder.path, 'out');
    const train = ['train', ...TINY_DATA, ...TINY_TRAINING, '--epochs', '1', '--out', out, '--json'];
    const why = obstacle() ?? (padFtWithin(LESS_THAN_WIDE, ['doctor']).code === 0 ? null : 'libtorch does not load');
    if (why !== null) skip(why);
    const { code, stdout, stderr } = padFtWithin(LESS_THAN_WIDE, [...train, '--width', '1024']);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('a narrower network') });
    expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_OOM' });
    expect(existsSync(out) ? readdirSync(out) : []).toEqual([]);
  });
});
