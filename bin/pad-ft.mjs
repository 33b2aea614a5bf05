#!/usr/bin/env node
// The command, where it is built; what to run first, where it is not: `npm ci` alone compiles nothing.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const main = new URL('../dist/cli/main.js', import.meta.url);
if (existsSync(main)) {
  await import(main.href);
} else {
  const folder = fileURLToPath(new URL('..', import.meta.url));
  console.error(`pad-ft is not built yet: run \`npm run setup\` in ${folder}`);
  process.exitCode = 3;
}
