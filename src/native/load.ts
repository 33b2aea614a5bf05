/**
 * Finds and loads the C++ addon, on first use only: `--help`, option checks and the doctor work without it. A
 * failed load explains itself: every place that was tried, what each said, and the next command.
 */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { readAddonRecord } from '../../scripts/lib/addon-record.mjs';
import { PROJECT_ROOT } from '../../scripts/lib/find-libtorch.mjs';
import { torchLibraries } from '../../scripts/lib/torch-libraries.mjs';
import { PadFtError } from '../errors.js';
import { CONTRACT, type NativeAddon } from './contract.js';

/** One place the addon may lie in, and who says so. */
export interface AddonCandidate {
  readonly source: 'PAD_FT_ADDON' | 'build/addon.json' | 'build/Release';
  readonly path: string;
}

export interface LoadOptions {
  /** Defaults to this package's folder. */
  readonly projectRoot?: string;
  /** Defaults to process.env. */
  readonly env?: NodeJS.ProcessEnv;
}

let loaded: NativeAddon | undefined;

/**
 * The addon, loaded once per process. Before the first load it sets OMP_WAIT_POLICY=PASSIVE (threads that spin
 * while they wait cost up to a hundredfold on a busy machine) and CUBLAS_WORKSPACE_CONFIG=:4096:8 (cuBLAS is
 * reproducible only with a fixed workspace), unless the user set them.
 *
 * @throws PadFtError ERR_ADDON that lists every place tried and the next command
 */
export function loadAddon(): NativeAddon {
  loaded ??= start(findAddon());
  return loaded;
}

/** Where the addon is looked for, in order. PAD_FT_ADDON is taken alone: an explicit path is never skipped. */
export function addonCandidates(options: LoadOptions = {}): readonly AddonCandidate[] {
  const { projectRoot = PROJECT_ROOT, env = process.env } = options;
  const explicit = env.PAD_FT_ADDON;
  if (explicit) return [{ source: 'PAD_FT_ADDON', path: resolve(explicit) }];
  const record = readAddonRecord(projectRoot);
  const candidates: AddonCandidate[] = [];
  if (record !== null) candidates.push({ source: 'build/addon.json', path: record.addon });
  // What `node-gyp rebuild` leaves.
  candidates.push({ source: 'build/Release', path: join(projectRoot, 'build', 'Release', 'padft.node') });
  return candidates;
}

/**
 * Loads the first candidate that loads and exports what the contract declares; caches nothing.
 *
 * @throws PadFtError ERR_ADDON, `details.tried` holds one line per candidate
 */
export function findAddon(options: LoadOptions = {}): NativeAddon {
  prepareEnvironment();
  const require = createRequire(import.meta.url);
  const tried: string[] = [];
  let cause: unknown;
  for (const { source, path } of addonCandidates(options)) {
    if (!existsSync(path)) {
      tried.push(`${source}: ${path} does not exist`);
      continue;
    }
    try {
      const addon: unknown = require(path);
      const missing = missingFunctions(addon);
      if (missing.length === 0) return addon as NativeAddon;
      tried.push(`${source}: ${path} lacks ${missing.join(', ')}: it was built from other sources`);
    } catch (error) {
      cause ??= error;
      tried.push(`${source}: ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new PadFtError(
    'ERR_ADDON',
    `The native addon is not there or does not load. Tried:\n${tried.map((line) => `  ${line}`).join('\n')}\n` +
      'Run `npm run setup` to build it, then `npm run doctor` if it still does not load.',
    { details: { tried }, cause },
  );
}

/** The libtorch, OpenMP, BLAS and CUDA libraries this process has really mapped; absolute paths. */
export function loadedLibraries(): readonly string[] {
  return torchLibraries();
}

// libgomp and cuBLAS read these once. In a worker thread this environment is a copy that they do not see: the addon sets
// cuBLAS's itself, and threads that wait for one another spin unless the program was started with OMP_WAIT_POLICY=PASSIVE.
function prepareEnvironment(): void {
  process.env.OMP_WAIT_POLICY ??= 'PASSIVE';
  process.env.CUBLAS_WORKSPACE_CONFIG ??= ':4096:8';
}

function missingFunctions(addon: unknown): string[] {
  if (typeof addon !== 'object' || addon === null) return [...CONTRACT.functions];
  return CONTRACT.functions.filter((name) => typeof Reflect.get(addon, name) !== 'function');
}

// Node does not run the addon's own clean-up hook on process.exit(): without this a running job would be torn down
// in the middle of a batch.
function start(addon: NativeAddon): NativeAddon {
  process.once('exit', () => addon.cancelAll());
  return addon;
}
