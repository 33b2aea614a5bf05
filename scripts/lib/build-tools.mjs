import { onPath } from './find-libtorch.mjs';
import { runCommand } from './run-command.mjs';
import { environmentMissing } from './setup-error.mjs';

/** What CMakeLists.txt demands. */
export const LEAST_CMAKE = '3.18';

const INSTALL = 'On Debian and Ubuntu: sudo apt-get install g++ cmake make';

/** Where a newer CMake comes from when the distribution has none. */
export const NEWER_CMAKE = 'python3 -m pip install cmake, or https://cmake.org/download';

/** Whether a version such as `3.16.3` is below LEAST_CMAKE. @param {string} version */
export function isCmakeTooOld(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [leastMajor, leastMinor] = LEAST_CMAKE.split('.').map(Number);
  return major < leastMajor || (major === leastMajor && minor < leastMinor);
}

/**
 * Says what this machine lacks to build the addon, before anything is configured.
 *
 * @param {NodeJS.ProcessEnv} [env]
 * @throws SetupError when a tool is missing or CMake is too old
 */
export async function requireBuildTools(env = process.env) {
  const cmake = onPath('cmake', env);
  const compilers = ['c++', 'g++', 'clang++'];
  const missing = [
    cmake === null ? `cmake (${LEAST_CMAKE} or newer)` : null,
    env.CXX || compilers.some((name) => onPath(name, env)) ? null : 'a C++ compiler (g++ 9 or newer)',
    onPath('ninja', env) || onPath('make', env) ? null : 'ninja or make',
  ].filter((name) => name !== null);
  if (missing.length > 0) {
    throw environmentMissing(`To build the addon these are missing: ${missing.join(', ')}. ${INSTALL}`);
  }
  const { stdout } = await runCommand(cmake, ['--version'], { env, timeoutMs: 15_000 });
  const version = stdout.match(/cmake version (\d+\.\d+(\.\d+)?)/)?.[1];
  // One that does not say its version is left to say why itself.
  if (version !== undefined && isCmakeTooOld(version)) {
    throw environmentMissing(
      `cmake ${version} (${cmake}) is too old to build the addon: ${LEAST_CMAKE} or newer is needed. Get one by ${NEWER_CMAKE}`,
    );
  }
}
