#!/usr/bin/env node
// Packs everything a machine without Node, npm and network needs to build and run this project against the PyTorch
// it has: two files, pad-ft-offline.tar.xz and install.sh. See docs/offline.md.
//
//   node scripts/offline-bundle.mjs OUT_DIR [--with-tests] [--as-is]
//
// The archive holds one folder, pad-ft/: this very Node, stripped and compressed (bin/node.xz), the few npm packages
// needed at run time, dist/, the C++ sources and the scripts. It is Linux of this processor's kind only. The
// target needs bash, tar, xz or Python, CMake, ninja or make, a C++ compiler and a PyTorch with headers.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { compileTypescript } from './lib/compile-typescript.mjs';
import { onPath, PROJECT_ROOT } from './lib/find-libtorch.mjs';
import { hashFile } from './lib/hash-files.mjs';
import { buildFailed, EXIT, environmentMissing, SetupError } from './lib/setup-error.mjs';

const USAGE = `Usage: node scripts/offline-bundle.mjs OUT_DIR [options]

Writes OUT_DIR/pad-ft-offline.tar.xz and OUT_DIR/install.sh: what a machine without Node, npm and network needs.

  --with-tests   also pack src/, test/ and vitest
  --as-is        pack dist/ as it lies there, without compiling TypeScript first
  --help         print this

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something is missing on this machine.`;

const ARCHIVE = 'pad-ft-offline.tar.xz';
const MAX_MIB = 45;
const RUNTIME = ['commander', 'cli-table3', 'tar', 'node-addon-api', 'node-api-headers'];
const ALWAYS = ['bin', 'dist', 'native', 'cmake', 'scripts', 'bench', 'CMakeLists.txt', 'binding.gyp', 'package.json'];
const OPTIONAL = ['tsconfig.json', 'README.md', 'LICENSE'];
const FOR_TESTS = ['src', 'test', 'vitest.config.ts'];
/** Declarations and maps serve an editor, not a run. */
const NOT_FROM_PACKAGES = /\.(?:map|d\.[cm]?ts)$/;

function parse(argv) {
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        'with-tests': { type: 'boolean', default: false },
        'as-is': { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (!values.help && positionals.length !== 1) throw new Error('One OUT_DIR is expected.');
    return { ...values, out: positionals[0] };
  } catch (error) {
    throw new SetupError(EXIT.usage, `${error.message}\n\n${USAGE}`);
  }
}

/** Runs a program; its standard output goes to a file when one is given. @throws SetupError when it fails */
function run(file, args, output) {
  const target = output === undefined ? 'ignore' : openSync(output, 'w');
  const { status, stderr, error } = spawnSync(file, args, { encoding: 'utf8', stdio: ['ignore', target, 'pipe'] });
  if (typeof target === 'number') closeSync(target);
  if (status !== 0) throw buildFailed(`${file} ${args.join(' ')} failed: ${error?.message ?? stderr.trim()}`);
}

/** The packages and all they depend on, as folders under node_modules; optional ones only when installed. */
function dependencyClosure(names) {
  const found = new Set();
  const visit = (name, optional) => {
    if (found.has(name)) return;
    const manifest = join(PROJECT_ROOT, 'node_modules', name, 'package.json');
    if (!existsSync(manifest)) {
      if (optional) return;
      throw environmentMissing(`${name} is not installed: run \`npm ci\` in ${PROJECT_ROOT}.`);
    }
    found.add(name);
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(readFileSync(manifest, 'utf8'));
    for (const next of Object.keys(dependencies)) visit(next, next in optionalDependencies);
    for (const next of Object.keys(optionalDependencies)) visit(next, true);
  };
  for (const name of names) visit(name, false);
  return [...found].sort();
}

function stage(folder, withTests) {
  for (const name of [...ALWAYS, ...OPTIONAL, ...(withTests ? FOR_TESTS : [])]) {
    const source = join(PROJECT_ROOT, name);
    if (existsSync(source)) cpSync(source, join(folder, name), { recursive: true });
    else if (!OPTIONAL.includes(name)) throw environmentMissing(`${source} is missing: is this a whole checkout?`);
  }
  const packages = dependencyClosure(withTests ? [...RUNTIME, 'vitest'] : RUNTIME);
  for (const name of packages) {
    cpSync(join(PROJECT_ROOT, 'node_modules', name), join(folder, 'node_modules', name), {
      recursive: true,
      filter: (path) => !NOT_FROM_PACKAGES.test(path),
    });
  }
  return packages;
}

/** This Node, stripped and compressed; kept in build/, because compressing it takes about a minute. */
async function compressedNode(say) {
  const node = realpathSync(process.execPath);
  const cache = join(PROJECT_ROOT, 'build', 'offline');
  const target = join(cache, `node-${process.version}-${(await hashFile(node)).slice(0, 12)}.xz`);
  if (existsSync(target)) return target;
  say(`compressing ${node}; takes about a minute, once`);
  mkdirSync(cache, { recursive: true });
  const stripped = join(cache, `node.${process.pid}`);
  try {
    copyFileSync(node, stripped);
    if (onPath('strip') !== null) run('strip', [stripped]);
    run('xz', ['-9e', '-T1', '-c', stripped], `${stripped}.xz`);
    renameSync(`${stripped}.xz`, target);
  } finally {
    rmSync(stripped, { force: true });
    rmSync(`${stripped}.xz`, { force: true });
  }
  return target;
}

async function main() {
  const options = parse(process.argv.slice(2));
  if (options.help) {
    console.log(USAGE);
    return;
  }
  const say = (line) => console.error(`bundle: ${line}`);
  for (const tool of ['tar', 'xz']) {
    if (onPath(tool) === null) throw environmentMissing(`${tool} is not on PATH: install it (Debian: tar, xz-utils).`);
  }
  if (!options['as-is']) await compileTypescript(PROJECT_ROOT, say);
  const node = await compressedNode(say);

  const out = resolve(options.out);
  mkdirSync(out, { recursive: true });
  const work = mkdtempSync(join(out, '.bundle-'));
  try {
    const folder = join(work, 'pad-ft');
    mkdirSync(join(folder, 'bin'), { recursive: true });
    copyFileSync(node, join(folder, 'bin', 'node.xz'));
    const packages = stage(folder, options['with-tests']);
    say(`packing ${packages.length} packages: ${packages.join(', ')}`);
    const archive = join(work, 'archive');
    run('tar', ['-C', work, '--owner=0', '--group=0', '--sort=name', '-cf', `${archive}.tar`, 'pad-ft']);
    run('xz', ['-6', '-T0', '-c', `${archive}.tar`], archive);
    renameSync(archive, join(out, ARCHIVE));
    copyFileSync(join(PROJECT_ROOT, 'scripts', 'offline-install.sh'), join(out, 'install.sh'));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const mib = statSync(join(out, ARCHIVE)).size / 2 ** 20;
  say(`${join(out, ARCHIVE)} (${mib.toFixed(1)} MiB) and install.sh`);
  if (mib > MAX_MIB) say(`warning: it is larger than ${MAX_MIB} MiB, which some machines refuse to receive`);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`bundle: ${error.message}`);
  process.exitCode = error.exitCode;
}
