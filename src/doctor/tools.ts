import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { currentPython, onPath } from '../../scripts/lib/find-libtorch.mjs';
import { runCommand } from '../../scripts/lib/run-command.mjs';
import type { SystemReport, ToolReport } from './report.js';

const ANSWER_WITHIN_MS = 15_000;
const LAUNCHERS: ReadonlySet<string> = new Set(['ccache', 'sccache', 'distcc']);

/** Asks every program the tool or its set-up uses for its version; none of them may be missing for this to work. */
export async function probeTools(env: NodeJS.ProcessEnv): Promise<ToolReport[]> {
  // Arguments may follow, and a launcher may come before: `ccache g++ -m64`.
  const asked = env.CXX?.trim()
    .split(/\s+/)
    .find((word) => word !== '' && !LAUNCHERS.has(word));
  const compiler = asked
    ? (onPath(asked, env) ?? asked)
    : (onPath('c++', env) ?? onPath('g++', env) ?? onPath('clang++', env));
  return [
    { name: 'node', version: process.versions.node, path: process.execPath, neededTo: 'run' },
    ...(await Promise.all([
      probe('npm', onPath('npm', env), null, env),
      probe('C++ compiler', compiler, 'build', env),
      probe('cmake', onPath('cmake', env), 'build', env),
      probe('ninja', onPath('ninja', env), null, env),
      probe('make', onPath('make', env), null, env),
      probe('python', currentPython(env), null, env),
    ])),
  ];
}

async function probe(
  name: string,
  path: string | null,
  neededTo: ToolReport['neededTo'],
  env: NodeJS.ProcessEnv,
): Promise<ToolReport> {
  if (path === null) return { name, version: null, path, neededTo };
  const { code, stdout } = await runCommand(path, ['--version'], { env, timeoutMs: ANSWER_WITHIN_MS });
  return { name, version: code === 0 ? versionIn(stdout) : null, path, neededTo };
}

/** The version in what a program prints, e.g. `12.2.0` of `c++ (Debian 12.2.0-14+deb12u1) 12.2.0`. */
export function versionIn(output: string): string | null {
  // Else the last one on its line: a distribution's package version may come first.
  for (const line of output.split('\n')) {
    const found = line.match(/version (\d+\.\d+(?:\.\d+)?)/)?.[1] ?? line.match(/\d+\.\d+(\.\d+)?/g)?.at(-1);
    if (found !== undefined) return found;
  }
  return null;
}

/** The machine: processor, memory, and the disk that holds `folder`. */
export async function probeSystem(folder: string): Promise<SystemReport> {
  const { bavail, bsize } = await statfs(folder);
  return {
    platform: `${process.platform}-${process.arch}`,
    libc: libcVersion(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: memoryLimit() ?? totalmem(),
    freeMemoryBytes: process.availableMemory(),
    freeDiskBytes: bavail * bsize,
  };
}

function libcVersion(): string | null {
  const report: unknown = process.report.getReport();
  if (typeof report !== 'object' || report === null) return null;
  const header: unknown = Reflect.get(report, 'header');
  if (typeof header !== 'object' || header === null) return null;
  const version: unknown = Reflect.get(header, 'glibcVersionRuntime');
  return typeof version === 'string' ? `glibc ${version}` : null;
}

// A container's limit is what counts there; /proc's total is the host's.
function memoryLimit(): number | null {
  try {
    const limit = Number(readFileSync('/sys/fs/cgroup/memory.max', 'utf8'));
    return Number.isFinite(limit) && limit < totalmem() ? limit : null;
  } catch {
    return null;
  }
}
