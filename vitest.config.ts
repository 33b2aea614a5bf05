import { defineConfig } from 'vitest/config';

// Three projects by what they need: `unit` runs before anything was built, `native` needs the addon, `cli` starts
// the compiled program. Forks, because a crash in native code must cost one file and not the run; few workers and
// few threads, because every one of them runs libtorch.
const native = { OMP_WAIT_POLICY: 'PASSIVE' };
const minutes = (count: number): number => count * 60_000;

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/formats/**/*.test.ts'],
          env: { ...native, OMP_NUM_THREADS: '1' },
          testTimeout: minutes(0.5),
        },
      },
      {
        test: {
          name: 'native',
          include: ['native', 'contract', 'parity', 'pipeline'].map((folder) => `test/${folder}/**/*.test.ts`),
          env: native,
          testTimeout: minutes(5),
          hookTimeout: minutes(5),
        },
      },
      {
        test: {
          name: 'cli',
          include: ['test/cli/**/*.test.ts'],
          env: native,
          testTimeout: minutes(5),
          hookTimeout: minutes(5),
        },
      },
    ],
  },
});
