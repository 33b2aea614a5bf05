import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findLibtorch, inspectLibtorch, onPath, providedRoot } from '../../scripts/lib/find-libtorch.mjs';
import { makeLibtorch, makeProgram, temporaryFolder, write } from './support/made-libtorch.js';

const multiarch = process.arch === 'arm64' ? 'lib/aarch64-linux-gnu' : 'lib/x86_64-linux-gnu';

/** A project with nothing around it: no Python, no system libtorch, no variables. */
function bareProject() {
  const folder = temporaryFolder();
  const projectRoot = join(folder, 'project');
  const bin = join(folder, 'bin');
  const system = join(folder, 'usr');
  return { folder, projectRoot, bin, system, options: { projectRoot, env: { PATH: bin }, systemRoots: [system] } };
}

const printing = (path: string): string => `echo '${path}'`;

describe('inspectLibtorch', () => {
  it('reads version, CUDA and C++ standard from the files alone', () => {
    const root = makeLibtorch(temporaryFolder(), { version: '2.14.1', cuda: '13.0', cxx20: true });
    expect(inspectLibtorch(root)).toEqual({
      libtorch: { root, libraries: join(root, 'lib'), version: '2.14.1', cuda: '13.0', cxxStandard: 20 },
      problem: null,
    });
  });

  it('knows the layout and the header of Debian’s libtorch-dev', () => {
    const header = 'torch/csrc/api/include/torch/version.h';
    const root = makeLibtorch(temporaryFolder(), { version: '1.13.1', libraries: multiarch, header });
    expect(inspectLibtorch(root).libtorch).toMatchObject({
      version: '1.13.1',
      libraries: join(root, multiarch),
      cuda: null,
    });
  });

  it('reads the CUDA version of an unpacked archive from build-version', () => {
    const root = makeLibtorch(temporaryFolder());
    write(join(root, 'lib/libtorch_cuda.so'), '');
    expect(inspectLibtorch(root).libtorch?.cuda).toBe('unknown version');
    write(join(root, 'build-version'), '2.13.0+cu130\n');
    expect(inspectLibtorch(root).libtorch?.cuda).toBe('13.0');
  });

  it('resolves symbolic links, so that one libtorch has one name', () => {
    const folder = temporaryFolder();
    const root = makeLibtorch(join(folder, 'real'));
    symlinkSync(root, join(folder, 'link'));
    expect(inspectLibtorch(join(folder, 'link')).libtorch?.root).toBe(root);
  });

  it.each([
    ['a folder that does not exist', {}, /does not exist/],
    ['no headers', { 'lib/libtorch_cpu.so': '' }, /no include\/ATen\/ATen\.h/],
    ['no library', { 'include/ATen/ATen.h': '' }, /no libtorch_cpu\.so in lib or/],
    ['no version header', { 'include/ATen/ATen.h': '', 'lib/libtorch_cpu.so': '' }, /version\.h/],
  ])('says what is wrong with %s', (_what, files, problem) => {
    const root = join(temporaryFolder(), 'torch');
    for (const [name, text] of Object.entries(files)) write(join(root, name), text);
    expect(inspectLibtorch(root)).toEqual({ libtorch: null, problem: expect.stringMatching(problem) });
  });

  it('refuses a libtorch that is too old', () => {
    const root = makeLibtorch(temporaryFolder(), { version: '1.12.1' });
    expect(inspectLibtorch(root).problem).toMatch(/holds libtorch 1\.12\.1; 1\.13 or newer is needed/);
  });
});

describe('findLibtorch', () => {
  it('takes the places in order: explicit, Python, provided, system', async () => {
    const { folder, projectRoot, bin, system, options } = bareProject();
    const chosen = async () => (await findLibtorch(options)).chosen?.root ?? null;
    expect(await chosen()).toBeNull();
    makeLibtorch(system);
    expect(await chosen()).toBe(system);
    const provided = makeLibtorch(providedRoot(projectRoot));
    expect(await chosen()).toBe(provided);
    const inPython = makeLibtorch(join(folder, 'site-packages', 'torch'));
    makeProgram(bin, 'python3', printing(inPython));
    expect(await chosen()).toBe(inPython);
    const explicit = makeLibtorch(join(folder, 'mine'));
    expect((await findLibtorch({ ...options, env: { ...options.env, LIBTORCH: explicit } })).chosen?.root).toBe(
      explicit,
    );
  });

  it('prefers --libtorch to LIBTORCH, and an activated environment’s Python to the one on PATH', async () => {
    const { folder, bin, options } = bareProject();
    const [flag, variable, activated, global] = ['flag', 'variable', 'activated', 'global'].map((name) =>
      makeLibtorch(join(folder, name)),
    );
    const env = { ...options.env, LIBTORCH: variable };
    expect((await findLibtorch({ ...options, env, explicit: flag })).chosen?.root).toBe(flag);
    makeProgram(bin, 'python3', printing(global!));
    makeProgram(join(folder, 'venv/bin'), 'python', printing(activated!));
    const active = { ...options.env, VIRTUAL_ENV: join(folder, 'venv') };
    expect((await findLibtorch({ ...options, env: active })).chosen?.root).toBe(activated);
  });

  it('never skips a wrong explicit path', async () => {
    const { folder, system, options } = bareProject();
    makeLibtorch(system);
    const env = { ...options.env, LIBTORCH: join(folder, 'absent') };
    await expect(findLibtorch({ ...options, env })).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(/absent does not exist\. LIBTORCH must name a folder/),
    });
    await expect(findLibtorch({ ...options, explicit: folder })).rejects.toThrow(/--libtorch must name/);
    const seen = await findLibtorch({ ...options, env, all: true });
    expect(seen).toEqual({
      chosen: null,
      candidates: [expect.objectContaining({ source: 'explicit', chosen: false })],
    });
  });

  it('reports every place when asked to, and marks the one taken', async () => {
    const { projectRoot, system, options } = bareProject();
    const provided = makeLibtorch(providedRoot(projectRoot));
    makeLibtorch(system);
    const { chosen, candidates } = await findLibtorch({ ...options, all: true });
    expect(chosen?.root).toBe(provided);
    expect(candidates.map(({ source, chosen, problem }) => [source, chosen, problem])).toEqual([
      ['python', false, 'no python3 or python on PATH'],
      ['provided', true, null],
      ['system', false, null],
    ]);
  });

  it('says what a Python that fails said', async () => {
    const { bin, options } = bareProject();
    makeProgram(bin, 'python3', 'echo no such version >&2; exit 3');
    const { candidates } = await findLibtorch(options);
    expect(candidates[0]?.problem).toMatch(/failed: no such version/);
  });

  const python = onPath('python3');
  it.skipIf(python === null)('asks Python without importing torch (needs python3)', async () => {
    const { folder, options } = bareProject();
    const root = makeLibtorch(join(folder, 'site', 'torch'));
    write(join(root, '__init__.py'), 'raise SystemExit("torch was imported")');
    const env = { PATH: process.env.PATH ?? '', PYTHONPATH: join(folder, 'site') };
    expect((await findLibtorch({ ...options, env })).chosen?.root).toBe(root);
  });
});
