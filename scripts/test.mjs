// `npm test`: the core's own tests, which know no Node, then vitest. Further arguments go to vitest. Fails if
// either fails, and runs both in any case: a broken core and a broken test tell more together.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { readAddonRecord } from './lib/addon-record.mjs';
import { resolveFrom } from './lib/compile-typescript.mjs';
import { PROJECT_ROOT } from './lib/find-libtorch.mjs';
import { EXIT, SetupError } from './lib/setup-error.mjs';

function runCoreTests() {
  const binary = readAddonRecord(PROJECT_ROOT)?.tests?.binary;
  if (binary === undefined) {
    console.error("The core's tests are not built: run `node scripts/setup.mjs --tests`.");
    return false;
  }
  const env = { ...process.env, OMP_WAIT_POLICY: process.env.OMP_WAIT_POLICY ?? 'PASSIVE' };
  const { status, signal, stdout, error } = spawnSync(binary, [], {
    cwd: PROJECT_ROOT,
    env,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const output = (stdout ?? '').trimEnd();
  if (status === 0) {
    console.log(`core: ${output.split('\n').at(-1)}`);
    return true;
  }
  console.log(output);
  console.log(`core: FAILED (${error?.message ?? (signal ? `killed by ${signal}` : `exit code ${status}`)})`);
  return false;
}

function runVitest(args) {
  const vitest = join(dirname(resolveFrom(PROJECT_ROOT, 'vitest/package.json')), 'vitest.mjs');
  const { status } = spawnSync(process.execPath, [vitest, 'run', ...args], { cwd: PROJECT_ROOT, stdio: 'inherit' });
  return status === 0;
}

try {
  const core = runCoreTests();
  const vitest = runVitest(process.argv.slice(2));
  process.exitCode = core && vitest ? EXIT.ok : EXIT.buildFailed;
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exitCode = error.exitCode;
}
