import type { CardRow, RunCard } from '../report/card.js';
import {
  type CardDetection,
  derOf,
  describeGiven,
  detectionOf,
  peakBytes,
  rowCosts,
  secondsOf,
  targetClass,
  targetIn,
  trainSeconds,
} from './card-figures.js';
import type { CellGroup, DefenseCell } from './cells.js';
import { type GridStates, stateOf, victimEvaluation } from './figures.js';

type Value = string | number | null | undefined;

const HEAD = [
  ...['cell', 'key', 'victim_key', 'dataset', 'attack', 'rate', 'seed', 'defense', 'n', 'state', 'error'],
  ...['target_class', 'victim_acc', 'victim_asr', 'victim_asr_including_target'],
  ...['returned', 'pad_acc', 'pad_asr', 'pad_asr_including_target', 'pad_ra', 'pad_der'],
  ...['pad_ft_acc', 'pad_ft_asr', 'pad_ft_asr_including_target', 'pad_ft_ra', 'pad_ft_der'],
  ...['purity', 'base_rate', 'auroc', 'suspects', 'tpr', 'fpr', 'purify_s', 'clip_s', 'fine_tune_s', 'train_s'],
  ...['kind', 'acc', 'asr', 'asr_including_target', 'ra', 'der', 'seconds', 'peak_mib', 'given'],
  ...['auroc_overall', 'tpr_at_fpr_1', 'tpr_at_fpr_5', 'accused', 'p_value', 'verdict'],
] as const;

/**
 * Every cell as a line of CSV (RFC 4180): fractions in [0, 1], times in seconds, empty where there is no figure. `acc` to
 * `der` are those of the model that the cell gives back.
 */
export function cellsCsv(groups: readonly CellGroup[], states: GridStates): string {
  const lines = groups.flatMap((group) =>
    group.defenses.map((cell): readonly Value[] => {
      const { victim } = cell;
      const found = stateOf(cell, states);
      const card = found.state === 'done' ? found.card : undefined;
      const before = victimEvaluation(group, states);
      return [
        ...[cell.name, cell.key, victim.key, victim.dataset, victim.attack, victim.rate, victim.seed, cell.column],
        ...[countOf(cell), found.state, found.state === 'failed' ? found.code : ''],
        ...[card && targetClass(card), before?.acc, before?.asr, before?.asrIncludingTarget],
        ...figures(card?.rows[0], card && detectionOf(card)),
        card && trainSeconds(card),
        cell.kind,
        ...returned(card),
        ...detected(card),
      ];
    }),
  );
  return `${[HEAD, ...lines].map((line) => line.map(csvCell).join(',')).join('\r\n')}\r\n`;
}

/** n, where rows are purified. */
function countOf(cell: DefenseCell): Value {
  if (cell.kind === 'defense') return cell.planned.settings.purify.count;
  return cell.kind === 'detector' ? cell.settings.purify.count : null;
}

/** Of PAD-FT's stages, and of what a purifier found. */
function figures(row: CardRow | undefined, detection: CardDetection | null | undefined): readonly Value[] {
  const own = row?.figures ?? detection?.figures;
  const stage = (name: 'pad' | 'pad-ft') => {
    const { acc, asr, asrIncludingTarget, ra } = row?.figures?.evaluations[name] ?? {};
    return [acc, asr, asrIncludingTarget, ra, row?.figures?.der[name]];
  };
  const seconds = (name: string) => row?.costs.find((cost) => cost.stage === name)?.seconds;
  const inside = own && targetIn(own);
  return [
    row?.returned,
    ...stage('pad'),
    ...stage('pad-ft'),
    ...[inside?.purity, inside?.baseRate, own?.auroc.targetLabel ?? own?.auroc.overall],
    ...(row === undefined
      ? [detection?.suspects?.count, detection?.suspects?.tpr, detection?.suspects?.fpr]
      : [row.suspects, own?.suspects.tpr, own?.suspects.fpr]),
    ...[seconds('purify'), seconds('clip'), seconds('fine-tune')],
  ];
}

/** Of the model that came back, and of what it took. */
function returned(card: RunCard | undefined): readonly Value[] {
  const row = card?.rows[0];
  const method = card?.methods?.[0];
  const { acc, asr, asrIncludingTarget, ra } =
    method?.figures?.evaluation ?? row?.figures?.evaluations[row.returned] ?? {};
  const der = method?.figures?.der ?? (row && derOf(row.figures, row.returned));
  const costs = card && rowCosts(card);
  const peak = costs && peakBytes(costs);
  return [
    ...[acc, asr, asrIncludingTarget, ra, der],
    ...[costs && secondsOf(costs), peak && peak / 2 ** 20, card && describeGiven(card)],
  ];
}

function detected(card: RunCard | undefined): readonly Value[] {
  const found = card && detectionOf(card);
  const figures = found?.figures ?? card?.rows[0]?.figures;
  const verdict = card?.rows[0]?.verdict;
  const accused = found?.accused ?? verdict?.attacked;
  return [
    ...[figures?.auroc.overall, figures?.tprAt?.fpr1, figures?.tprAt?.fpr5],
    ...[accused?.join(' '), found?.pValue, found?.text ?? verdict?.text],
  ];
}

/** One value as CSV. Text that a spreadsheet would run as a formula is shown as text. */
export function csvCell(value: Value): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number') return String(value);
  const inert = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}
