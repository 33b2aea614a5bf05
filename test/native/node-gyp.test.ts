/**
 * `node-gyp rebuild` end to end. It empties the project's build/ first, where the tests beside this one have their
 * addon, and it would compile everything anew: so it runs in a folder that holds this binding.gyp and links to the
 * rest. The delegate follows the links, finds the project's own build up to date, and copies it where node-gyp wants
 * it. With PAD_FT_TEST_NODE_GYP=compile the folder holds copies instead: everything is compiled, in
 * minutes.
 */

import { copyFileSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { isCurrent, readAddonRecord } from '../../scripts/lib/addon-record.mjs';
import { onPath, PROJECT_ROOT } from '../../scripts/lib/find-libtorch.mjs';
import { runCommand } from '../../scripts/lib/run-command.mjs';
import { testLoad } from '../../scripts/lib/test-load.mjs';

/** node-gyp reads two .gypi files that lie beside Node's headers, even where nothing is compiled against these. */
const headers = [
  dirname(dirname(process.execPath)),
  '/usr',
  '/usr/local',
  join(homedir(), '.cache', 'node-gyp', process.versions.node),
].find((prefix) => ['node_api.h', 'common.gypi'].every((name) => existsSync(join(prefix, 'include', 'node', name))));

function nodeGyp(): string | null {
  try {
    return createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  } catch {
    return null;
  }
}

const program = nodeGyp();
const lacking = [
  headers === undefined ? `no Node headers beside ${process.execPath}, in /usr or in node-gyp's cache` : null,
  program === null ? 'node-gyp is not installed' : null,
  onPath('python3') === null ? 'no python3 on PATH' : null,
  onPath('make') === null ? 'no make on PATH' : null,
].filter((reason) => reason !== null);

it.skipIf(lacking.length > 0)(
  `node-gyp rebuild leaves an addon that loads${lacking.length > 0 ? ` (skipped: ${lacking.join('; ')})` : ''}`,
  async () => {
    const record = readAddonRecord(PROJECT_ROOT);
    // Otherwise the delegate would compile for minutes, under the tests beside this one.
    if (record === null || !isCurrent(PROJECT_ROOT, record, record.libtorch))
      throw new Error('The addon is not built from these sources: run `npm run setup`.');
    const folder = mkdtempSync(join(tmpdir(), 'pad-ft-node-gyp-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    copyFileSync(join(PROJECT_ROOT, 'binding.gyp'), join(folder, 'binding.gyp'));
    const compile = process.env.PAD_FT_TEST_NODE_GYP === 'compile';
    for (const name of ['CMakeLists.txt', 'cmake', 'native', 'scripts', 'src', 'tsconfig.json', 'package.json']) {
      if (compile) cpSync(join(PROJECT_ROOT, name), join(folder, name), { recursive: true });
      else symlinkSync(join(PROJECT_ROOT, name), join(folder, name));
    }
    symlinkSync(join(PROJECT_ROOT, 'node_modules'), join(folder, 'node_modules'));

    // The libtorch in use, and this very Node where binding.gyp says `node`.
    const path = `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ''}`;
    const env = { ...process.env, PATH: path, LIBTORCH: record.libtorch.root };
    const { code, output } = await runCommand(process.execPath, [String(program), 'rebuild', `--nodedir=${headers}`], {
      cwd: folder,
      env,
    });
    expect(code, output).toBe(0);
    expect(output).toContain('Building padft.node with CMake');
    // What make compares: a changed source must make node-gyp build again.
    expect(readFileSync(join(folder, 'build', 'padft.target.mk'), 'utf8')).toContain('native/core/trainer.cpp');

    // Compiled here, or the project's own.
    expect(existsSync(join(folder, 'build', 'addon.json'))).toBe(compile);
    const answer = await testLoad(join(folder, 'build', 'Release', 'padft.node'));
    expect(answer).toMatchObject({ ok: true, runtime: { torch: record.torch } });
    expect(answer.ok && answer.libraries.map(dirname)).toContain(record.libtorch.libraries);
  },
  30 * 60_000,
);

it('an addon that lies in another checkout is not this one’s, whatever it was built from', () => {
  const record = readAddonRecord(PROJECT_ROOT);
  if (record === null) throw new Error('The addon is not built: run `npm run setup`.');
  const folder = mkdtempSync(join(tmpdir(), 'pad-ft-copied-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of ['CMakeLists.txt', 'cmake', 'native']) {
    cpSync(join(PROJECT_ROOT, name), join(folder, name), { recursive: true });
  }
  const own = join(folder, 'build', 'padft.node');
  cpSync(record.addon, own, { recursive: true });
  expect(isCurrent(folder, { ...record, addon: own }, record.libtorch)).toBe(true);
  expect(isCurrent(folder, record, record.libtorch)).toBe(false);
});
