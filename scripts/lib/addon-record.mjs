import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { hashTree } from './hash-files.mjs';

/**
 * What is known of a built addon. Each libtorch has its own build folder, `build/<tag>/`, with its record; the one
 * in use is copied to build/addon.json, where the loader looks. Types are in addon-record.d.mts.
 */

/** The record of the addon in use, or null. */
export function readAddonRecord(projectRoot) {
  return readRecord(join(projectRoot, 'build', 'addon.json'));
}

/** The record in a build folder, or null. @param {string} file */
export function readRecord(file) {
  try {
    const record = JSON.parse(readFileSync(file, 'utf8'));
    return record?.schema === SCHEMA && typeof record.addon === 'string' ? record : null;
  } catch {
    return null;
  }
}

export const SCHEMA = 1;

/** The build folder's name for a libtorch: readable, and different for two of the same version. */
export function buildTag(libtorch) {
  const place = createHash('sha256').update(libtorch.root).digest('hex').slice(0, 8);
  return `torch-${libtorch.version}-${libtorch.cuda === null ? 'cpu' : 'cuda'}-${place}`;
}

/** Changes with the C++ sources, the CMake files and the libtorch they are built against. */
export function addonSourceHash(projectRoot, libtorch, { tests = false } = {}) {
  const parts = [
    'CMakeLists.txt',
    'cmake',
    'native/core',
    'native/models',
    'native/binding',
    ...(tests ? ['native/test'] : []),
  ];
  // Its size stands for its contents: hashing half a gigabyte would take longer than everything else.
  const { size } = statSync(join(libtorch.libraries, 'libtorch_cpu.so'));
  return hashTree(
    projectRoot,
    parts.map((name) => join(projectRoot, name)),
    [libtorch.root, libtorch.version, String(size), process.arch],
  );
}

/**
 * Whether the recorded addon is what the sources and this libtorch would give now. One that lies elsewhere is another
 * checkout's: this one was copied from it.
 */
export function isCurrent(projectRoot, record, libtorch) {
  return (
    record !== null &&
    existsSync(record.addon) &&
    !relative(realpathSync(join(projectRoot, 'build')), realpathSync(record.addon)).startsWith('..') &&
    record.sourceHash === addonSourceHash(projectRoot, libtorch)
  );
}
