import type { CardRow, RunCard } from '../report/card.js';
import type { CellGroup } from './cells.js';
import { type GridStates, stateOf, targetPurity, victimEvaluation } from './figures.js';

type Value = string | number | null | undefined;

const HEAD = [
  ...['cell', 'key', 'victim_key', 'dataset', 'attack', 'rate', 'seed', 'defense', 'n', 'state', 'error'],
  ...['target_class', 'victim_acc', 'victim_asr', 'victim_asr_including_target'],
  ...['returned', 'pad_acc', 'pad_asr', 'pad_asr_including_target', 'pad_ra', 'pad_der'],
  ...['pad_ft_acc', 'pad_ft_asr', 'pad_ft_asr_including_target', 'pad_ft_ra', 'pad_ft_der'],
  ...['purity', 'base_rate', 'auroc', 'suspects', 'tpr', 'fpr', 'purify_s', 'clip_s', 'fine_tune_s', 'train_s'],
] as const;

/** Every cell as a line of CSV (RFC 4180): fractions in [0, 1], times in seconds, empty where there is no figure. */
export function cellsCsv(groups: readonly CellGroup[], states: GridStates): string {
  const lines = groups.flatMap((group) =>
    group.defenses.map((cell): readonly Value[] => {
      const { victim } = cell;
      const found = stateOf(cell, states);
      const card = found.state === 'done' ? found.card : undefined;
      const before = victimEvaluation(group, states);
      return [
        ...[cell.name, cell.key, victim.key, victim.dataset, victim.attack, victim.rate, victim.seed, cell.column],
        ...[cell.planned.settings.purify.count, found.state, found.state === 'failed' ? found.code : ''],
        ...[card && targetClass(card), before?.acc, before?.asr, before?.asrIncludingTarget],
        ...figures(card?.rows[0]),
        card && trainSeconds(card),
      ];
    }),
  );
  return `${[HEAD, ...lines].map((line) => line.map(csvCell).join(',')).join('\r\n')}\r\n`;
}

function figures(row: CardRow | undefined): readonly Value[] {
  if (row === undefined) return new Array<null>(20).fill(null);
  const { figures } = row;
  const stage = (name: 'pad' | 'pad-ft') => {
    const evaluation = figures?.evaluations[name];
    const { acc, asr, asrIncludingTarget, ra } = evaluation ?? {};
    return [acc, asr, asrIncludingTarget, ra, figures?.der[name]];
  };
  const seconds = (name: string) => row.costs.find((cost) => cost.stage === name)?.seconds;
  const inside = targetPurity(row);
  return [
    row.returned,
    ...stage('pad'),
    ...stage('pad-ft'),
    ...[inside?.purity, inside?.baseRate, figures?.auroc.targetLabel ?? figures?.auroc.overall],
    ...[row.suspects, figures?.suspects.tpr, figures?.suspects.fpr],
    ...[seconds('purify'), seconds('clip'), seconds('fine-tune')],
  ];
}

/** The target label's name, as the data set calls it; empty without one. */
export function targetClass({ rows, config }: RunCard): string {
  const target = rows[0]?.figures?.targetLabel;
  return target === null || target === undefined ? '' : (config.dataset.classNames[target] ?? '');
}

/** Of the victim's training, whenever that was. */
export function trainSeconds({ victim }: RunCard): number {
  return victim.history.reduce((sum, { seconds }) => sum + seconds, 0);
}

/** One value as CSV. Text that a spreadsheet would run as a formula is shown as text. */
export function csvCell(value: Value): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number') return String(value);
  const inert = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}
