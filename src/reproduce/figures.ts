import type { Stage } from '../defenses/pad-ft/gate.js';
import type { ErrorCode } from '../errors.js';
import type { Evaluation } from '../evaluate.js';
import type { CardRow, RunCard } from '../report/card.js';
import type { CellGroup, DefenseCell, TableCells } from './cells.js';
import { findDefense } from './defenses.js';
import { type MeanOf, meanOf } from './deviation.js';
import { PAPER_COLUMNS, type PaperFigure, type PaperSetting, paperFigure } from './paper-figures.js';

/** Where a cell stands. */
export type CellState =
  | { readonly state: 'done'; readonly card: RunCard }
  | { readonly state: 'pending' }
  | { readonly state: 'failed'; readonly code: ErrorCode; readonly message: string }
  | { readonly state: 'not in this build' };

/** What is known of a grid's cells: defences by their key, victims' own figures by theirs. */
export interface GridStates {
  readonly defenses: ReadonlyMap<string, CellState>;
  readonly victims: ReadonlyMap<string, Evaluation>;
}

/** A line of a table: one model, averaged over its seeds. Fractions in [0, 1], seconds. */
export interface TableLine {
  readonly dataset: string;
  /** With its variant, where it is not the attack's default: `badnets (all-to-all)`. */
  readonly attack: string;
  readonly rate: number;
  /** n where the table varies it. */
  readonly count: number | null;
  /** `none`, or the defence's name with the stage; the paper's own columns carry their name. */
  readonly model: string;
  readonly defense: string | null;
  readonly stage: Stage | null;
  readonly acc: MeanOf | null;
  readonly asr: MeanOf | null;
  readonly asrIncludingTarget: MeanOf | null;
  readonly ra: MeanOf | null;
  readonly der: MeanOf | null;
  /** Of D_c inside the target label, beside the share of poison that the label holds. */
  readonly purity: MeanOf | null;
  readonly baseRate: MeanOf | null;
  /** Inside the target label. */
  readonly auroc: MeanOf | null;
  readonly seconds: MeanOf | null;
  readonly paper: PaperFigure | null;
  /** True when the gate returned this stage at every seed. */
  readonly returned: boolean;
  /** What a reader must know: failed, pending, not repaired. */
  readonly note: string;
}

/** The lines of a table, row by row of the grid, and in each row: none, the paper's other defences, ours. */
export function tableLines({ table, victims }: TableCells, states: GridStates): readonly TableLine[] {
  const rows = new Map<string, CellGroup[]>();
  for (const group of victims) {
    const { dataset, attack, rate, name, seed } = group.victim;
    const id = [dataset, attack, rate, name.slice(0, -`-s${seed}`.length)].join('/');
    rows.set(id, [...(rows.get(id) ?? []), group]);
  }
  return [...rows.values()].flatMap((groups) => [
    noneLine(groups, states),
    ...(table.counts === null ? otherPapers(groups) : []),
    ...table.defenses.flatMap((defense) =>
      (table.counts ?? [null]).flatMap((count) => defenseLines(groups, defense, count, states)),
    ),
  ]);
}

/** What a row is about, over every seed alike: as the paper may have it, and as its lines say it. */
function settingOf(groups: readonly CellGroup[]): {
  readonly printed: PaperSetting;
  readonly setting: Pick<TableLine, 'dataset' | 'attack' | 'rate'>;
} {
  const { dataset, attack, variant, rate } = (groups[0] as CellGroup).victim;
  const name = variant === '' ? attack : `${attack} (${variant})`;
  return { printed: { dataset, attack, variant, rate }, setting: { dataset, attack: name, rate } };
}

const EMPTY = {
  acc: null,
  asr: null,
  asrIncludingTarget: null,
  ra: null,
  der: null,
  purity: null,
  baseRate: null,
  auroc: null,
  seconds: null,
  returned: false,
  note: '',
} as const;

function noneLine(groups: readonly CellGroup[], states: GridStates): TableLine {
  const { printed, setting } = settingOf(groups);
  const evaluations = groups.map((group) => victimEvaluation(group, states));
  const missing = groups.filter((_, i) => evaluations[i] === null);
  return {
    ...EMPTY,
    ...setting,
    ...rates(evaluations),
    count: null,
    model: 'none',
    defense: null,
    stage: 'victim',
    paper: paperFigure(printed, 'none'),
    note: missing.length === 0 ? '' : noteOf(missing.map((group) => groupState(group, states))),
  };
}

function groupState({ victim, defenses }: CellGroup, { defenses: known }: GridStates): CellState {
  if (!victim.available) return { state: 'not in this build' };
  const own = known.get(victim.key) ?? (defenses[0] && known.get(defenses[0].key));
  return own ?? { state: 'pending' };
}

/** The victim's figures: from any of its cards, or from its own judgement. */
export function victimEvaluation({ victim, defenses }: CellGroup, states: GridStates): Evaluation | null {
  for (const { key } of defenses) {
    const found = states.defenses.get(key);
    if (found?.state === 'done' && found.card.victim.evaluation !== null) return found.card.victim.evaluation;
  }
  return states.victims.get(victim.key) ?? null;
}

/** The columns of the paper that are not ours: printed, so that its table is there as a whole. */
function otherPapers(groups: readonly CellGroup[]): TableLine[] {
  const { printed, setting } = settingOf(groups);
  return PAPER_COLUMNS.filter((column) => column === 'DBD' || column === 'MM-BD').flatMap((column) => {
    const paper = paperFigure(printed, column);
    if (paper === null) return [];
    return [
      {
        ...EMPTY,
        ...setting,
        count: null,
        model: column,
        defense: null,
        stage: null,
        paper,
        note: 'the paper’s figure alone',
      },
    ];
  });
}

function defenseLines(
  groups: readonly CellGroup[],
  name: string,
  count: number | null,
  states: GridStates,
): TableLine[] {
  const { printed, setting } = settingOf(groups);
  const cells = groups.flatMap(({ defenses }) => defenses.filter((it) => it.column === name && it.count === count));
  const found = cells.map((cell) => stateOf(cell, states));
  const rows = found.flatMap((it) => (it.state === 'done' ? it.card.rows.slice(0, 1) : []));
  const lines = findDefense(name)?.lines ?? [];
  return lines.map(({ stage, title, paper }) => {
    const kept = rows.filter((row) => row.clipping === null).length;
    const notes = [
      noteOf(found),
      ...(kept === 0 ? [] : [rows.length === 1 ? 'not repaired' : `not repaired at ${kept} of ${rows.length} seeds`]),
    ];
    return {
      ...setting,
      count,
      model: `${name}: ${title}`,
      defense: name,
      stage,
      // Where nothing was repaired the victim is what came back.
      ...rates(rows.map(({ figures }) => figures?.evaluations[stage] ?? figures?.evaluations.victim ?? null)),
      der: meanOf(rows.map(({ figures }) => figures?.der[stage])),
      purity: meanOf(rows.map((row) => targetPurity(row)?.purity)),
      baseRate: meanOf(rows.map((row) => targetPurity(row)?.baseRate)),
      auroc: meanOf(rows.map(({ figures }) => figures?.auroc.targetLabel ?? figures?.auroc.overall)),
      seconds: meanOf(rows.map((row) => secondsUpTo(row, stage))),
      paper: paper && paperFigure(printed, paper, count),
      returned: rows.length > 0 && rows.every((row) => row.returned === stage),
      note: notes.filter((note) => note !== '').join('; '),
    };
  });
}

export function stateOf(cell: DefenseCell, { defenses }: GridStates): CellState {
  if (!cell.victim.available) return { state: 'not in this build' };
  return defenses.get(cell.key) ?? { state: 'pending' };
}

function noteOf(states: readonly CellState[]): string {
  const words = states.flatMap((it) =>
    it.state === 'done' ? [] : [it.state === 'failed' ? `failed: ${it.code}` : it.state],
  );
  return [...new Set(words)].join('; ');
}

function rates(evaluations: readonly (Evaluation | null)[]) {
  const over = (rate: keyof Evaluation) => meanOf(evaluations.map((evaluation) => evaluation?.[rate]));
  return { acc: over('acc'), asr: over('asr'), asrIncludingTarget: over('asrIncludingTarget'), ra: over('ra') };
}

/** Purity inside the target label; of all D_c under all-to-all. */
export function targetPurity({ figures }: CardRow) {
  if (figures === null) return undefined;
  const { perLabel, overall } = figures.purity;
  return figures.targetLabel === null ? overall : perLabel[figures.targetLabel];
}

/** Seconds a defence takes until this stage is there. */
export function secondsUpTo({ costs }: CardRow, stage: Stage): number {
  const counted = costs.filter((cost) => stage !== 'pad' || cost.stage !== 'fine-tune');
  return counted.reduce((sum, { seconds }) => sum + seconds, 0);
}
