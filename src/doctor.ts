/**
 * The doctor: looks at everything a run needs and says what is wrong and what to do. It never loads the addon in
 * its own process and never fails itself: what cannot be found out is reported as such.
 */

import { existsSync } from 'node:fs';
import { type AddonRecord, isCurrent, readAddonRecord } from '../scripts/lib/addon-record.mjs';
import { findLibtorch, type Libtorch, PROJECT_ROOT } from '../scripts/lib/find-libtorch.mjs';
import { testLoad } from '../scripts/lib/test-load.mjs';
import { findProblems } from './doctor/problems.js';
import type { AddonReport, DeviceTrial, DoctorReport } from './doctor/report.js';
import { probeSystem, probeTools } from './doctor/tools.js';
import type { RuntimeInfo } from './native/contract.js';
import { addonCandidates } from './native/load.js';

export { formatDoctor } from './doctor/format.js';
export type * from './doctor/report.js';

export interface DiagnoseOptions {
  /** Defaults to this package's folder. */
  readonly projectRoot?: string;
  /** Defaults to process.env. */
  readonly env?: NodeJS.ProcessEnv;
  /** Where a system's libtorch may be installed. Defaults to /usr and /usr/local. */
  readonly systemRoots?: readonly string[];
  /**
   * Per device, for an epoch of a few rows in a child process. Defaults to 180 000: a cold disk gives CUDA's libraries
   * out slowly.
   */
  readonly deviceTimeoutMs?: number;
}

/** Examines the machine, libtorch, the addon and every device. Takes a few seconds; rejects only on a bug. */
export async function diagnose(options: DiagnoseOptions = {}): Promise<DoctorReport> {
  const { projectRoot = PROJECT_ROOT, env = process.env, deviceTimeoutMs = 180_000 } = options;
  const [system, tools, libtorch] = await Promise.all([
    probeSystem(projectRoot),
    probeTools(env),
    findLibtorch({ projectRoot, env, all: true, ...(options.systemRoots && { systemRoots: options.systemRoots }) }),
  ]);
  const { addon, runtime } = await examineAddon(projectRoot, env, libtorch.chosen);
  const devices =
    addon.path === null || runtime === null ? [] : await tryDevices(addon.path, runtime, env, deviceTimeoutMs);

  const findings = { system, tools, libtorch: libtorch.candidates, addon, runtime, devices };
  const problems = findProblems(findings);
  return { ok: problems.every(({ severity }) => severity !== 'error'), problems, ...findings };
}

async function examineAddon(
  projectRoot: string,
  env: NodeJS.ProcessEnv,
  chosen: Libtorch | null,
): Promise<{ addon: AddonReport; runtime: RuntimeInfo | null }> {
  const candidates = addonCandidates({ projectRoot, env });
  const found = candidates.find(({ path }) => existsSync(path));
  const record = readAddonRecord(projectRoot);
  const builtFor = found !== undefined && found.path === record?.addon ? record : null;
  const known = {
    path: found?.path ?? null,
    builtFor: builtFor && { root: builtFor.libtorch.root, version: builtFor.libtorch.version },
    current: currency(projectRoot, builtFor, chosen),
  };
  if (found === undefined) return { addon: { ...known, error: null, libraries: [] }, runtime: null };

  const answer = await testLoad(found.path, { env });
  return answer.ok
    ? { addon: { ...known, error: null, libraries: answer.libraries }, runtime: answer.runtime }
    : { addon: { ...known, error: answer.error, libraries: [] }, runtime: null };
}

function currency(projectRoot: string, record: AddonRecord | null, chosen: Libtorch | null): boolean | null {
  return record === null || chosen === null ? null : isCurrent(projectRoot, record, chosen);
}

// One after the other: two at once would share the processor and the numbers would mean nothing.
async function tryDevices(
  addon: string,
  runtime: RuntimeInfo,
  env: NodeJS.ProcessEnv,
  timeoutMs: number,
): Promise<DeviceTrial[]> {
  const devices = [
    { device: 'cpu', name: runtime.cpuCapability, memoryBytes: null },
    ...runtime.cudaDevices.map(({ index, name, totalBytes }) => ({
      device: `cuda:${index}`,
      name,
      memoryBytes: totalBytes === 0 ? null : totalBytes,
    })),
  ];
  const trials: DeviceTrial[] = [];
  for (const device of devices) {
    const answer = await testLoad(addon, { device: device.device, timeoutMs, env });
    trials.push(
      answer.ok
        ? { ...device, milliseconds: answer.milliseconds, error: null }
        : { ...device, milliseconds: null, error: answer.error },
    );
  }
  return trials;
}
