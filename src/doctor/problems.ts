import { basename } from 'node:path';
import { isCmakeTooOld, LEAST_CMAKE, NEWER_CMAKE } from '../../scripts/lib/build-tools.mjs';
import { referenceBlas } from './reference-blas.js';
import type { DoctorProblem, DoctorReport } from './report.js';

/** Everything the doctor measured, before it is judged. */
export type Findings = Omit<DoctorReport, 'ok' | 'problems'>;

const GIBIBYTE = 2 ** 30;

/** Judges what was found: each problem with what to do, errors first. */
export function findProblems(findings: Findings): DoctorProblem[] {
  const problems = [
    ...nodeProblems(findings),
    ...libtorchProblems(findings),
    ...addonProblems(findings),
    ...toolProblems(findings),
    ...deviceProblems(findings),
    ...resourceProblems(findings),
  ];
  return [...problems.filter((p) => p.severity === 'error'), ...problems.filter((p) => p.severity === 'warning')];
}

const error = (what: string, todo: string): DoctorProblem => ({ severity: 'error', what, todo });
const warning = (what: string, todo: string): DoctorProblem => ({ severity: 'warning', what, todo });

function nodeProblems({ tools }: Findings): DoctorProblem[] {
  const version = tools.find(({ name }) => name === 'node')?.version ?? '0.0.0';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const supported = (major === 20 && minor >= 17) || (major === 22 && minor >= 9) || major > 22;
  return supported ? [] : [error(`Node ${version} is not supported.`, 'Install Node 20.17, 22.9 or newer.')];
}

function libtorchProblems({ libtorch, addon }: Findings): DoctorProblem[] {
  const explicit = libtorch.find(({ source }) => source === 'explicit');
  if (explicit?.problem) {
    return [error(`LIBTORCH is wrong: ${explicit.problem}.`, 'Correct LIBTORCH, or unset it to have one found.')];
  }
  if (libtorch.some(({ chosen }) => chosen) || addon.path !== null) return [];
  return [error('No libtorch was found.', 'Run `npm run setup`: it fetches one, or says how to name yours.')];
}

function addonProblems({ addon, libtorch }: Findings): DoctorProblem[] {
  if (addon.path === null) return [error('The addon is not built.', 'Run `npm run setup`.')];
  if (addon.error !== null) {
    return [error(`The addon does not load: ${addon.error}`, 'Run `npm run build` to build it from nothing.')];
  }
  const problems: DoctorProblem[] = [];
  const chosen = libtorch.find((candidate) => candidate.chosen)?.libtorch;
  if (addon.current === false && addon.builtFor !== null) {
    problems.push(
      chosen && (chosen.root !== addon.builtFor.root || chosen.version !== addon.builtFor.version)
        ? warning(
            `The addon was built for libtorch ${addon.builtFor.version} in ${addon.builtFor.root}, but a set-up would now choose ${chosen.version} in ${chosen.root}.`,
            'Run `npm run setup` to switch, or set LIBTORCH to keep the one in use.',
          )
        : warning('The addon is older than its sources.', 'Run `npm run setup`.'),
    );
  }
  return [...problems, ...libraryProblems(addon.libraries, addon.builtFor?.root ?? null)];
}

function libraryProblems(libraries: readonly string[], root: string | null): DoctorProblem[] {
  const problems: DoctorProblem[] = [];
  const torch = libraries.find((path) => basename(path).startsWith('libtorch_cpu.so'));
  if (root !== null && torch !== undefined && !torch.startsWith(`${root}/`)) {
    problems.push(
      warning(
        `The addon was built for ${root} but loaded ${torch}.`,
        process.env.LD_LIBRARY_PATH
          ? 'Unset LD_LIBRARY_PATH, which wins over the path the addon was linked with.'
          : 'The project was moved or copied after it was built: run `npm run build`.',
      ),
    );
  }
  const openmp = libraries.filter((path) => /^lib(gomp|iomp5|omp)\b/.test(basename(path)));
  if (openmp.length > 1) {
    problems.push(
      warning(
        `${openmp.length} OpenMP runtimes are loaded (${openmp.join(', ')}): each has its own threads.`,
        'Unset LD_LIBRARY_PATH and LD_PRELOAD, then run `npm run build`.',
      ),
    );
  }
  const slow = referenceBlas(libraries);
  return slow === null ? problems : [...problems, slow];
}

// A missing compiler matters only to someone who has no working addon.
function toolProblems({ tools, addon, runtime }: Findings): DoctorProblem[] {
  if (addon.path !== null && runtime !== null) return [];
  const missing = tools.filter(({ neededTo, version }) => neededTo === 'build' && version === null);
  const maker = tools.some(({ name, version }) => (name === 'ninja' || name === 'make') && version !== null);
  const names = [...missing.map(({ name }) => name), ...(maker ? [] : ['make or ninja'])];
  const problems: DoctorProblem[] = [];
  if (names.length > 0) {
    problems.push(
      error(`To build the addon these are missing: ${names.join(', ')}.`, 'sudo apt-get install g++ cmake make'),
    );
  }
  const cmake = tools.find(({ name }) => name === 'cmake')?.version ?? null;
  if (cmake !== null && isCmakeTooOld(cmake)) {
    problems.push(
      error(`cmake ${cmake} is too old to build the addon: ${LEAST_CMAKE} or newer is needed.`, NEWER_CMAKE),
    );
  }
  return problems;
}

function deviceProblems({ devices, runtime }: Findings): DoctorProblem[] {
  const failed = devices.flatMap(({ device, error: why }) => {
    if (why === null) return [];
    const todo =
      device === 'cpu'
        ? 'Run `npm run build`; if it fails again, please report it with the output of `npm run doctor`.'
        : `Check the driver with nvidia-smi, or run on the CPU with --device cpu.`;
    return [error(`A short training on ${device} failed: ${why}`, todo)];
  });
  if (runtime?.cudaBuilt && runtime.cudaDevices.length === 0) {
    const why = runtime.cudaProblem ? `: ${runtime.cudaProblem}` : '';
    failed.push(
      warning(
        `This libtorch has CUDA, but no device answers${why}`,
        'Check the driver with nvidia-smi; the CPU works without.',
      ),
    );
  }
  return failed;
}

function resourceProblems({ system }: Findings): DoctorProblem[] {
  const problems: DoctorProblem[] = [];
  if (system.memoryBytes < 2 * GIBIBYTE) {
    problems.push(warning('Less than 2 GiB of memory.', 'Use smaller batches and a narrower network (--width 16).'));
  }
  if (system.freeDiskBytes < GIBIBYTE) {
    problems.push(
      warning('Less than 1 GiB of disk is free.', 'Free some: libtorch takes 0.5 GiB, a data set 0.2 GiB.'),
    );
  }
  return problems;
}
