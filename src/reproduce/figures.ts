import type { Stage } from '../defenses/pad-ft/gate.js';
import type { ErrorCode } from '../errors.js';
import type { Evaluation } from '../evaluate.js';
import type { RunCard } from '../report/card.js';
import {
  addedImages,
  costsUpTo,
  derOf,
  describeGiven,
  detectionOf,
  machineOf,
  peakBytes,
  rowCosts,
  secondsOf,
  targetIn,
  targetPurity,
} from './card-figures.js';
import type { CellGroup, DefenseCell, TableCells } from './cells.js';
import { type DefenseColumn, findColumn, type MethodColumn } from './defenses.js';
import { type MeanOf, meanOf } from './deviation.js';
import { type PaperFigure, type PaperSetting, paperFigure } from './paper-figures.js';

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

/** What a detector that repairs nothing said, averaged over its seeds. Fractions in [0, 1]. */
export interface Detection {
  /** Over the rows of every label; that inside the target label is the line's own. */
  readonly auroc: MeanOf | null;
  /** TPR of its score at an FPR of 1 % and of 5 %. */
  readonly tprAt1: MeanOf | null;
  readonly tprAt5: MeanOf | null;
  /** Of its suspects. */
  readonly tpr: MeanOf | null;
  readonly fpr: MeanOf | null;
  /** Labels that it calls attacked, with the number of seeds where there are several: `0 (2 of 3)`. */
  readonly accused: string;
  /** Of MM-BD alone. */
  readonly pValue: MeanOf | null;
  readonly verdict: string;
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
  /** `method` for the model of another method; null where there is no model of ours: a detector, the paper's own columns. */
  readonly stage: Stage | 'method' | null;
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
  /** Of the stage that needed most, in bytes. */
  readonly peak: MeanOf | null;
  /** What it worked with: `victim, 2500 clean images`. */
  readonly given: string;
  /** What its cells were computed on, each once. */
  readonly machines: readonly string[];
  /** What a detector said; null for every other line. */
  readonly detection: Detection | null;
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
    ...(table.counts === null ? otherPapers(groups, table.defenses) : []),
    ...table.defenses.flatMap((name) => columnLines(groups, name, table.counts, states)),
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
  peak: null,
  given: '',
  machines: [],
  detection: null,
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

/**
 * The columns of the paper that are not among ours: printed, so that its table is there as a whole. Beside detectors alone
 * there is nothing to compare them with.
 */
function otherPapers(groups: readonly CellGroup[], names: readonly string[]): TableLine[] {
  const { printed, setting } = settingOf(groups);
  const columns = names.flatMap((name) => findColumn(name) ?? []);
  if (columns.every(({ kind }) => kind === 'detector' || kind === 'inspection')) return [];
  const ours = new Set(columns.map((column) => (column.kind === 'method' ? column.paper : null)));
  return (['DBD', 'MM-BD'] as const).flatMap((column) => {
    if (ours.has(column)) return [];
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

function columnLines(
  groups: readonly CellGroup[],
  name: string,
  counts: readonly number[] | null,
  states: GridStates,
): TableLine[] {
  const column = findColumn(name);
  switch (column?.kind) {
    case 'defense':
      return (counts ?? [null]).flatMap((count) => defenseLines(groups, column, count, states));
    case 'method':
      // The victim as it is has a line in every table.
      return column.name === 'none' ? [] : [methodLine(groups, column, states)];
    case 'detector':
    case 'inspection':
      return [detectorLine(groups, name, states)];
    default:
      return [];
  }
}

/** The cells of one column over the seeds, and the cards of those that are done. */
function cellsOf(groups: readonly CellGroup[], name: string, count: number | null, states: GridStates) {
  const cells = groups.flatMap(({ defenses }) => defenses.filter((it) => it.column === name && it.count === count));
  const found = cells.map((cell) => stateOf(cell, states));
  const cards = found.flatMap((it) => (it.state === 'done' ? [it.card] : []));
  return { cards, note: noteOf(found), ...settingOf(groups) };
}

/** What every line says of how its defence was run. */
function common(cards: readonly RunCard[]): Pick<TableLine, 'seconds' | 'peak' | 'given' | 'machines'> {
  return {
    seconds: meanOf(cards.map((card) => secondsOf(rowCosts(card)))),
    peak: meanOf(cards.map((card) => peakBytes(rowCosts(card)))),
    given: [...new Set(cards.map(describeGiven))].join('; '),
    machines: [...new Set(cards.map(machineOf))],
  };
}

function defenseLines(
  groups: readonly CellGroup[],
  { name, lines }: DefenseColumn,
  count: number | null,
  states: GridStates,
): TableLine[] {
  const { cards, note, printed, setting } = cellsOf(groups, name, count, states);
  const rows = cards.flatMap((card) => card.rows.slice(0, 1));
  return lines.map(({ stage, title, paper }) => {
    const kept = rows.filter((row) => row.clipping === null).length;
    const notes = [
      note,
      ...(kept === 0 ? [] : [rows.length === 1 ? 'not repaired' : `not repaired at ${kept} of ${rows.length} seeds`]),
    ];
    const costs = rows.map((row) => costsUpTo(row, stage));
    return {
      ...EMPTY,
      ...setting,
      ...common(cards),
      count,
      model: `${name}: ${title}`,
      defense: name,
      stage,
      // Where nothing was repaired the victim is what came back.
      ...rates(rows.map(({ figures }) => figures?.evaluations[stage] ?? figures?.evaluations.victim ?? null)),
      der: meanOf(rows.map(({ figures }) => derOf(figures, stage))),
      purity: meanOf(rows.map((row) => targetPurity(row)?.purity)),
      baseRate: meanOf(rows.map((row) => targetPurity(row)?.baseRate)),
      auroc: meanOf(rows.map(({ figures }) => figures?.auroc.targetLabel ?? figures?.auroc.overall)),
      seconds: meanOf(costs.map(secondsOf)),
      peak: meanOf(costs.map(peakBytes)),
      paper: paper && paperFigure(printed, paper, count),
      returned: rows.length > 0 && rows.every((row) => row.returned === stage),
      note: notes.filter((it) => it !== '').join('; '),
    };
  });
}

function methodLine(groups: readonly CellGroup[], { name, paper }: MethodColumn, states: GridStates): TableLine {
  const { cards, note, printed, setting } = cellsOf(groups, name, null, states);
  const rows = cards.flatMap(({ methods = [] }) => methods.slice(0, 1));
  const added = cards.map((card) => addedImages(card)).filter((count) => count > 0);
  const notes = [
    note,
    ...(added.length === 0
      ? []
      : [`${[...new Set(added)].join(' or ')} of the clean images added for classes that the draw missed`]),
  ];
  return {
    ...EMPTY,
    ...setting,
    ...common(cards),
    count: null,
    model: name,
    defense: name,
    stage: 'method',
    ...rates(rows.map(({ figures }) => figures?.evaluation ?? null)),
    der: meanOf(rows.map(({ figures }) => figures?.der)),
    paper: paper && paperFigure(printed, paper),
    note: notes.filter((it) => it !== '').join('; '),
  };
}

function detectorLine(groups: readonly CellGroup[], name: string, states: GridStates): TableLine {
  const { cards, note, setting } = cellsOf(groups, name, null, states);
  const found = cards.flatMap((card) => detectionOf(card) ?? []);
  const figures = found.map((it) => it.figures);
  const target = figures.map((it) => it && targetIn(it));
  return {
    ...EMPTY,
    ...setting,
    ...common(cards),
    count: null,
    model: name,
    defense: name,
    stage: null,
    purity: meanOf(target.map((it) => it?.purity)),
    baseRate: meanOf(target.map((it) => it?.baseRate)),
    auroc: meanOf(figures.map((it) => it?.auroc.targetLabel ?? it?.auroc.overall)),
    detection: {
      auroc: meanOf(figures.map((it) => it?.auroc.overall)),
      tprAt1: meanOf(figures.map((it) => it?.tprAt?.fpr1)),
      tprAt5: meanOf(figures.map((it) => it?.tprAt?.fpr5)),
      tpr: meanOf(found.map((it) => it.suspects?.tpr)),
      fpr: meanOf(found.map((it) => it.suspects?.fpr)),
      accused: accusedOf(found.map((it) => it.accused)),
      pValue: meanOf(found.map((it) => it.pValue)),
      verdict: [...new Set(found.map((it) => it.text))].join('; '),
    },
    paper: null,
    note,
  };
}

/** How often each label was called attacked. */
function accusedOf(seeds: readonly (readonly number[])[]): string {
  const labels = [...new Set(seeds.flat())].sort((a, b) => a - b);
  const times = (label: number) => seeds.filter((accused) => accused.includes(label)).length;
  return labels
    .map((label) => (seeds.length === 1 ? label : `${label} (${times(label)} of ${seeds.length})`))
    .join(', ');
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
