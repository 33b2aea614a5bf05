import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { Output } from '../../src/cli/output.js';
import { createProgress } from '../../src/cli/progress.js';
import { warnOfSlowBlas } from '../../src/cli/session.js';
import type { NativeDevice } from '../../src/native/contract.js';

const TORCH = '/torch/lib/libtorch_cpu.so';
const REFERENCE = '/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0';
const OPENBLAS = '/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3';

/** What standard error and standard output get at the start of a long command. */
async function said(
  libraries: readonly string[],
  device: NativeDevice,
  mode: { json?: boolean; quiet?: boolean } = {},
) {
  const texts = ['', ''];
  const [out, err] = [0, 1].map(
    (i) =>
      new Writable({
        write(chunk, _encoding, done) {
          texts[i] += String(chunk);
          done();
        },
      }),
  );
  const output = new Output({ json: false, quiet: false, colour: false, ...mode }, out, err);
  await warnOfSlowBlas({ output, progress: createProgress(output) }, device, libraries);
  return { out: texts[0], err: texts[1] };
}

it('the reference BLAS is warned of where it will be used, with what helps', async () => {
  const { out, err } = await said([TORCH, REFERENCE], 'cpu');
  expect(out).toBe('');
  expect(err).toMatch(/^warning: libtorch uses the reference BLAS.*apt-get install libopenblas0-pthread\n$/);
  const json = await said([TORCH, REFERENCE], 'cpu', { json: true });
  expect(JSON.parse(json.out ?? '')).toMatchObject({ type: 'warning', message: expect.stringContaining('BLAS') });
});

it('nothing is said with another BLAS, on a GPU or with --quiet', async () => {
  const silent = { out: '', err: '' };
  expect(await said([TORCH, OPENBLAS], 'cpu')).toEqual(silent);
  expect(await said([TORCH], 'cpu')).toEqual(silent);
  expect(await said([TORCH, REFERENCE], 'cuda:0')).toEqual(silent);
  expect(await said([TORCH, REFERENCE], 'cpu', { quiet: true })).toEqual(silent);
});
