#!/usr/bin/env node
// Does what is missing between `npm ci` and a working tool, and nothing when nothing is: compiles TypeScript, finds
// or provides libtorch, builds the addon, loads it once. Plain JavaScript, because it runs before any compiler did.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildAddon } from './lib/build-addon.mjs';
import { compileTypescript } from './lib/compile-typescript.mjs';
import { findLibtorch, inspectLibtorch, PROJECT_ROOT } from './lib/find-libtorch.mjs';
import { withLock } from './lib/lock.mjs';
import { provideLibtorch } from './lib/provide-libtorch.mjs';
import { createReporter } from './lib/reporter.mjs';
import { EXIT, SetupError } from './lib/setup-error.mjs';

const USAGE = `Usage: node scripts/setup.mjs [options]

Compiles TypeScript, finds libtorch (or fetches the pinned CPU build) and builds the native addon, each only if needed.

  --typescript-only   stop after TypeScript
  --native-only       leave dist/ as it is: only libtorch and the addon
  --cmake             run cmake itself and not through cmake-js
  --force-native      build the addon from nothing
  --tests             also build the core's own test binary
  --libtorch PATH     use this libtorch; else $LIBTORCH, the current Python's PyTorch, .libtorch/, /usr
  --quiet             print errors only
  --json              print what was found and done as one JSON object on stdout
  --help              print this

Exit codes: 0 done, 1 build failed, 2 wrong usage, 3 something is missing on this machine.`;

function parse(argv) {
  try {
    return parseArgs({
      args: argv,
      options: {
        'typescript-only': { type: 'boolean', default: false },
        'native-only': { type: 'boolean', default: false },
        cmake: { type: 'boolean', default: false },
        'force-native': { type: 'boolean', default: false },
        tests: { type: 'boolean', default: false },
        libtorch: { type: 'string' },
        quiet: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new SetupError(EXIT.usage, `${error.message}\n\n${USAGE}`);
  }
}

async function setUp(options, { say, longStep }) {
  if (options['typescript-only']) return { typescript: await compileTypescript(PROJECT_ROOT, say) };

  const [typescript, { chosen }] = await Promise.all([
    options['native-only'] ? 'skipped' : compileTypescript(PROJECT_ROOT, say),
    findLibtorch({ projectRoot: PROJECT_ROOT, explicit: options.libtorch }),
  ]);
  const libtorch =
    chosen ?? inspectLibtorch(await provideLibtorch({ projectRoot: PROJECT_ROOT, say, longStep })).libtorch;
  const { state, record } = await buildAddon({
    projectRoot: PROJECT_ROOT,
    libtorch,
    say,
    longStep,
    force: options['force-native'],
    tests: options.tests,
    plainCmake: options.cmake,
  });
  return { typescript, libtorch, addon: { state, ...record } };
}

async function main() {
  const options = parse(process.argv.slice(2));
  if (options.help) {
    console.log(USAGE);
    return;
  }
  const reporter = createReporter({ quiet: options.quiet });
  const lock = join(PROJECT_ROOT, 'build', '.setup-lock');
  const done = await withLock(lock, reporter.say, () => setUp(options, reporter));
  if (options.json) console.log(JSON.stringify(done, null, 2));
}

try {
  await main();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`setup: ${error.message}`);
  process.exitCode = error.exitCode;
}
