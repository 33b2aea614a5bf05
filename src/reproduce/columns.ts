import { type MeanOf, numberOf, percentOf, scaledOf } from './deviation.js';
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

const ours = (line: TableLine, value: MeanOf | null) => (line.stage === null ? '' : percentOf(value));
const paper = (value: number | undefined) => (value === undefined ? '' : value.toFixed(2));

/** Ours less the paper's, in points. */
export function delta(value: MeanOf | null, printed: number | undefined): number | null {
  return value === null || printed === undefined ? null : 100 * value.mean - printed;
}

function signed(value: number | null): string {
  return value === null ? '' : `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(2)}`;
}

/** Of models, the victim among them. */
const ALWAYS: readonly TableColumn[] = [
  { title: 'ACC', help: 'accuracy on the clean test set', unit: '%', text: (line) => ours(line, line.acc) },
  { title: 'ASR', help: 'attack success, target class left out', unit: '%', text: (line) => ours(line, line.asr) },
];

const INCLUDING_TARGET: TableColumn = {
  title: 'ASR incl. target',
  help: 'attack success over all test images, as the paper seems to count',
  unit: '%',
  text: (line) => ours(line, line.asrIncludingTarget),
};

/** The paper's figures, and ours beside them. */
const PAPER: readonly TableColumn[] = [
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
];

/** Of repaired models. */
const REPAIRS: readonly TableColumn[] = [
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
];

/** Of purifiers. */
const PURIFIERS: readonly TableColumn[] = [
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
];

const share = (value: MeanOf | null | undefined) => (value == null ? '' : percentOf(value));

/** Small ones by their order of magnitude. */
function probability(p: number): string {
  return p < 0.001 ? p.toExponential(1) : p.toFixed(3);
}

/** Of detectors that repair nothing. */
const DETECTORS: readonly TableColumn[] = [
  {
    title: 'AUROC overall',
    help: 'of the score over the rows of every label',
    text: ({ detection }) => (detection?.auroc == null ? '' : numberOf(detection.auroc, 4)),
  },
  {
    title: 'TPR at 1 %',
    help: 'planted rows that score above 99 % of the others',
    unit: '%',
    text: ({ detection }) => share(detection?.tprAt1),
  },
  {
    title: 'TPR at 5 %',
    help: 'planted rows that score above 95 % of the others',
    unit: '%',
    text: ({ detection }) => share(detection?.tprAt5),
  },
  {
    title: 'suspects’ TPR',
    help: 'planted rows that are among the suspects',
    unit: '%',
    text: ({ detection }) => share(detection?.tpr),
  },
  {
    title: 'suspects’ FPR',
    help: 'other rows that are among the suspects',
    unit: '%',
    text: ({ detection }) => share(detection?.fpr),
  },
  {
    title: 'accused',
    help: 'labels that the verdict calls attacked',
    text: ({ detection }) => detection?.accused ?? '',
  },
  {
    title: 'p',
    help: 'of MM-BD: what a clean model gives by chance',
    text: ({ detection }) => (detection?.pValue == null ? '' : probability(detection.pValue.mean)),
  },
];

const SECONDS: TableColumn = {
  title: 'seconds',
  help: 'of the defence up to this stage',
  text: ({ seconds }) => (seconds === null ? '' : numberOf(seconds, 1)),
};

/** Where defences of different kinds stand side by side. */
const EFFORT: readonly TableColumn[] = [
  {
    title: 'peak',
    help: 'memory of the stage that needed most: on a processor the whole process, with what earlier cells left in it; on a GPU live tensors',
    unit: 'MiB',
    text: ({ peak }) => (peak === null ? '' : scaledOf(peak, 2 ** -20, 0)),
  },
  { title: 'given', help: 'what it worked with', text: ({ given }) => given },
];

const VERDICT: TableColumn = {
  title: 'verdict',
  help: "in the detector's own words",
  text: ({ detection }) => detection?.verdict ?? '',
};

const NOTE: TableColumn = { title: 'note', help: '', text: ({ note }) => note };

/**
 * The columns that say which model a line is, n only where it varies, and those that some line has something for:
 * repairs, the paper's figures, what detectors found, and, where other methods or detectors are among the lines, what
 * each was given.
 */
export function columnsFor(lines: readonly TableLine[]): readonly TableColumn[] {
  const counts = lines.some(({ count }) => count !== null);
  const detects = lines.some(({ detection }) => detection !== null);
  const repairs = lines.some(({ defense, stage }) => defense !== null && stage !== null);
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
    ...(detects && !repairs ? [] : [INCLUDING_TARGET, ...(lines.some((line) => line.paper) ? PAPER : []), ...REPAIRS]),
    ...PURIFIERS,
    ...(detects ? DETECTORS : []),
    SECONDS,
    ...(detects || lines.some(({ stage }) => stage === 'method') ? EFFORT : []),
    ...(detects ? [VERDICT] : []),
    NOTE,
  ];
}
