import { createHash } from 'node:crypto';
import { createReadStream, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/**
 * Every regular file under the paths (files or folders), sorted; a path that does not exist holds nothing.
 * @param {readonly string[]} paths
 * @returns {string[]}
 */
export function listFiles(paths) {
  /** @type {string[]} */
  const files = [];
  const visit = (/** @type {string} */ path) => {
    try {
      for (const entry of readdirSync(path, { withFileTypes: true })) {
        const child = join(path, entry.name);
        if (entry.isDirectory()) visit(child);
        else if (entry.isFile()) files.push(child);
      }
    } catch (error) {
      if (error.code === 'ENOTDIR') files.push(path);
      else if (error.code !== 'ENOENT') throw error;
    }
  };
  for (const path of paths) visit(path);
  return files.sort();
}

/**
 * SHA-256 over names and contents, so that a touched but unchanged file is not a change.
 * @param {string} root names are taken relative to it
 * @param {readonly string[]} paths files or folders
 * @param {readonly string[]} [extra] further strings that count as content
 */
export function hashTree(root, paths, extra = []) {
  const hash = createHash('sha256');
  for (const file of listFiles(paths)) {
    const bytes = readFileSync(file);
    hash.update(`${relative(root, file)}\0${bytes.length}\0`).update(bytes);
  }
  for (const text of extra) hash.update(`${text}\0`);
  return hash.digest('hex');
}

/** SHA-256 of one file of any size. @param {string} file @returns {Promise<string>} */
export async function hashFile(file) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}
