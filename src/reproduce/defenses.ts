import { CONTROL_DEFENSES, DEFAULT_DEFENSES, type DefenseRequest } from '../defense-request.js';
import { METHOD_NAMES, type MethodName } from '../defenses/methods/index.js';
import type { Stage } from '../defenses/pad-ft/gate.js';
import type { PadFtOptions } from '../defenses/pad-ft/index.js';
import { PURIFIERS, type PurifierName } from '../defenses/pad-ft/options.js';
import type { PaperColumn } from './paper-figures.js';

/** A stage of a defence as a line of the tables, and what the paper's tables call it. */
export interface DefenseLine {
  readonly stage: Exclude<Stage, 'victim'>;
  readonly title: string;
  readonly paper: PaperColumn | null;
}

/** PAD-FT by a preset, or on a D_c that was drawn. */
export interface DefenseColumn {
  readonly kind: 'defense';
  readonly name: string;
  readonly request: DefenseRequest;
  readonly lines: readonly DefenseLine[];
}

/** Another way to repair a victim, and what the paper's tables call it. */
export interface MethodColumn {
  readonly kind: 'method';
  readonly name: MethodName;
  readonly paper: PaperColumn | null;
}

/** A purifier by itself: it finds rows and repairs nothing. */
export interface DetectorColumn {
  readonly kind: 'detector';
  readonly name: string;
  readonly purifier: PurifierName;
  readonly options: PadFtOptions;
}

/** MM-BD: it looks at the model alone. */
export interface InspectionColumn {
  readonly kind: 'inspection';
  readonly name: string;
}

/** What a grid may name as a defence. */
export type GridColumn = DefenseColumn | MethodColumn | DetectorColumn | InspectionColumn;

const BOTH_STAGES: readonly DefenseLine[] = [
  { stage: 'pad', title: 'PAD', paper: 'PAD' },
  { stage: 'pad-ft', title: 'PAD-FT', paper: 'PAD-FT' },
];

/** A control says what any purifier could reach; the paper has none. */
const CONTROL_LINES = BOTH_STAGES.map((line) => ({ ...line, paper: null }));

/** Both presets and both controls. */
const DEFENSE_COLUMNS: readonly DefenseColumn[] = [
  ...DEFAULT_DEFENSES.map((request) => ({ name: request.name, request, lines: BOTH_STAGES })),
  ...CONTROL_DEFENSES.map((request) => ({ name: request.name, request, lines: CONTROL_LINES })),
].map((column) => ({ kind: 'defense', ...column }));

/** Methods that the paper's tables have; it calls the bounds of MM-BM by the name of their paper. */
const PAPER_RIVALS: Readonly<Record<string, PaperColumn>> = { none: 'none', 'mm-bm': 'MM-BD', dbd: 'DBD' };

const METHOD_COLUMNS = METHOD_NAMES.map(
  (name): MethodColumn => ({ kind: 'method', name, paper: PAPER_RIVALS[name] ?? null }),
);

/** The paper's purifier is run as the paper has it, the others as the default would have them. */
const DETECTOR_COLUMNS = PURIFIERS.map(
  (purifier): DetectorColumn => ({
    kind: 'detector',
    name: purifier,
    purifier,
    options: purifier === 'sce' ? { preset: 'paper' } : { preset: 'default', purify: { purifier } },
  }),
);

const INSPECTION: InspectionColumn = { kind: 'inspection', name: 'mm-bd' };

const COLUMNS: readonly GridColumn[] = [...DEFENSE_COLUMNS, ...METHOD_COLUMNS, ...DETECTOR_COLUMNS, INSPECTION];

/** PAD-FT by both presets and on both controls. */
export const DEFENSE_NAMES: readonly string[] = DEFENSE_COLUMNS.map(({ name }) => name);

/** The presets of PAD-FT alone. */
export const PRESET_NAMES: readonly string[] = DEFAULT_DEFENSES.map(({ name }) => name);

/** Methods that are compared with PAD-FT; `none`, the victim itself, is a line of every table without being asked for. */
export const RIVAL_NAMES: readonly string[] = METHOD_NAMES.filter((name) => name !== 'none');

/** Those of them that the paper's own tables have beside PAD-FT. */
export const PAPER_RIVAL_NAMES: readonly string[] = RIVAL_NAMES.filter((name) => Object.hasOwn(PAPER_RIVALS, name));

/** What finds and repairs nothing. */
export const DETECTOR_NAMES: readonly string[] = [...DETECTOR_COLUMNS, INSPECTION].map(({ name }) => name);

/** Every name that a grid's `defenses` may hold. */
export const COLUMN_NAMES: readonly string[] = COLUMNS.map(({ name }) => name);

export function findColumn(name: string): GridColumn | undefined {
  return COLUMNS.find((column) => column.name === name);
}
