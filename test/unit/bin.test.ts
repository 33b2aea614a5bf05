import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

const BIN = join(import.meta.dirname, '../../bin/pad-ft.mjs');

test('the command says what to run where nothing is built, and is the program where it is', () => {
  // A blank, which a URL writes otherwise.
  const folder = mkdtempSync(join(tmpdir(), 'pad-ft bin-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'bin'));
  cpSync(BIN, join(folder, 'bin/pad-ft.mjs'));
  const start = (...argv: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(folder, 'bin/pad-ft.mjs'), ...argv]);
    return { status, stdout: String(stdout), stderr: String(stderr) };
  };
  const bare = start('doctor');
  expect(bare).toMatchObject({ status: 3, stdout: '' });
  expect(bare.stderr).toContain(`run \`npm run setup\` in ${folder}`);
  mkdirSync(join(folder, 'dist/cli'), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(folder, 'dist/cli/main.js'), 'console.log(process.argv.slice(2).join()); process.exitCode = 7;');
  expect(start('doctor', '--json')).toEqual({ status: 7, stdout: 'doctor,--json\n', stderr: '' });
});
