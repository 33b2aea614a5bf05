import { METHODS, type Method } from '../defenses/methods/index.js';
import { HELD_OUT_SHOWN } from '../defenses/pad-ft/clip.js';
import type { PadFtSettings } from '../defenses/pad-ft/index.js';
import { scoringKey } from '../defenses/pad-ft/index.js';
import { scoringUnits } from '../defenses/pad-ft/purifiers.js';
import { rejudges } from '../defenses/pad-ft/rejudge.js';
import { clippingUnits, TRAINING_UNITS, tuningUnits } from '../defenses/units.js';
import { TRAIN_DEFAULTS } from '../train.js';
import type { CellGroup, DefenseCell, MethodCell, VictimCell } from './cells.js';

/** What cells cost, in forward units; how early stage 2 stops and how many suspects there are is not known beforehand. */

/** Rows of a data set. */
export interface DataSize {
  readonly rows: number;
  readonly testRows: number;
  readonly classes: number;
}

const SYNTHETIC: DataSize = { rows: 6000, testRows: 2000, classes: 10 };

/** The size of a cell's data, without loading it. */
export function dataSize({ dataset, datasetOptions }: Pick<VictimCell, 'dataset' | 'datasetOptions'>): DataSize {
  const option = (name: string, fallback: number) => {
    const value = datasetOptions[name];
    return typeof value === 'number' ? value : fallback;
  };
  if (dataset === 'synthetic') {
    const { rows, testRows, classes } = SYNTHETIC;
    return { rows: option('train', rows), testRows: option('test', testRows), classes: option('classes', classes) };
  }
  return { rows: 50_000, testRows: 10_000, classes: dataset === 'cifar100' ? 100 : 10 };
}

/** Units of training a victim, its evaluation after every epoch included. */
export function trainingUnits(cell: Pick<VictimCell, 'train' | 'rate'>, { rows, testRows }: DataSize): number {
  const { epochs, batchSize, dropLast } = { ...TRAIN_DEFAULTS, ...cell.train };
  const images = dropLast && rows >= batchSize ? Math.floor(rows / batchSize) * batchSize : rows;
  return epochs * (TRAINING_UNITS * images + evaluationUnits(cell, testRows));
}

/** Units of `judgeVictim`. */
export function judgingUnits(cell: Pick<VictimCell, 'rate'>, { rows, testRows }: DataSize): number {
  return rows + evaluationUnits(cell, testRows);
}

function evaluationUnits({ rate }: Pick<VictimCell, 'rate'>, testRows: number): number {
  return rate === 0 ? testRows : 2 * testRows;
}

/** Units of stages 2 and 3 and of judging them; a gate that repairs nothing spends less. */
export function repairUnits(settings: PadFtSettings, cell: Pick<VictimCell, 'rate'>, { testRows }: DataSize): number {
  const { clip, tune, purify, holdout } = settings;
  // Suspects that are found again have bounds fitted twice, as a rule.
  const fits = rejudges(settings) ? 2 : 1;
  const clipping = fits * clippingUnits(clip, purify.count, Math.min(holdout, HELD_OUT_SHOWN));
  return clipping + tuningUnits(tune, purify.count) + 3 * holdout + 2 * evaluationUnits(cell, testRows);
}

/** Units of another method and of judging it. */
export function methodUnits(
  { method, settings, clean }: Pick<MethodCell, 'method' | 'settings' | 'clean'>,
  cell: Pick<VictimCell, 'rate'>,
  size: DataSize,
): number {
  const { rows, classes, testRows } = size;
  const given = { rows, classes, clean: clean === null ? 0 : Math.round(clean.share * rows) };
  // The cell's settings are this method's own, complete and checked.
  const { units } = METHODS[method] as unknown as Method<object>;
  return units(settings, given) + evaluationUnits(cell, testRows);
}

/** What of a group is still to be done. */
export interface PendingGroup extends CellGroup {
  /** False when its training is there, or may be adopted. */
  readonly trains: boolean;
  readonly judges: boolean;
}

/** Units of one group in one go: defences that score alike score once. */
export function groupUnits({ victim, defenses, trains, judges }: PendingGroup): number {
  const size = dataSize(victim);
  const scored = new Set<string>();
  let units = (trains ? trainingUnits(victim, size) : 0) + (judges ? judgingUnits(victim, size) : 0);
  const score = (settings: PadFtSettings) => {
    const key = scoringKey(settings);
    if (!scored.has(key)) units += scoringUnits(settings, size);
    scored.add(key);
  };
  for (const cell of defenses) {
    if (cell.kind === 'defense') score(cell.planned.settings);
    if (cell.kind === 'detector') score(cell.settings);
    units += cellUnits(cell, size);
  }
  return units;
}

/** Units of a cell, but for what scoring its rows takes. */
function cellUnits(cell: DefenseCell, size: DataSize): number {
  switch (cell.kind) {
    case 'defense':
      return repairUnits(cell.planned.settings, cell.victim, size);
    case 'method':
      return methodUnits(cell, cell.victim, size);
    case 'detector':
      return 0;
    case 'inspection':
      // At most: a class is done when its images change no more.
      return TRAINING_UNITS * cell.settings.steps * cell.settings.images * size.classes;
  }
}
