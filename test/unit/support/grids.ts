import { readFile } from 'node:fs/promises';
import type { RunCard } from '../../../src/report/card.js';
import { type DefenseCell, expandGrid, groupCells, type PadFtCell } from '../../../src/reproduce/cells.js';
import { chooseGrid, type Grid, paperGrid } from '../../../src/reproduce/grid.js';

export const NOTHING = { defenses: new Map(), victims: new Map() };

/** The grid with its only table of BadNets changed. */
export function oneTable(change: Partial<Grid['tables'][number]>): Grid {
  const grid = chooseGrid(paperGrid('cpu'), 'table1', { attacks: ['badnets'] });
  return { ...grid, tables: grid.tables.map((table) => ({ ...table, ...change })) };
}

export function isPadFt(cell: DefenseCell): cell is PadFtCell {
  return cell.kind === 'defense';
}

export function cellsOf(grid: Grid) {
  const [group] = groupCells(expandGrid(grid));
  if (group === undefined) throw new Error('an empty grid');
  return group;
}

/** A real card with something changed: a stranger may have written it. */
export async function cardWith(classNames: readonly string[], acc: number): Promise<RunCard> {
  const path = new URL('../../../results/demo-two-cores.card.json', import.meta.url);
  const card = JSON.parse(await readFile(path, 'utf8')) as RunCard;
  const evaluation = { acc, asr: 0.9, asrIncludingTarget: 0.91, ra: 0.1 };
  const { config, victim } = card;
  return {
    ...card,
    config: { ...config, dataset: { ...config.dataset, classNames } },
    victim: { ...victim, evaluation },
  };
}
