import { counted } from '../formats/plural.js';
import type { AddonReport, DeviceTrial, DoctorReport, LibtorchCandidate, ToolReport } from './report.js';

/** The report in words, for a terminal: what was found, then each problem with what to do. No colours. */
export function formatDoctor(report: DoctorReport): string {
  const sections = [
    section('Machine', machineLines(report)),
    section('Tools', report.tools.map(toolLine)),
    section('libtorch, in search order', report.libtorch.map(candidateLine)),
    section('Addon', addonLines(report.addon)),
    ...(report.runtime === null ? [] : [section('Runtime', runtimeLines(report))]),
    ...(report.devices.length === 0 ? [] : [section('A short training', report.devices.map(deviceLine))]),
    verdict(report),
  ];
  return `${sections.join('\n\n')}\n`;
}

const section = (title: string, lines: readonly string[]): string =>
  [title, ...lines.map((line) => `  ${line}`)].join('\n');

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

function machineLines({ system }: DoctorReport): string[] {
  return [
    `${system.platform}, ${system.libc ?? 'unknown C library'}`,
    `${system.cpu}, ${counted(system.cores, 'core')}`,
    `${gibibytes(system.memoryBytes)} of memory (${gibibytes(system.freeMemoryBytes)} free), ${gibibytes(system.freeDiskBytes)} of disk free`,
  ];
}

function toolLine({ name, version, path, neededTo }: ToolReport): string {
  if (version !== null) return `${name} ${version}  ${path ?? ''}`.trimEnd();
  const state = path === null ? 'not found' : `does not answer (${path})`;
  return `${name} ${state}${neededTo === null ? ', not required' : ''}`;
}

function candidateLine({ source, where, libtorch, problem, chosen }: LibtorchCandidate): string {
  if (libtorch === null) return `- ${source}: ${problem ?? 'unusable'}`;
  const half = libtorch.cuda === null ? 'CPU' : `CUDA ${libtorch.cuda}`;
  const what = `${source}: libtorch ${libtorch.version}, ${half}, C++${libtorch.cxxStandard}, ${where}`;
  return chosen ? `* ${what} (chosen)` : `- ${what} (an earlier one was chosen)`;
}

function addonLines(addon: AddonReport): string[] {
  if (addon.path === null) return ['not built'];
  const { builtFor, current } = addon;
  const age = current === null ? '' : current ? ', up to date' : ', out of date';
  return [
    addon.path,
    builtFor === null ? 'not built by the set-up' : `built for libtorch ${builtFor.version} in ${builtFor.root}${age}`,
    ...(addon.error === null ? [] : [`does not load: ${addon.error}`]),
    ...addon.libraries.map((path) => `loads ${path}`),
  ];
}

function runtimeLines({ runtime }: DoctorReport): string[] {
  if (runtime === null) return [];
  const cuda = runtime.cudaBuilt
    ? `CUDA: ${counted(runtime.cudaDevices.length, 'device')}, graphs ${runtime.cudaGraphs ? 'on' : 'off'}`
    : 'CUDA: not in this libtorch';
  return [
    `libtorch ${runtime.torch}, C++${runtime.cxxStandard}, Node-API ${runtime.napiVersion}`,
    `${counted(runtime.threads, 'thread')}, ${runtime.cpuCapability}${runtime.cpuBf16 ? ', bfloat16 in hardware' : ''}`,
    cuda,
    ...new Set([...libraryLines(runtime.blas), ...libraryLines(runtime.parallel)]),
  ];
}

// libtorch tells everything about its own compilation; these lines say what decides speed.
const TELLING = /math kernel|mkl|openblas|blas|dnn|openmp|backend/i;

function libraryLines(text: string): string[] {
  const lines = text.split('\n').map((line) => line.trim().replace(/^- /, ''));
  return lines.filter((line) => TELLING.test(line) && !/^Build settings|_THREADS|max_threads/.test(line));
}

function deviceLine({ device, name, memoryBytes, milliseconds, error }: DeviceTrial): string {
  const memory = memoryBytes === null ? '' : `, ${gibibytes(memoryBytes)}`;
  const result = milliseconds === null ? `failed: ${error ?? 'no answer'}` : `${milliseconds.toFixed(1)} ms`;
  return `${device} (${name}${memory}): ${result}`;
}

function verdict({ ok, problems }: DoctorReport): string {
  if (problems.length === 0) return 'Everything is in order.';
  const lines = problems.map(({ severity, what, todo }) => `${severity}: ${what}\n    ${todo}`);
  return section(ok ? 'It runs, with remarks' : 'It does not run yet', lines);
}
