import { expect, test, vi } from 'vitest';
import { PadFtError } from '../../src/errors.js';
import { type CellGroup, expandGrid, groupCells } from '../../src/reproduce/cells.js';
import { chooseGrid, paperGrid } from '../../src/reproduce/grid.js';
import { type GroupTask, runGroup } from '../../src/reproduce/group.js';
import { madeFolder } from './made.js';

/** What each cell throws, by its place in the group; the victim's training is the real one. */
const thrown = vi.hoisted(() => [] as unknown[]);
vi.mock('../../src/reproduce/run-cell.js', () => ({
  runCell: async () => {
    throw thrown.shift();
  },
}));

/** As the engine has it where disposing of something failed after an error. */
function twoInOne(first: unknown): Error {
  const second = new PadFtError('ERR_BUSY', 'in use');
  return Object.assign(new Error('An error was suppressed during disposal.'), {
    ...{ name: 'SuppressedError', error: second, suppressed: first },
  });
}

async function tinyGroup(): Promise<GroupTask> {
  const grid = chooseGrid(paperGrid('smoke'), 'table1', { attacks: ['badnets'] });
  const [group] = groupCells(expandGrid(grid)) as readonly [CellGroup];
  const { victim, defenses } = group;
  return {
    victim: {
      ...victim,
      datasetOptions: { train: 200, test: 40 },
      train: { ...victim.train, epochs: 1, width: 4, precision: 'fp32' },
    },
    defenses: defenses.slice(0, 2),
    ...{ out: await madeFolder(), adoptFrom: [], dataPlace: {}, keepModels: false, command: null },
    ...{ device: 'cpu', precision: 'fp32' },
  };
}

test('a cell that fails is told by its first error, and the next one is tried', async () => {
  const task = await tinyGroup();
  thrown.splice(0, 2, twoInOne(new PadFtError('ERR_DATA', 'what went wrong')), new PadFtError('ERR_OOM', 'full'));
  const failures = await runGroup(task);
  expect(failures).toMatchObject([
    { key: task.defenses[0]?.key, code: 'ERR_DATA', message: 'what went wrong' },
    { key: task.defenses[1]?.key, code: 'ERR_OOM', message: 'full' },
  ]);
});

test('a stop and a bug end the group as what they are', async () => {
  const task = await tinyGroup();
  const stop = new PadFtError('ERR_ABORTED', 'stopped');
  const bug = new TypeError('a bug');
  for (const error of [stop, bug]) {
    thrown.splice(0, 2, twoInOne(error));
    await expect(runGroup(task)).rejects.toBe(error);
  }
});
