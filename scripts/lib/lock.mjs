import { closeSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Locks of this very process: a container may give a killed set-up's process id to the next one. */
const held = new Set();

/**
 * Runs `work` while holding a lock file, so that two set-ups at once do not write the same build folder. A lock
 * whose process is gone is taken over.
 *
 * @template T
 * @param {string} path
 * @param {(line: string) => void} say
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(path, say, work) {
  mkdirSync(dirname(path), { recursive: true });
  let told = false;
  for (let waited = 0; !tryLock(path); waited += 1) {
    if (removeStale(path)) continue;
    if (waited >= 10 && !told) {
      say(`waiting for another set-up to finish (process ${readOwner(path) ?? 'unknown'}, lock ${path})`);
      told = true;
    }
    await sleep(100);
  }
  const release = () => {
    held.delete(path);
    rmSync(path, { force: true });
  };
  held.add(path);
  process.once('exit', release);
  try {
    return await work();
  } finally {
    process.removeListener('exit', release);
    release();
  }
}

function tryLock(path) {
  try {
    const file = openSync(path, 'wx');
    writeSync(file, String(process.pid));
    closeSync(file);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

function readOwner(path) {
  try {
    return Number(readFileSync(path, 'utf8')) || null;
  } catch {
    return null;
  }
}

function removeStale(path) {
  const owner = readOwner(path);
  // Between creation and the write of the process id the file is empty; only an old empty one is abandoned.
  if (owner === null ? ageMs(path) < 5000 : owner === process.pid ? held.has(path) : isRunning(owner)) return false;
  rmSync(path, { force: true });
  return true;
}

function ageMs(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

/** True when a process with this id exists. @param {number} pid */
export function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
