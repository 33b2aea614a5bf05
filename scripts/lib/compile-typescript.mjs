import { existsSync, readFileSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { hashTree } from './hash-files.mjs';
import { runCommand } from './run-command.mjs';
import { buildFailed, environmentMissing } from './setup-error.mjs';

/**
 * Compiles src/ to dist/ unless dist/ already is what src/ says. The new dist/ replaces the old one whole, so a
 * removed source leaves no stale output and a failed compile changes nothing. An installed package has no src/.
 *
 * @param {string} root the project's folder
 * @param {(line: string) => void} say
 * @returns {Promise<'current' | 'compiled' | 'shipped'>}
 */
export async function compileTypescript(root, say) {
  if (!existsSync(join(root, 'src'))) return 'shipped';
  const manifest = resolveFrom(root, 'typescript/package.json');
  const { version } = JSON.parse(readFileSync(manifest, 'utf8'));
  const inputs = ['src', 'tsconfig.json', 'scripts/lib'].map((name) => join(root, name));
  const hash = hashTree(root, inputs, [version]);
  const dist = join(root, 'dist');
  if (stampOf(dist) === hash) return 'current';

  say('compiling TypeScript to dist/');
  // Beside dist/, so that the source maps' relative paths stay right after the rename.
  const fresh = join(root, 'build-typescript');
  await rm(fresh, { recursive: true, force: true });
  try {
    const tsc = join(manifest, '..', 'lib', 'tsc.js');
    const args = [tsc, '--project', join(root, 'tsconfig.json'), '--outDir', fresh, '--pretty', 'false'];
    const { code, output } = await runCommand(process.execPath, args, { cwd: root });
    if (code !== 0) throw buildFailed(`TypeScript does not compile:\n${output.trimEnd()}`);
    await writeFile(join(fresh, STAMP), hash);
    await rm(dist, { recursive: true, force: true });
    await rename(fresh, dist);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return 'compiled';
}

const STAMP = '.source-hash';

function stampOf(dist) {
  try {
    return readFileSync(join(dist, STAMP), 'utf8');
  } catch {
    return null;
  }
}

/** The file a module specifier means for the project; @throws SetupError when `npm ci` was not run. */
export function resolveFrom(root, specifier) {
  try {
    return createRequire(join(root, 'package.json')).resolve(specifier);
  } catch {
    throw environmentMissing(`${specifier.split('/')[0]} is not installed: run \`npm ci\` in ${root}.`);
  }
}
