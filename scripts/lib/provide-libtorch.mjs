import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { currentPython, inspectLibtorch, providedRoot } from './find-libtorch.mjs';
import { hashFile } from './hash-files.mjs';
import { PROVIDED_VERSION, PROVIDED_WHEELS } from './libtorch-pin.mjs';
import { isRunning } from './lock.mjs';
import { silently } from './reporter.mjs';
import { lastLine, runCommand } from './run-command.mjs';
import { environmentMissing } from './setup-error.mjs';
import { unzip } from './unzip.mjs';

const WAYS_OUT = [
  'Three ways out:',
  '  LIBTORCH=/path/to/libtorch npm run setup     a libtorch you have: a folder with include/ and lib/',
  `  pip install torch==${PROVIDED_VERSION} --index-url https://download.pytorch.org/whl/cpu     then npm run setup`,
  '  sudo apt-get install libtorch-dev     Debian and Ubuntu; then npm run setup',
].join('\n');

/** What the core needs of a wheel: its C++ libraries and headers, its versions and its licences. */
export function neededFromWheel(name) {
  return (
    /^torch\/lib\/lib(torch|torch_cpu|c10|gomp[^/]*|torch_global_deps)\.so[^/]*$/.test(name) ||
    name.startsWith('torch/include/') ||
    name === 'torch/version.py' ||
    /^torch-[^/]*\.dist-info\/(licenses\/|METADATA$)/.test(name)
  );
}

/**
 * Fetches the pinned CPU wheel, checks its size and SHA-256 and unpacks it to `.libtorch/<version>/`. Works in a
 * temporary folder beside it and renames at the end, so an interrupted run leaves nothing that looks finished.
 *
 * @param {{ projectRoot: string, say: (line: string) => void, longStep?: import('./reporter.mjs').LongStep,
 *   env?: NodeJS.ProcessEnv, wheel?: typeof PROVIDED_WHEELS[keyof typeof PROVIDED_WHEELS] }} options
 *   `longStep` shows how far the download is; `wheel` is for tests
 * @returns {Promise<string>} the folder with include/ and lib/
 * @throws SetupError (environment) that says what was tried and what to do
 */
export async function provideLibtorch({
  projectRoot,
  say,
  longStep = silently,
  env = process.env,
  wheel = pinnedWheel(),
}) {
  const root = providedRoot(projectRoot);
  const store = dirname(dirname(root));
  await mkdir(store, { recursive: true });
  await removeAbandoned(store);
  await checkDiskSpace(store, wheel);

  const work = await mkdtemp(join(store, `tmp-${process.pid}-`));
  try {
    const archive = await fetchWheel(work, wheel, env, { say, longStep });
    say(`unpacking libtorch ${PROVIDED_VERSION} into ${dirname(root)}`);
    const unpacked = join(work, 'unpacked');
    await longStep('unpacking libtorch', () => unzip(archive, unpacked, neededFromWheel));
    const { problem } = inspectLibtorch(join(unpacked, 'torch'));
    if (problem !== null) throw environmentMissing(`the wheel is not what was expected: ${problem}`);
    await rm(dirname(root), { recursive: true, force: true });
    await rename(unpacked, dirname(root));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return root;
}

function pinnedWheel() {
  const wheel = PROVIDED_WHEELS[`${process.platform}-${process.arch}`];
  if (wheel === undefined) {
    throw environmentMissing(
      `No libtorch was found, and none is pinned for ${process.platform}-${process.arch} ` +
        `(only ${Object.keys(PROVIDED_WHEELS).join(', ')}).\n${WAYS_OUT}`,
    );
  }
  const glibc = process.report?.getReport().header.glibcVersionRuntime;
  if (glibc === undefined || compareVersions(glibc, wheel.glibc) < 0) {
    throw environmentMissing(
      `No libtorch was found, and the pinned one needs glibc ${wheel.glibc} or newer; this system has ` +
        `${glibc === undefined ? 'another C library' : `glibc ${glibc}`}.\n${WAYS_OUT}`,
    );
  }
  return wheel;
}

function compareVersions(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  return left[0] - right[0] || left[1] - right[1];
}

// A killed set-up leaves its folder behind; the process id in the name says whether it still runs.
async function removeAbandoned(store) {
  for (const name of await readdir(store)) {
    const pid = Number(name.match(/^tmp-(\d+)-/)?.[1]);
    if (Number.isInteger(pid) && !isRunning(pid)) await rm(join(store, name), { recursive: true, force: true });
  }
}

async function checkDiskSpace(folder, wheel) {
  const { bavail, bsize } = await statfs(folder);
  const needed = wheel.bytes + wheel.unpackedBytes;
  if (bavail * bsize < needed) {
    throw environmentMissing(
      `libtorch needs ${mebibytes(needed)} in ${folder}; ${mebibytes(bavail * bsize)} are free. Free some, or ` +
        'name a libtorch elsewhere with LIBTORCH=/path/to/libtorch.',
    );
  }
}

async function fetchWheel(work, wheel, env, { say, longStep }) {
  const ways = [
    { how: `pip download ${wheel.requirement}`, fetch: downloadWithPip },
    { how: wheel.url, fetch: downloadOverHttps },
  ];
  const tried = [];
  for (const { how, fetch } of ways) {
    say(`fetching libtorch ${PROVIDED_VERSION} for the CPU (${mebibytes(wheel.bytes)}): ${how}`);
    try {
      const file = await longStep('fetching libtorch', (step) => fetch(work, wheel, env, step));
      await checkWheel(file, wheel);
      return file;
    } catch (error) {
      tried.push(`  ${how}: ${error.message}`);
    }
  }
  throw environmentMissing(
    `No libtorch was found, and none could be fetched. Tried:\n${tried.join('\n')}\n${WAYS_OUT}`,
  );
}

// pip first: it knows this machine's mirrors, proxies and local wheels.
async function downloadWithPip(work, wheel, env) {
  const python = currentPython(env);
  if (python === null) throw new Error('no python3 on PATH');
  const folder = join(work, 'pip');
  const args = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:', ...wheel.pip];
  const answer = await runCommand(python, [...args, '--dest', folder, wheel.requirement], {
    env,
    timeoutMs: 30 * 60_000,
  });
  if (answer.code !== 0) throw new Error(answer.timedOut ? 'gave up after 30 minutes' : lastLine(answer.output));
  const [file] = await readdir(folder);
  if (file === undefined) throw new Error('pip saved no file');
  return join(folder, file);
}

async function downloadOverHttps(work, wheel, _env, step) {
  const file = join(work, wheel.file);
  // Silence, not slowness, ends it: the timer starts anew with every chunk.
  const abort = new AbortController();
  const idle = setTimeout(() => abort.abort(new Error('no data for 60 seconds')), 60_000);
  try {
    const response = await fetch(wheel.url, { signal: abort.signal });
    if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}`);
    await pipeline(
      Readable.fromWeb(response.body),
      async function* limited(chunks) {
        let received = 0;
        for await (const chunk of chunks) {
          idle.refresh();
          received += chunk.length;
          step(`${mebibytes(received)} of ${mebibytes(wheel.bytes)}`);
          if (received > wheel.bytes) throw new Error(`more than the expected ${wheel.bytes} bytes came`);
          yield chunk;
        }
      },
      createWriteStream(file, { flags: 'wx' }),
    );
  } catch (error) {
    throw new Error(error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message);
  } finally {
    clearTimeout(idle);
  }
  return file;
}

async function checkWheel(file, wheel) {
  const { size } = await stat(file);
  if (size !== wheel.bytes) throw new Error(`expected ${wheel.bytes} bytes, got ${size}`);
  const sha256 = await hashFile(file);
  if (sha256 !== wheel.sha256) throw new Error(`expected SHA-256 ${wheel.sha256}, got ${sha256}`);
}

const mebibytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;
