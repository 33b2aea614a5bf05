import { type MeanOf, numberOf, percentOf } from './deviation.js';
import type { TableLine } from './figures.js';

/** A column of the printed tables: Markdown and HTML show the same. */
export interface TableColumn {
  readonly title: string;
  /** What it means, for a reader who points at it. */
  readonly help: string;
  /** Below the title on the page; Markdown says it once above the table. */
  readonly unit?: string;
  readonly text: (line: TableLine) => string;
}

const ours = (line: TableLine, value: MeanOf | null) =>
  line.defense === null && line.stage === null ? '' : percentOf(value);
const paper = (value: number | undefined) => (value === undefined ? '' : value.toFixed(2));

/** Ours less the paper's, in points. */
export function delta(value: MeanOf | null, printed: number | undefined): number | null {
  return value === null || printed === undefined ? null : 100 * value.mean - printed;
}

function signed(value: number | null): string {
  return value === null ? '' : `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(2)}`;
}

const ALWAYS: readonly TableColumn[] = [
  { title: 'ACC', help: 'accuracy on the clean test set', unit: '%', text: (line) => ours(line, line.acc) },
  { title: 'ASR', help: 'attack success, target class left out', unit: '%', text: (line) => ours(line, line.asr) },
  {
    title: 'ASR incl. target',
    help: 'attack success over all test images, as the paper seems to count',
    unit: '%',
    text: (line) => ours(line, line.asrIncludingTarget),
  },
  { title: 'paper ACC', help: 'as printed', unit: '%', text: ({ paper: it }) => paper(it?.acc) },
  { title: 'paper ASR', help: 'as printed', unit: '%', text: ({ paper: it }) => paper(it?.asr) },
  {
    title: 'Δ ACC',
    help: 'ours less the paper’s',
    unit: 'points',
    text: (line) => signed(delta(line.acc, line.paper?.acc)),
  },
  {
    title: 'Δ ASR',
    help: 'ours, target class included, less the paper’s',
    unit: 'points',
    text: (line) => signed(delta(line.asrIncludingTarget, line.paper?.asr)),
  },
  {
    title: 'RA',
    help: 'triggered images that get their own label back',
    unit: '%',
    text: (line) => ours(line, line.ra),
  },
  {
    title: 'DER',
    help: 'defence effectiveness against the victim',
    unit: '%',
    text: (line) => (line.der === null ? '' : percentOf(line.der)),
  },
  {
    title: 'purity (base)',
    help: 'clean share of D_c inside the target label, beside the label’s poison share',
    unit: '%',
    text: ({ purity, baseRate }) => (purity === null ? '' : `${percentOf(purity)} (${percentOf(baseRate, 1)})`),
  },
  {
    title: 'AUROC',
    help: 'of the purifier’s score inside the target label',
    text: ({ auroc }) => (auroc === null ? '' : numberOf(auroc, 4)),
  },
  {
    title: 'seconds',
    help: 'of the defence up to this stage',
    text: ({ seconds }) => (seconds === null ? '' : numberOf(seconds, 1)),
  },
  { title: 'note', help: '', text: ({ note }) => note },
];

/** The columns that say which model a line is; n only where it varies. */
export function columnsFor(lines: readonly TableLine[]): readonly TableColumn[] {
  const counts = lines.some(({ count }) => count !== null);
  return [
    { title: 'data set', help: '', text: ({ dataset }) => dataset },
    {
      title: 'attack',
      help: 'and poison rate',
      text: ({ attack, rate }) => (rate === 0 ? attack : `${attack} ${Number((100 * rate).toPrecision(6))} %`),
    },
    ...(counts
      ? [{ title: 'n', help: 'rows of D_c', text: ({ count }: TableLine) => (count === null ? '' : String(count)) }]
      : []),
    { title: 'defence', help: '', text: ({ model, returned }) => (returned ? `${model} ◀` : model) },
    ...ALWAYS,
  ];
}
