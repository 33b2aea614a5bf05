import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isRunning, removeStale, withLock } from '../../scripts/lib/lock.mjs';
import { temporaryFolder } from './support/made-libtorch.js';

/** The id of a process that ran and ended. */
function deadProcess(): number {
  const { pid } = spawnSync(process.execPath, ['-e', '0']);
  expect(isRunning(pid)).toBe(false);
  return pid;
}

/** A lock file in a folder of its own, owned by this process id. */
function lockOf(owner: number): string {
  const path = join(temporaryFolder(), 'lock');
  writeFileSync(path, String(owner));
  return path;
}

/** Moves a file's time back by so many seconds. */
function age(path: string, seconds: number): void {
  const then = Date.now() / 1000 - seconds;
  utimesSync(path, then, then);
}

const silent = () => {};

describe('a lock', () => {
  it('is taken over from a process that is gone, and is gone itself afterwards', async () => {
    const path = lockOf(deadProcess());
    const owner = await withLock(path, silent, async () => readFileSync(path, 'utf8'));
    expect(owner).toBe(String(process.pid));
    expect(readdirSync(join(path, '..'))).toEqual([]);
  });

  it('lets one in after the other', async () => {
    const path = lockOf(deadProcess());
    let inside = 0;
    const work = async () => {
      inside++;
      expect(inside).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      inside--;
    };
    await Promise.all(Array.from({ length: 5 }, () => withLock(path, silent, work)));
    expect(existsSync(path)).toBe(false);
  });

  it('is not stale while its owner runs, or while it may still be written', () => {
    expect(removeStale(lockOf(process.ppid))).toBe(false);
    const empty = lockOf(0);
    expect(removeStale(empty)).toBe(false);
    age(empty, 10);
    expect(removeStale(empty)).toBe(true);
  });

  it('that a faster waiter has taken is not removed by a slower one that saw the stale one before it', () => {
    const path = lockOf(deadProcess());
    const removed = removeStale(path, () => {
      expect(removeStale(path)).toBe(true);
      writeFileSync(path, String(process.ppid), { flag: 'wx' });
    });
    expect(removed).toBe(false);
    expect(readFileSync(path, 'utf8')).toBe(String(process.ppid));
    expect(readdirSync(join(path, '..'))).toEqual(['lock']);
  });

  it('is left alone while another waiter removes it, and not for ever when that one was killed', () => {
    const path = lockOf(deadProcess());
    const takeover = `${path}.takeover`;
    mkdirSync(takeover);
    expect(removeStale(path)).toBe(false);
    expect(existsSync(path)).toBe(true);
    age(takeover, 10);
    expect(removeStale(path)).toBe(false);
    expect(existsSync(takeover)).toBe(false);
    expect(removeStale(path)).toBe(true);
    rmSync(path, { force: true });
  });
});
