/**
 * The figures of *PAD-FT: A Lightweight Defense for Backdoor Attacks via Data Purification and Fine-Tuning*
 * (arXiv 2409.12072), tables I, II and III, in percent.
 */
export const PAPER_SOURCE = 'arXiv 2409.12072, tables I to III';

/** ACC and ASR in percent. */
export interface PaperFigure {
  readonly acc: number;
  readonly asr: number;
}

/** The columns of tables I and II, in their order. */
export const PAPER_COLUMNS = ['none', 'DBD', 'MM-BD', 'PAD', 'PAD-FT'] as const;
export type PaperColumn = (typeof PAPER_COLUMNS)[number];

type Row = readonly [
  none: readonly [number, number],
  dbd: readonly [number, number],
  mmbd: readonly [number, number],
  pad: readonly [number, number],
  padFt: readonly [number, number],
];

interface PaperRow {
  readonly table: 'I' | 'II';
  readonly dataset: string;
  readonly attack: string;
  readonly rate: number;
  readonly cells: Row;
}

const row = (table: 'I' | 'II', dataset: string, attack: string, ...cells: Row): PaperRow => ({
  table,
  dataset,
  attack,
  rate: table === 'I' ? 0.1 : 0.05,
  cells,
});

const ROWS: readonly PaperRow[] = [
  row('I', 'cifar10', 'badnets', [91.82, 93.79], [79.89, 6.83], [87.33, 28.07], [83.28, 28.13], [85.34, 6.62]),
  row('I', 'cifar10', 'blended', [93.69, 99.76], [90.11, 7.32], [84.57, 29.11], [82.97, 28.47], [83.4, 6.56]),
  row('I', 'cifar10', 'wanet', [90.57, 96.93], [85.53, 9.17], [84.38, 20.2], [84.84, 20.18], [86.86, 8.92]),
  row('I', 'cifar100', 'badnets', [67.19, 85.95], [54.56, 91.48], [59.88, 0.15], [62.03, 0.21], [57.03, 0.14]),
  row('I', 'cifar100', 'blended', [69.43, 99.44], [57.61, 99.9], [60.05, 0.45], [62.9, 0.44], [50.56, 0.29]),
  row('I', 'cifar100', 'wanet', [71.1, 100], [55.84, 97.19], [58.3, 0.7], [62.36, 0.69], [54.94, 0.47]),
  row('II', 'cifar10', 'badnets', [92.35, 89.52], [68.87, 8.86], [85.97, 11.33], [85.73, 12.4], [82.46, 8.36]),
  row('II', 'cifar10', 'blended', [93.76, 99.31], [67.44, 99.96], [85.13, 10.09], [85.09, 9.55], [81.09, 7.44]),
  row('II', 'cifar10', 'wanet', [91.45, 99.98], [86.97, 4.95], [85.75, 13.27], [86.36, 13.11], [86.03, 10.5]),
  row('II', 'cifar100', 'badnets', [69.65, 69.32], [62.25, 0.3], [62.99, 0.21], [66.84, 0.17], [60.08, 0.12]),
  row('II', 'cifar100', 'blended', [70.32, 98.72], [59.53, 99.89], [63.79, 0.05], [67.36, 0.01], [63.0, 0.12]),
  row('II', 'cifar100', 'wanet', [71.94, 99.94], [61.8, 1.26], [62.93, 0.39], [65.93, 0.12], [62.78, 0.07]),
];

/** What a row of the paper's tables is about. */
export interface PaperSetting {
  readonly dataset: string;
  readonly attack: string;
  /** How the attack differs from its defaults; empty when it does not. The paper knows no variants. */
  readonly variant: string;
  readonly rate: number;
}

/**
 * What the paper prints for this setting, in tables I and II or, where n is given, in table III; null when it has no such
 * row.
 */
export function paperFigure(setting: PaperSetting, column: PaperColumn, n: number | null = null): PaperFigure | null {
  const { dataset, attack, variant, rate } = setting;
  if (variant !== '') return null;
  if (n !== null) {
    const own = TABLE_3.dataset === dataset && TABLE_3.attack === attack && TABLE_3.rate === rate;
    return own && column === 'PAD-FT' ? (PAPER_TABLE_3.get(n) ?? null) : null;
  }
  const found = ROWS.find((it) => it.dataset === dataset && it.attack === attack && it.rate === rate);
  const cell = found?.cells[PAPER_COLUMNS.indexOf(column)];
  return cell === undefined ? null : { acc: cell[0], asr: cell[1] };
}

/** Of table III: the paper names neither attack nor rate nor data set [A]. */
const TABLE_3 = { dataset: 'cifar10', attack: 'badnets', rate: 0.1 } as const;

/** Table III: PAD-FT over n, the rows of D_c. */
export const PAPER_TABLE_3: ReadonlyMap<number, PaperFigure> = new Map([
  [1000, { acc: 83.43, asr: 16.1 }],
  [2000, { acc: 84.7, asr: 9.96 }],
  [3000, { acc: 83.91, asr: 8.82 }],
  [4000, { acc: 82.02, asr: 10.96 }],
  [5000, { acc: 82.38, asr: 13.11 }],
  [6000, { acc: 82.22, asr: 13.64 }],
]);
