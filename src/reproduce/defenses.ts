import { CONTROL_DEFENSES, DEFAULT_DEFENSES, type DefenseRequest } from '../defense-request.js';
import type { Stage } from '../defenses/pad-ft/gate.js';
import type { PaperColumn } from './paper-figures.js';

/** A stage of a defence as a line of the tables, and what the paper's tables call it. */
export interface DefenseLine {
  readonly stage: Exclude<Stage, 'victim'>;
  readonly title: string;
  readonly paper: PaperColumn | null;
}

/** A defence that a grid may name. Adding one is a line here. */
export interface DefenseColumn {
  readonly name: string;
  readonly request: DefenseRequest;
  readonly lines: readonly DefenseLine[];
}

const BOTH_STAGES: readonly DefenseLine[] = [
  { stage: 'pad', title: 'PAD', paper: 'PAD' },
  { stage: 'pad-ft', title: 'PAD-FT', paper: 'PAD-FT' },
];

/** A control says what any purifier could reach; the paper has none. */
const CONTROL_LINES = BOTH_STAGES.map((line) => ({ ...line, paper: null }));

/** Both presets and both controls; `none`, the victim itself, is a line of every table without being asked for. */
export const DEFENSE_COLUMNS: readonly DefenseColumn[] = [
  ...DEFAULT_DEFENSES.map((request) => ({ name: request.name, request, lines: BOTH_STAGES })),
  ...CONTROL_DEFENSES.map((request) => ({ name: request.name, request, lines: CONTROL_LINES })),
];

export const DEFENSE_NAMES: readonly string[] = DEFENSE_COLUMNS.map(({ name }) => name);

export function findDefense(name: string): DefenseColumn | undefined {
  return DEFENSE_COLUMNS.find((column) => column.name === name);
}
