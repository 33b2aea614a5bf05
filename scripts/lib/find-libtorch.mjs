import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PROVIDED_VERSION } from './libtorch-pin.mjs';
import { lastLine, runCommand } from './run-command.mjs';
import { environmentMissing } from './setup-error.mjs';

/**
 * Finds libtorch. Where it is looked for, in this order; the first usable one is taken:
 *
 * 1. explicit   `--libtorch PATH`, else the environment variable LIBTORCH. If it is wrong, that is an error.
 * 2. python     the PyTorch of the current Python: $VIRTUAL_ENV's, else `python3`, else `python` on PATH.
 *               Python is asked where torch lies; torch is not imported.
 * 3. provided   `.libtorch/<version>/torch` in this project, put there by an earlier set-up.
 * 4. system     /usr, /usr/local: Debian's and Ubuntu's libtorch-dev.
 *
 * Types are in find-libtorch.d.mts.
 */

const MULTIARCH = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };
/** Older ones lack ops and headers the core uses. */
const OLDEST = [1, 13];

/** Where an earlier set-up put the libtorch it provided. @param {string} projectRoot */
export const providedRoot = (projectRoot) => join(projectRoot, '.libtorch', PROVIDED_VERSION, 'torch');

/** What lies at `root`, by its files alone; see the .d.mts. */
export function inspectLibtorch(root) {
  if (!existsSync(root)) return { libtorch: null, problem: `${root} does not exist` };
  const include = join(root, 'include');
  if (!existsSync(join(include, 'ATen', 'ATen.h')))
    return { libtorch: null, problem: `${root} has no include/ATen/ATen.h` };
  const multiarch = MULTIARCH[process.arch];
  const folders = ['lib', ...(multiarch === undefined ? [] : [join('lib', multiarch)])];
  const folder = folders.find((name) => existsSync(join(root, name, 'libtorch_cpu.so')));
  if (folder === undefined)
    return { libtorch: null, problem: `${root} has no libtorch_cpu.so in ${folders.join(' or ')}` };
  const version = headerVersion(include);
  if (version === null) return { libtorch: null, problem: `${root} has no readable torch/headeronly/version.h` };
  const [major, minor] = version.split('.').map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    return { libtorch: null, problem: `${root} holds libtorch ${version}; ${OLDEST.join('.')} or newer is needed` };
  }
  const libraries = join(root, folder);
  const libtorch = {
    root: realpathSync(root),
    libraries: realpathSync(libraries),
    version,
    cuda: existsSync(join(libraries, 'libtorch_cuda.so')) ? (cudaVersion(root) ?? 'unknown version') : null,
    cxxStandard: readFileSync(join(include, 'ATen', 'ATen.h'), 'utf8').includes('C++20') ? 20 : 17,
  };
  return { libtorch, problem: null };
}

/** Looks in every place in order; see the .d.mts. */
export async function findLibtorch(options) {
  const env = options.env ?? process.env;
  const candidates = [];
  let chosen = null;
  for (const place of [explicitPlace, pythonPlace, providedPlace, systemPlace]) {
    if (chosen !== null && !options.all) break;
    for (const { source, where, problem } of await place(options, env)) {
      const seen = problem === null ? inspectLibtorch(where) : { libtorch: null, problem };
      candidates.push({ source, where, ...seen, chosen: chosen === null && seen.libtorch !== null });
      if (source === 'explicit' && seen.libtorch === null && !options.all) {
        throw environmentMissing(
          `${seen.problem}. ${options.explicit === undefined ? 'LIBTORCH' : '--libtorch'} must name a folder that holds ` +
            'include/ and lib/, e.g. <site-packages>/torch, an unpacked libtorch archive, or /usr for libtorch-dev. ' +
            'Correct it, or leave it out to have one found.',
        );
      }
      if (chosen === null && seen.libtorch !== null) chosen = seen.libtorch;
      // A wrong explicit path hides every other place: setup would stop there.
      if (source === 'explicit' && seen.libtorch === null) return { chosen: null, candidates };
    }
  }
  return { chosen, candidates };
}

function explicitPlace(options, env) {
  const given = options.explicit ?? (env.LIBTORCH || undefined);
  return given === undefined ? [] : [{ source: 'explicit', where: resolve(given), problem: null }];
}

async function pythonPlace(_options, env) {
  const python = currentPython(env);
  if (python === null) return [{ source: 'python', where: 'python3', problem: 'no python3 or python on PATH' }];
  const answer = await runCommand(python, ['-c', FIND_TORCH], { env, timeoutMs: 20_000 });
  if (answer.code !== 0) {
    return [
      { source: 'python', where: python, problem: `${python} failed: ${lastLine(answer.output) || 'no answer'}` },
    ];
  }
  const where = lastLine(answer.stdout);
  return where === ''
    ? [{ source: 'python', where: python, problem: `${python} has no torch` }]
    : [{ source: 'python', where, problem: null }];
}

function providedPlace(options) {
  return [{ source: 'provided', where: providedRoot(options.projectRoot), problem: null }];
}

function systemPlace(options) {
  return (options.systemRoots ?? ['/usr', '/usr/local']).map((where) => ({ source: 'system', where, problem: null }));
}

const FIND_TORCH = [
  'import importlib.util as u',
  's = u.find_spec("torch")',
  'print(next(iter(s.submodule_search_locations or []), "") if s else "")',
].join('\n');

/** The interpreter a user means by "Python" now, or null. */
export function currentPython(env = process.env) {
  const activated = env.VIRTUAL_ENV ? join(env.VIRTUAL_ENV, 'bin', 'python') : null;
  if (activated !== null && existsSync(activated)) return activated;
  return onPath('python3', env) ?? onPath('python', env);
}

/** The file a bare command name means, or null. */
export function onPath(name, env = process.env) {
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    if (folder !== '' && existsSync(join(folder, name))) return join(folder, name);
  }
  return null;
}

// The macros moved in 2.9; Debian's 1.13 still has them in the C++ API's folder.
function headerVersion(include) {
  for (const header of ['torch/headeronly/version.h', 'torch/csrc/api/include/torch/version.h']) {
    const file = join(include, header);
    if (!existsSync(file)) continue;
    const text = readFileSync(file, 'utf8');
    const parts = ['MAJOR', 'MINOR', 'PATCH'].map(
      (name) => text.match(new RegExp(`define TORCH_VERSION_${name} (\\d+)`))?.[1],
    );
    if (parts.every((part) => part !== undefined)) return parts.join('.');
  }
  return null;
}

// Wheels say it in version.py; an unpacked archive in build-version, e.g. 2.13.0+cu130.
function cudaVersion(root) {
  const python = join(root, 'version.py');
  if (existsSync(python)) return readFileSync(python, 'utf8').match(/^cuda\b.*=\s*'([\d.]+)'/m)?.[1] ?? null;
  const archive = join(root, 'build-version');
  const digits = existsSync(archive) ? readFileSync(archive, 'utf8').match(/\+cu(\d+)(\d)/) : null;
  return digits ? `${digits[1]}.${digits[2]}` : null;
}

/** One line per candidate, for messages. */
export function describeCandidates(candidates) {
  return candidates.map(({ source, where, libtorch, problem }) =>
    libtorch === null ? `${source}: ${problem}` : `${source}: ${where}, libtorch ${libtorch.version}`,
  );
}

/** The folder of this project. */
export const PROJECT_ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
