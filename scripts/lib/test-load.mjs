import { fileURLToPath } from 'node:url';
import { lastLine, runCommand } from './run-command.mjs';

/**
 * Loads an addon in a child process, so that a crash or a hang there is an answer and not the end of the caller.
 * With a device it also trains for an epoch of a few rows on it. Types are in test-load.d.mts.
 */
export async function testLoad(addon, { device = null, timeoutMs = 120_000, env = process.env } = {}) {
  const script = fileURLToPath(new URL('test-load-child.mjs', import.meta.url));
  const args = [script, addon, ...(device === null ? [] : [device])];
  const { code, stdout, output, timedOut } = await runCommand(process.execPath, args, { env, timeoutMs });
  if (timedOut) return { ok: false, error: `no answer within ${timeoutMs / 1000} seconds` };
  try {
    return JSON.parse(lastLine(stdout));
  } catch {
    const ending = code === null ? 'killed by a signal' : `exit code ${code}`;
    return { ok: false, error: `the process ended without an answer (${ending}): ${lastLine(output)}` };
  }
}
