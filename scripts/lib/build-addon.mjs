import { existsSync, realpathSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { addonSourceHash, buildTag, isCurrent, readRecord, SCHEMA } from './addon-record.mjs';
import { requireBuildTools } from './build-tools.mjs';
import { resolveFrom } from './compile-typescript.mjs';
import { onPath } from './find-libtorch.mjs';
import { silently, stepOf } from './reporter.mjs';
import { runCommand } from './run-command.mjs';
import { buildFailed } from './setup-error.mjs';
import { testLoad } from './test-load.mjs';

/** One translation unit that includes libtorch's headers takes about this much memory to compile. */
const BYTES_PER_JOB = 1.2 * 2 ** 30;

/**
 * Makes build/<tag>/Release/padft.node current for a libtorch, test-loads it in a child process and records it in
 * build/addon.json. The record is written last: an addon that was not loaded once is never used.
 *
 * @param {{ projectRoot: string, libtorch: import('./find-libtorch.mjs').Libtorch, say: (line: string) => void,
 *   longStep?: import('./reporter.mjs').LongStep, force?: boolean, tests?: boolean, plainCmake?: boolean }} options
 *   `longStep` shows how far the compiler is; `tests`: also build the core's own test binary; `plainCmake`: run cmake itself and not through cmake-js, which then need not be installed
 * @returns {Promise<{ state: 'current' | 'built', record: import('./addon-record.mjs').AddonRecord }>}
 */
export async function buildAddon(options) {
  const { projectRoot, libtorch, say, longStep = silently, force = false, tests = false, plainCmake = false } = options;
  const folder = join(projectRoot, 'build', buildTag(libtorch));
  const recordFile = join(folder, 'record.json');
  if (force) {
    await requireBuildTools();
    await rm(folder, { recursive: true, force: true });
  }

  const previous = readRecord(recordFile);
  const addonCurrent = isCurrent(projectRoot, previous, libtorch);
  const testsHash = tests ? addonSourceHash(projectRoot, libtorch, { tests }) : null;
  const testsCurrent =
    !tests || (addonCurrent && previous.tests?.sourceHash === testsHash && existsSync(previous.tests.binary));
  if (addonCurrent && testsCurrent) {
    await select(projectRoot, previous);
    return { state: 'current', record: previous };
  }

  await requireBuildTools();
  const fits = await fitsHere(projectRoot, folder);
  if (!fits) await rm(folder, { recursive: true, force: true });
  const keepsAddon = addonCurrent && fits;
  const sourceHash = addonSourceHash(projectRoot, libtorch);
  const build = await openBuild(projectRoot, folder, libtorch, plainCmake);
  let record = previous;
  try {
    if (!keepsAddon) {
      say(`building the addon for libtorch ${libtorch.version} (${libtorch.root}): a few minutes from nothing`);
      say(`its log is ${build.logFile}`);
      await build.configure();
      await longStep('building the addon', (step) => build.target('padft', step));
      const addon = join(folder, 'Release', 'padft.node');
      const torch = await checkLoads(addon, libtorch, say);
      record = { schema: SCHEMA, addon, libtorch, torch, sourceHash, tests: null, builtAt: new Date().toISOString() };
      await writeRecord(recordFile, record);
    }
    if (!testsCurrent) {
      say("building the core's own tests: a minute or two");
      if (keepsAddon) await build.configure();
      await longStep("building the core's own tests", (step) => build.target('padft_core_tests', step));
      record = { ...record, tests: { binary: join(folder, 'Release', 'padft_core_tests'), sourceHash: testsHash } };
      await writeRecord(recordFile, record);
    }
  } finally {
    await build.close();
  }
  await select(projectRoot, record);
  return { state: 'built', record };
}

/** CMake's generators that are used here, and the program that each needs. */
const GENERATORS = new Map([
  ['Ninja', 'ninja'],
  ['Unix Makefiles', 'make'],
]);

/** What an earlier configuration of a build folder says of itself, by CMake's own name. */
async function cached(folder, name) {
  const text = await readFile(join(folder, 'CMakeCache.txt'), 'utf8').catch(() => '');
  return text.match(new RegExp(`^${name}:\\w+=(.*)$`, 'm'))?.[1] ?? null;
}

// CMake refuses a folder that was configured for other sources (a checkout that was copied), or whose generator is gone.
async function fitsHere(projectRoot, folder) {
  const sources = await cached(folder, 'CMAKE_HOME_DIRECTORY');
  if (sources === null) return true;
  const here = existsSync(sources) && realpathSync(sources) === realpathSync(projectRoot);
  const program = GENERATORS.get(await cached(folder, 'CMAKE_GENERATOR'));
  const own = await cached(folder, 'CMAKE_MAKE_PROGRAM');
  return here && program !== undefined && onPath(program) !== null && own !== null && existsSync(own);
}

/** The generator of a build folder: its own, and for a new one the quicker of those that are there. */
async function generatorOf(folder) {
  const own = await cached(folder, 'CMAKE_GENERATOR');
  return own ?? [...GENERATORS.keys()].find((name) => onPath(GENERATORS.get(name)) !== null);
}

// cmake-js configures only a folder without a cache; configuring each time before a build notices a CUDA toolkit
// that came or went, and costs under a second. `build`, not `compile`: that one deletes the folder on an error.
async function openBuild(projectRoot, folder, libtorch, plainCmake) {
  // cmake-js looks for these two names and not for $CXX.
  const knownToCmakeJs = onPath('g++') !== null || onPath('clang++') !== null;
  const commands = plainCmake || !knownToCmakeJs ? cmakeCommands : cmakeJsCommands;
  const driver = commands(projectRoot, folder, libtorch, await generatorOf(folder));
  await mkdir(folder, { recursive: true });
  const logFile = join(folder, 'build.log');
  const log = await open(logFile, 'w');
  // CMake's own variable, which `--parallel` would override.
  const asked = Number(process.env.CMAKE_BUILD_PARALLEL_LEVEL) || Number.POSITIVE_INFINITY;
  const jobs = Math.max(
    1,
    Math.min(asked, availableParallelism(), Math.floor(process.availableMemory() / BYTES_PER_JOB)),
  );

  const run = async ({ name, file, args }, step = () => {}) => {
    let writes = Promise.resolve();
    const { code, output } = await runCommand(file, args, {
      cwd: projectRoot,
      env: { ...process.env, LC_ALL: 'C.UTF-8', LIBTORCH: libtorch.root },
      onOutput: (chunk) => {
        const at = stepOf(chunk);
        if (at !== null) step(at);
        writes = writes.then(() => log.write(chunk)).then(() => undefined);
      },
    });
    await writes;
    if (code !== 0) throw buildFailed(`${name} failed; the whole log is ${logFile}\n${firstErrors(output)}`);
  };
  return {
    logFile,
    configure: () => run(driver.configure()),
    target: (name, step) => run(driver.build(['--target', name, '--parallel', String(jobs)]), step),
    close: () => log.close(),
  };
}

function cmakeJsCommands(projectRoot, folder, libtorch, generator) {
  const cmakeJs = join(dirname(resolveFrom(projectRoot, 'cmake-js/package.json')), 'bin', 'cmake-js');
  const command = (name, extra) => ({
    name: `cmake-js ${name}`,
    file: process.execPath,
    args: [
      cmakeJs,
      name,
      '--directory',
      projectRoot,
      '--out',
      folder,
      '--config',
      'Release',
      '--generator',
      generator,
      ...extra,
    ],
  });
  return {
    configure: () => command('configure', [`--CDLIBTORCH=${libtorch.root}`]),
    build: (extra) => command('build', extra),
  };
}

// CMakeLists.txt puts its outputs where cmake-js would and finds node_modules' Node-API headers by itself.
function cmakeCommands(projectRoot, folder, libtorch, generator) {
  const settings = ['-DCMAKE_BUILD_TYPE=Release', `-DLIBTORCH=${libtorch.root}`];
  return {
    configure: () => ({
      name: 'cmake (configure)',
      file: 'cmake',
      args: ['-S', projectRoot, '-B', folder, '-G', generator, ...settings],
    }),
    build: (extra) => ({ name: 'cmake --build', file: 'cmake', args: ['--build', folder, ...extra] }),
  };
}

/** The lines around the first error: the last ones of a parallel build seldom say why. @param {string} output */
export function firstErrors(output) {
  const lines = output.trimEnd().split('\n');
  const first = lines.findIndex((line) => /\berror\b|CMake Error|undefined reference|No such file/i.test(line));
  return (first < 0 ? lines.slice(-20) : lines.slice(Math.max(0, first - 3), first + 17)).join('\n');
}

async function checkLoads(addon, libtorch, say) {
  say('loading the addon once, in a process of its own');
  const answer = await testLoad(addon);
  if (!answer.ok) {
    throw buildFailed(`The addon was built but does not load: ${answer.error}\nRun \`npm run doctor\` for more.`);
  }
  const { torch } = answer.runtime;
  const loaded = answer.libraries.find((path) => basename(path).startsWith('libtorch_cpu.so'));
  if (loaded !== undefined && realpathSync(dirname(loaded)) !== libtorch.libraries) {
    throw buildFailed(
      `The addon was built for libtorch in ${libtorch.libraries} but loaded ${loaded}. LD_LIBRARY_PATH ` +
        `(${process.env.LD_LIBRARY_PATH ?? 'not set'}) wins over the path the addon was linked with: unset it.`,
    );
  }
  return torch;
}

async function select(projectRoot, record) {
  const file = join(projectRoot, 'build', 'addon.json');
  const text = serialize(record);
  if ((await readFile(file, 'utf8').catch(() => null)) !== text) await writeRecord(file, record);
}

const serialize = (record) => `${JSON.stringify(record, null, 2)}\n`;

async function writeRecord(file, record) {
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, serialize(record));
  await rename(temporary, file);
}
