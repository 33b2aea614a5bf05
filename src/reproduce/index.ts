/** The paper's tables with our figures beside them. Read `reproduce.ts` first. */

export { type Grid, type GridAttack, type GridChoice, type GridTable, paperGrid, readGrid } from './grid.js';
export type { CellFailure } from './group.js';
export type { PaperFigure } from './paper-figures.js';
export {
  type GridProgress,
  type PlannedCell,
  planReproduction,
  type ReproduceContext,
  type ReproduceEvent,
  type ReproduceOptions,
  type Reproduction,
  type ReproductionPlan,
  reproduce,
} from './reproduce.js';
export { SCALE_NAMES, type ScaleName } from './scales.js';
export type { Throughput } from './throughput.js';
