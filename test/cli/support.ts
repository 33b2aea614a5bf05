import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileTypescript } from '../../scripts/lib/compile-typescript.mjs';
import { PROJECT_ROOT } from '../../scripts/lib/find-libtorch.mjs';
import { withLock } from '../../scripts/lib/lock.mjs';

/** The compiled program; PAD_FT_TEST_CLI names another build of it, an installed one for instance. */
export const CLI = process.env.PAD_FT_TEST_CLI ?? join(PROJECT_ROOT, 'dist', 'cli', 'main.js');

/** Compiles src/ when dist/ is not what it says, as `npm run setup` does. For `beforeAll`. */
export async function buildCli(): Promise<void> {
  if (process.env.PAD_FT_TEST_CLI !== undefined) return;
  const say = () => {};
  await withLock(join(PROJECT_ROOT, 'build', '.setup-lock'), say, () => compileTypescript(PROJECT_ROOT, say));
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Looks at everything on standard output so far, whenever more comes. */
  readonly onOutput?: (stdout: string, child: ChildProcess) => void;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `pad-ft` with these arguments to its end. One thread, no colours, whatever this process has. */
export function padFt(args: readonly string[], { cwd, env, onOutput }: RunOptions = {}): Promise<Ended> {
  const { FORCE_COLOR: _, NO_COLOR: __, ...inherited } = process.env;
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd,
    env: { ...inherited, OMP_NUM_THREADS: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      onOutput?.(stdout, child);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** A line of `--json`. */
export interface JsonLine {
  readonly type: string;
  readonly seq: number;
  readonly time: string;
  readonly [field: string]: unknown;
}

/** The lines of `--json`; throws when one is not JSON. */
export function jsonLines(stdout: string): JsonLine[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as JsonLine);
}

/** The last line of `--json`. */
export function lastLine(stdout: string): JsonLine {
  return jsonLines(stdout).at(-1) as JsonLine;
}

/** A folder that is gone after `using`. */
export function temporaryFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'pad-ft-cli-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** A training that a test can afford: seconds on one thread. */
export const TINY_DATA = ['--dataset', 'synthetic', '--train-rows', '400', '--test-rows', '80', '--classes', '3'];
export const TINY_TRAINING = [
  ...['--width', '8', '--batch-size', '16', '--learning-rate', '0.05', '--crop-padding', '0'],
  ...['--device', 'cpu', '--threads', '1'],
];
