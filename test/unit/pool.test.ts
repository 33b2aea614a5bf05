import { expect, test } from 'vitest';
import type { Device } from '../../src/device.js';
import { type PooledTask, type PoolOptions, runPool } from '../../src/reproduce/pool.js';

const worker = new URL('./support/pool-worker.mjs', import.meta.url);

/** Groups of which nothing but the name is looked at. */
const groups = (...names: readonly string[]) => names.map((name) => ({ victim: { name } }) as PooledTask);

/** What ran where, in the order it began. */
async function run(names: readonly string[], options: Partial<PoolOptions>): Promise<readonly string[]> {
  const seen: string[] = [];
  await runPool(groups(...names), {
    jobs: 2,
    devices: ['cpu'],
    threads: 1,
    worker,
    onEvent: (event) => event.type === 'cell' && seen.push(`${event.name} ${event.key}`),
    onGroup: async () => {},
    ...options,
  });
  return seen;
}

test('what is thrown is the error of the group that failed first, not of those that were stopped for it', async () => {
  await expect(run(['slow', 'dies'], {})).rejects.toMatchObject({
    code: 'ERR_INTERNAL',
    message: 'dies: its process ended early (7)',
  });
  const stop = new AbortController();
  const onEvent = () => stop.abort();
  await expect(run(['slow', 'slow'], { signal: stop.signal, onEvent })).rejects.toMatchObject({ code: 'ERR_ABORTED' });
});

test('a device belongs to a lane: no two groups run on one while another stands idle', async () => {
  const devices: readonly Device[] = ['cuda:0', 'cuda:1'];
  const seen = await run(['slow', 'quick', 'next', 'last'], { devices });
  const [idle, busy] = seen.includes('slow cuda:0') ? ['cuda:1', 'cuda:0'] : ['cuda:0', 'cuda:1'];
  expect([...seen].sort()).toEqual([`last ${idle}`, `next ${idle}`, `quick ${idle}`, `slow ${busy}`]);
  const shared = await run(['quick', 'quick', 'quick'], { jobs: 3, devices });
  expect([...shared].sort()).toEqual(['quick cuda:0', 'quick cuda:0', 'quick cuda:1']);
});
