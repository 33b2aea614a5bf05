import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PadFtError } from '../../src/errors.js';
import { CONTRACT } from '../../src/native/contract.js';
import { addonCandidates, findAddon, loadAddon, loadedLibraries } from '../../src/native/load.js';
import { temporaryFolder, write } from './support/made-libtorch.js';

/** A CommonJS file that exports what the contract declares: `require` treats it as it does an addon. */
function makeAddon(path: string, functions: readonly string[] = CONTRACT.functions): string {
  return write(path, functions.map((name) => `exports.${name} = () => '${name} of ${path}';`).join('\n'));
}

function record(projectRoot: string, addon: string): void {
  write(join(projectRoot, 'build/addon.json'), JSON.stringify({ schema: 1, addon }));
}

function failure(run: () => unknown): PadFtError {
  try {
    run();
  } catch (error) {
    if (error instanceof PadFtError) return error;
    throw error;
  }
  throw new Error('expected a PadFtError');
}

describe('addonCandidates', () => {
  it('takes PAD_FT_ADDON alone, else the record and what node-gyp leaves', () => {
    const projectRoot = temporaryFolder();
    const left = join(projectRoot, 'build/Release/padft.node');
    expect(addonCandidates({ projectRoot, env: {} })).toEqual([{ source: 'build/Release', path: left }]);
    record(projectRoot, '/some/padft.node');
    expect(addonCandidates({ projectRoot, env: {} }).map(({ path }) => path)).toEqual(['/some/padft.node', left]);
    expect(addonCandidates({ projectRoot, env: { PAD_FT_ADDON: '/mine.node' } })).toEqual([
      { source: 'PAD_FT_ADDON', path: '/mine.node' },
    ]);
  });

  it.each(['{', '{"schema":2,"addon":"/x"}', '{"schema":1}', 'null'])('ignores a record that says %s', (text) => {
    const projectRoot = temporaryFolder();
    write(join(projectRoot, 'build/addon.json'), text);
    expect(addonCandidates({ projectRoot, env: {} })).toHaveLength(1);
  });
});

describe('findAddon', () => {
  it('loads the recorded addon', () => {
    const projectRoot = temporaryFolder();
    const path = makeAddon(join(projectRoot, 'fake.cjs'));
    record(projectRoot, path);
    expect(findAddon({ projectRoot, env: {} }).runtime()).toBe(`runtime of ${path}`);
  });

  it('falls back when the recorded file is gone', () => {
    const projectRoot = temporaryFolder();
    record(projectRoot, join(projectRoot, 'gone.node'));
    write(join(projectRoot, 'build/Release/padft.node'), 'not a library');
    const error = failure(() => findAddon({ projectRoot, env: {} }));
    expect(error.code).toBe('ERR_ADDON');
    expect(error.details.tried).toEqual([
      expect.stringMatching(/^build\/addon\.json: .*gone\.node does not exist$/),
      expect.stringMatching(/^build\/Release: .*padft\.node: .*(invalid ELF header|file too short|not a mach-o)/),
    ]);
    expect(error.message).toMatch(/npm run setup/);
    expect(error.cause).toBeInstanceOf(Error);
  });

  it('never falls back from PAD_FT_ADDON', () => {
    const projectRoot = temporaryFolder();
    record(projectRoot, makeAddon(join(projectRoot, 'fake.cjs')));
    const env = { PAD_FT_ADDON: join(projectRoot, 'absent.node') };
    expect(failure(() => findAddon({ projectRoot, env })).message).toMatch(
      /PAD_FT_ADDON: .*absent\.node does not exist/,
    );
  });

  it('refuses an addon of other sources and names what it lacks', () => {
    const folder = temporaryFolder();
    const path = makeAddon(
      join(folder, 'old.cjs'),
      CONTRACT.functions.filter((name) => name !== 'selfTest'),
    );
    const error = failure(() => findAddon({ env: { PAD_FT_ADDON: path } }));
    expect(error.message).toMatch(/lacks selfTest: it was built from other sources/);
  });

  it('sets the variables libgomp and cuBLAS read at their start, unless the user did', () => {
    const folder = temporaryFolder();
    const env = { PAD_FT_ADDON: makeAddon(join(folder, 'fake.cjs')) };
    const before = { omp: process.env.OMP_WAIT_POLICY, cublas: process.env.CUBLAS_WORKSPACE_CONFIG };
    try {
      delete process.env.CUBLAS_WORKSPACE_CONFIG;
      process.env.OMP_WAIT_POLICY = 'ACTIVE';
      findAddon({ env });
      expect(process.env.OMP_WAIT_POLICY).toBe('ACTIVE');
      expect(process.env.CUBLAS_WORKSPACE_CONFIG).toBe(':4096:8');
    } finally {
      restore('OMP_WAIT_POLICY', before.omp);
      restore('CUBLAS_WORKSPACE_CONFIG', before.cublas);
    }
  });
});

describe('loadAddon', () => {
  it('loads once, and asks running jobs to stop when the process exits', () => {
    const path = makeAddon(join(temporaryFolder(), 'fake.cjs'));
    write(path, `${readFileSync(path, 'utf8')}\nexports.cancelAll = () => { globalThis.padFtCancelled = true; };`);
    const before = process.listeners('exit');
    process.env.PAD_FT_ADDON = path;
    try {
      const first = loadAddon();
      expect(loadAddon()).toBe(first);
      const added = process.listeners('exit').filter((listener) => !before.includes(listener));
      expect(added).toHaveLength(1);
      added[0]?.(0);
      expect(Reflect.get(globalThis, 'padFtCancelled')).toBe(true);
    } finally {
      delete process.env.PAD_FT_ADDON;
    }
  });
});

describe('loadedLibraries', () => {
  it('lists libtorch’s libraries only', () => {
    for (const path of loadedLibraries()) expect(path).toMatch(/torch|c10|omp|cu|blas|mkl|dnnl|nvrtc/);
  });
});

function restore(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}
