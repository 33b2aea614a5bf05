import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { requireBuildTools } from '../../scripts/lib/build-tools.mjs';
import { providedRoot } from '../../scripts/lib/find-libtorch.mjs';
import { type Findings, findProblems } from '../../src/doctor/problems.js';
import { versionIn } from '../../src/doctor/tools.js';
import { type DoctorReport, diagnose, formatDoctor } from '../../src/doctor.js';
import type { RuntimeInfo } from '../../src/native/contract.js';
import { makeLibtorch, makeProgram, temporaryFolder, write } from './support/made-libtorch.js';

const runtime: RuntimeInfo = {
  torch: '2.13.0',
  cudaBuilt: false,
  cudaDevices: [],
  threads: 2,
  parallel: 'ATen/Parallel:\n\tat::get_num_threads() : 2',
  blas: 'mkl',
  cpuCapability: 'AVX2',
  cpuBf16: false,
  cxxStandard: 17,
  napiVersion: 8,
  cudaGraphs: false,
};

const libtorch = { root: '/torch', libraries: '/torch/lib', version: '2.13.0', cuda: null, cxxStandard: 17 } as const;

/** Findings of a machine on which nothing is wrong. */
const healthy: Findings = {
  system: {
    platform: 'linux-x64',
    libc: 'glibc 2.36',
    cpu: 'a processor',
    cores: 2,
    memoryBytes: 8 * 2 ** 30,
    freeMemoryBytes: 4 * 2 ** 30,
    freeDiskBytes: 50 * 2 ** 30,
  },
  tools: [
    { name: 'node', version: '20.20.2', path: '/usr/bin/node', neededTo: 'run' },
    { name: 'C++ compiler', version: '12.2.0', path: '/usr/bin/c++', neededTo: 'build' },
    { name: 'make', version: '4.3', path: '/usr/bin/make', neededTo: null },
  ],
  libtorch: [{ source: 'explicit', where: '/torch', libtorch, problem: null, chosen: true }],
  addon: {
    path: '/p/padft.node',
    builtFor: { root: '/torch', version: '2.13.0' },
    current: true,
    error: null,
    libraries: ['/torch/lib/libtorch_cpu.so', '/torch/lib/libgomp.so.1'],
  },
  runtime,
  devices: [{ device: 'cpu', name: 'AVX2', memoryBytes: null, milliseconds: 3.25, error: null }],
};

/** A project with a libtorch and an addon that is a CommonJS file with this `selfTest`. */
function madeProject(selfTest: string, extra: Partial<RuntimeInfo> = {}) {
  const projectRoot = realpathSync(temporaryFolder());
  const addon = write(
    join(projectRoot, 'fake.cjs'),
    `exports.runtime = () => (${JSON.stringify({ ...runtime, ...extra })});\nexports.selfTest = (device) => (${selfTest});`,
  );
  const root = makeLibtorch(providedRoot(projectRoot));
  write(
    join(projectRoot, 'build/addon.json'),
    JSON.stringify({ schema: 1, addon, libtorch: { ...libtorch, root }, sourceHash: 'of other sources', tests: null }),
  );
  const bin = makeProgram(join(projectRoot, 'bin'), 'cmake', 'echo cmake version 3.25.1');
  return { projectRoot, addon, root, env: { PATH: bin }, systemRoots: [join(projectRoot, 'usr')] };
}

describe('diagnose', () => {
  it('reports tools, libtorch, addon and devices of a machine that works', async () => {
    const { addon, root, ...project } = madeProject('{ promise: Promise.resolve(4.5) }');
    const report = await diagnose(project);
    expect(report.ok).toBe(true);
    expect(report.tools.find(({ name }) => name === 'node')?.version).toBe(process.versions.node);
    expect(report.tools.find(({ name }) => name === 'cmake')?.version).toBe('3.25.1');
    expect(report.tools.find(({ name }) => name === 'ninja')).toMatchObject({ version: null, path: null });
    expect(report.libtorch.filter(({ chosen }) => chosen)).toMatchObject([{ source: 'provided', where: root }]);
    expect(report.addon).toMatchObject({
      path: addon,
      builtFor: { root, version: '2.13.0' },
      current: false,
      error: null,
    });
    expect(report.runtime).toEqual(runtime);
    expect(report.devices).toEqual([
      { device: 'cpu', name: 'AVX2', memoryBytes: null, milliseconds: 4.5, error: null },
    ]);
    expect(report.problems).toMatchObject([{ severity: 'warning', what: 'The addon is older than its sources.' }]);
    expect(report.system.memoryBytes).toBeGreaterThan(0);
  });

  it('survives an addon that crashes on a device, and tries the others', async () => {
    const { addon: _, ...project } = madeProject(
      "device === 'cpu' ? { promise: Promise.resolve(1) } : device === 'cuda:0' ? process.abort() : { promise: Promise.reject(new Error('no kernel image')) }",
      {
        cudaBuilt: true,
        cudaDevices: [0, 1].map((index) => ({ index, name: `GPU ${index}`, totalBytes: 2 ** 30, bf16: true })),
      },
    );
    const report = await diagnose(project);
    expect(report.ok).toBe(false);
    expect(report.devices.map(({ device, error }) => [device, error])).toEqual([
      ['cpu', null],
      ['cuda:0', expect.stringMatching(/ended without an answer/)],
      ['cuda:1', 'no kernel image'],
    ]);
    expect(report.problems[0]).toMatchObject({ severity: 'error', todo: expect.stringMatching(/nvidia-smi/) });
  });

  it('does not wait for a device that hangs', async () => {
    const { addon: _, ...project } = madeProject('{ promise: new Promise(() => setInterval(() => {}, 1000)) }');
    const report = await diagnose({ ...project, deviceTimeoutMs: 500 });
    expect(report.devices[0]).toMatchObject({ milliseconds: null, error: 'no answer within 0.5 seconds' });
  });

  it('says what to do on a machine where nothing is set up', async () => {
    const projectRoot = temporaryFolder();
    const report = await diagnose({ projectRoot, env: { PATH: '' }, systemRoots: [] });
    expect(report.ok).toBe(false);
    expect(report.runtime).toBeNull();
    expect(report.problems.map(({ todo }) => todo)).toEqual([
      expect.stringMatching(/npm run setup/),
      expect.stringMatching(/npm run setup/),
      expect.stringMatching(/apt-get install g\+\+ cmake make/),
    ]);
  });

  it('reports a wrong LIBTORCH instead of failing', async () => {
    const projectRoot = temporaryFolder();
    const report = await diagnose({ projectRoot, env: { PATH: '', LIBTORCH: '/absent' }, systemRoots: [] });
    expect(report.problems[0]?.what).toBe('LIBTORCH is wrong: /absent does not exist.');
  });
});

describe('findProblems', () => {
  it('finds none on a healthy machine', () => {
    expect(findProblems(healthy)).toEqual([]);
  });

  it.each<[string, Partial<Findings>, 'error' | 'warning', RegExp]>([
    ['an old Node', { tools: [{ ...healthy.tools[0]!, version: '18.20.0' }] }, 'error', /Node 18\.20\.0/],
    ['Node 21', { tools: [{ ...healthy.tools[0]!, version: '21.7.0' }] }, 'error', /Node 21/],
    [
      'an addon that does not load',
      { addon: { ...healthy.addon, error: 'undefined symbol' } },
      'error',
      /undefined symbol/,
    ],
    [
      'an addon older than its sources',
      { addon: { ...healthy.addon, current: false } },
      'warning',
      /older than its sources/,
    ],
    [
      'an addon for another libtorch',
      { addon: { ...healthy.addon, current: false, builtFor: { root: '/other', version: '2.11.0' }, libraries: [] } },
      'warning',
      /built for libtorch 2\.11\.0 in \/other, but a set-up would now choose 2\.13\.0 in \/torch/,
    ],
    [
      'another libtorch loaded than linked',
      { addon: { ...healthy.addon, libraries: ['/usr/lib/libtorch_cpu.so'] } },
      'warning',
      /loaded \/usr\/lib\/libtorch_cpu\.so/,
    ],
    [
      'Debian’s libtorch loaded, whose name ends in a version',
      { addon: { ...healthy.addon, libraries: ['/usr/lib/x86_64-linux-gnu/libtorch_cpu.so.1.13'] } },
      'warning',
      /loaded \/usr\/lib\/x86_64-linux-gnu\/libtorch_cpu\.so\.1\.13/,
    ],
    [
      'two OpenMP runtimes',
      { addon: { ...healthy.addon, libraries: ['/a/libgomp.so.1', '/b/libgomp-1a2b.so.1'] } },
      'warning',
      /2 OpenMP runtimes/,
    ],
    [
      'the reference BLAS',
      { addon: { ...healthy.addon, libraries: ['/usr/lib/x86_64-linux-gnu/blas/libblas.so.3'] } },
      'warning',
      /reference BLAS/,
    ],
    [
      'CUDA without a device',
      { runtime: { ...runtime, cudaBuilt: true, cudaProblem: 'Found no NVIDIA driver' } },
      'warning',
      /no device answers: Found no NVIDIA driver/,
    ],
    ['little memory', { system: { ...healthy.system, memoryBytes: 2 ** 30 } }, 'warning', /2 GiB of memory/],
    ['a full disk', { system: { ...healthy.system, freeDiskBytes: 1000 } }, 'warning', /disk is free/],
  ])('finds %s', (_what, change, severity, what) => {
    expect(findProblems({ ...healthy, ...change })).toEqual([
      { severity, what: expect.stringMatching(what), todo: expect.stringMatching(/./) },
    ]);
  });

  it('does not ask for a compiler when the addon works', () => {
    const tools = [healthy.tools[0]!, { name: 'cmake', version: null, path: null, neededTo: 'build' } as const];
    expect(findProblems({ ...healthy, tools })).toEqual([]);
    const missing = { ...healthy, tools, runtime: null, addon: { ...healthy.addon, path: null } };
    expect(findProblems(missing).at(-1)?.what).toBe('To build the addon these are missing: cmake, make or ninja.');
  });
});

it.each([
  ['3.17.5', true],
  ['3.18.0', false],
  ['3.25.1', false],
  ['4.0.0', false],
  ['2.8.12', true],
])('cmake %s is too old to build the addon: %s', (version, old) => {
  const tools = [...healthy.tools, { name: 'cmake', version, path: '/usr/bin/cmake', neededTo: 'build' } as const];
  const unbuilt = { ...healthy, tools, runtime: null, addon: { ...healthy.addon, path: null } };
  const said = findProblems(unbuilt).map(({ what }) => what);
  const expected = [`cmake ${version} is too old to build the addon: 3.18 or newer is needed.`];
  expect(said.filter((what) => what.includes('cmake'))).toEqual(old ? expected : []);
  // Nothing needs to be built where the addon works.
  expect(findProblems({ ...healthy, tools })).toEqual([]);
});

describe('the tools of a set-up', () => {
  const withCmake = (version: string) => {
    const bin = join(temporaryFolder(), 'bin');
    for (const name of ['c++', 'make']) makeProgram(bin, name, 'true');
    return { PATH: makeProgram(bin, 'cmake', `echo cmake version ${version}`) };
  };

  it('may be there and new enough', async () => {
    await expect(requireBuildTools(withCmake('3.18.4'))).resolves.toBeUndefined();
  });

  it('may lack CMake, or have one that is too old', async () => {
    await expect(requireBuildTools({ PATH: '' })).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringContaining('cmake (3.18 or newer), a C++ compiler (g++ 9 or newer), ninja or make'),
    });
    await expect(requireBuildTools(withCmake('3.16.3'))).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(/^cmake 3\.16\.3 \(.*\) is too old to build the addon: 3\.18 or newer/),
    });
  });
});

describe('formatDoctor', () => {
  const report: DoctorReport = { ok: true, problems: [], ...healthy };

  it('says everything in words', () => {
    const text = formatDoctor(report);
    expect(text).toContain('* explicit: libtorch 2.13.0, CPU, C++17, /torch (chosen)');
    expect(text).toContain('built for libtorch 2.13.0 in /torch, up to date');
    expect(text).toContain('cpu (AVX2): 3.3 ms');
    expect(text).toMatch(/Everything is in order\.\n$/);
  });

  it('ends with each problem and what to do', () => {
    const problems = [{ severity: 'error', what: 'The addon is not built.', todo: 'Run `npm run setup`.' }] as const;
    const text = formatDoctor({ ...report, ok: false, problems, runtime: null, devices: [] });
    expect(text).toMatch(/It does not run yet\n {2}error: The addon is not built\.\n {4}Run `npm run setup`\.\n$/);
  });
});

describe('versionIn', () => {
  it.each([
    ['cmake version 3.25.1\n\nCMake suite maintained', '3.25.1'],
    ['c++ (Debian 12.2.0-14+deb12u1) 12.2.0', '12.2.0'],
    ['Python 3.11.7', '3.11.7'],
    ['Ubuntu clang version 14.0.0-1ubuntu1.1\nTarget: x86_64-pc-linux-gnu', '14.0.0'],
    ['GNU Make 4.3', '4.3'],
    ['1.11.1', '1.11.1'],
    ['no number', null],
  ])('of %j is %s', (output, version) => {
    expect(versionIn(output)).toBe(version);
  });
});
