import { spawn } from 'node:child_process';

/**
 * Runs a program without a shell and collects what it prints. Never rejects: a program that cannot be started
 * answers with `code` null and the reason in `output`.
 *
 * @param {string} file
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, timeoutMs?: number, onOutput?: (chunk: Buffer) => void }} [options]
 * @returns {Promise<{ code: number | null, stdout: string, output: string, timedOut: boolean }>}
 *   `output` is stdout and stderr as they came.
 */
export function runCommand(file, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let output = '';
    let timedOut = false;
    const timer =
      options.timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            timedOut = true;
            child.kill('SIGKILL');
          }, options.timeoutMs);
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
      output += chunk;
      options.onOutput?.(chunk);
    });
    child.stderr.on('data', (chunk) => {
      output += chunk;
      options.onOutput?.(chunk);
    });
    child.on('error', (error) => {
      clearTimeout(timer);
      resolve({ code: null, stdout, output: `${output}${error.message}`, timedOut });
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, output, timedOut });
    });
  });
}

/** The last line that is not empty: what a failed program usually meant. @param {string} text */
export function lastLine(text) {
  return text.trimEnd().split('\n').at(-1)?.trim() ?? '';
}
