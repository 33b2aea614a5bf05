// The child of test-load.mjs: node test-load-child.mjs ADDON [DEVICE]. Prints one line of JSON.
import { createRequire } from 'node:module';
import { torchLibraries } from './torch-libraries.mjs';

process.env.OMP_WAIT_POLICY ??= 'PASSIVE';
process.env.CUBLAS_WORKSPACE_CONFIG ??= ':4096:8';

const [path, device] = process.argv.slice(2);
try {
  const addon = createRequire(import.meta.url)(path);
  const runtime = addon.runtime();
  const milliseconds = device === undefined ? null : await addon.selfTest(device).promise;
  console.log(JSON.stringify({ ok: true, runtime, libraries: torchLibraries(), milliseconds }));
} catch (error) {
  console.log(JSON.stringify({ ok: false, error: error instanceof Error ? error.message : String(error) }));
}
