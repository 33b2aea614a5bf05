import { closeSync, mkdirSync, openSync, readFileSync, rmdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Locks of this very process: a container may give a killed set-up's process id to the next one. */
const held = new Set();

/** What takes an instant and is older than this was left behind by a process that is gone. */
const ABANDONED_MS = 5000;

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

/**
 * Removes a lock whose owner is gone; true when it did. Of several waiters that saw the same stale lock one may be slow:
 * by the time it acts a faster one may have taken the lock anew. So the one who removes does it alone, in a folder that
 * only one can make, and looks again there.
 *
 * @param {string} path
 * @param {() => void} [meanwhile] for tests: runs between the first look and the removal
 */
export function removeStale(path, meanwhile = () => {}) {
  if (!isStale(path)) return false;
  meanwhile();
  const alone = `${path}.takeover`;
  try {
    mkdirSync(alone);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    // Held for an instant; an old one was left by a process that was killed in that instant.
    if (ageMs(alone) > ABANDONED_MS) removeFolder(alone);
    return false;
  }
  try {
    if (!isStale(path)) return false;
    rmSync(path, { force: true });
    return true;
  } finally {
    removeFolder(alone);
  }
}

function isStale(path) {
  const owner = readOwner(path);
  // Between creation and the write of the process id the file is empty; only an old empty one is abandoned.
  if (owner === null) return ageMs(path) >= ABANDONED_MS;
  return owner === process.pid ? !held.has(path) : !isRunning(owner);
}

function removeFolder(path) {
  try {
    rmdirSync(path);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
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
