// Called by binding.gyp: `--inputs` lists the files the addon is built from, a path builds it and copies it there.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { readAddonRecord } from './lib/addon-record.mjs';
import { PROJECT_ROOT } from './lib/find-libtorch.mjs';
import { listFiles } from './lib/hash-files.mjs';
import { EXIT } from './lib/setup-error.mjs';

const [target] = process.argv.slice(2);
if (target === undefined) {
  console.error('Usage: node scripts/node-gyp-build.mjs --inputs | PATH');
  process.exitCode = EXIT.usage;
} else if (target === '--inputs') {
  const inputs = ['CMakeLists.txt', 'cmake', 'native/core', 'native/models', 'native/binding'];
  for (const file of listFiles(inputs.map((name) => join(PROJECT_ROOT, name))))
    console.log(relative(PROJECT_ROOT, file));
} else {
  const setup = join(PROJECT_ROOT, 'scripts', 'setup.mjs');
  const { status } = spawnSync(process.execPath, [setup], { stdio: 'inherit' });
  if (status === 0) {
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(readAddonRecord(PROJECT_ROOT).addon, target);
  }
  process.exitCode = status ?? EXIT.buildFailed;
}
