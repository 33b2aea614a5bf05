import { scoreByActivationClustering } from '../detectors/activation-clustering.js';
import { scoreBySpectralSignatures } from '../detectors/spectral-signatures.js';
import { scoreByStrip } from '../detectors/strip.js';
import { clippingUnits } from '../units.js';
import { scoreByClipDrop } from './clip-drop.js';
import type { PadFtSettings, PurifierName, PurifySettings } from './options.js';
import { type PurifyInput, type RowScores, scoreBySce, scoreCrossLabel } from './purify.js';

/** A way to give every row one score: the larger, the more it looks planted. */
export interface Purifier {
  readonly score: (input: PurifyInput) => Promise<RowScores>;
  /** Which rows it keeps away, in words. */
  readonly summary: string;
  /** What of the settings it reads, besides how many rows are kept (`purifierReads`). */
  readonly reads: readonly (keyof PurifySettings)[];
  /** About what scoring costs, in forward units. */
  readonly units: (settings: Pick<PadFtSettings, 'purify' | 'clip'>, data: ScoredSize) => number;
}

/** The size of a set whose rows are scored. */
export interface ScoredSize {
  readonly rows: number;
  readonly classes: number;
}

/** Scores and features. */
const TWICE = (_: unknown, { rows }: ScoredSize) => 2 * rows;

/** The features of every row; under `either` again where extrapolated limits accuse many labels. */
function sharpeningUnits({ sharpen }: PurifySettings, rows: number): number {
  return sharpen ? rows : 0;
}

/** Of purifiers that judge, not of those that rank alone. */
const VERDICT = ['verdictSeparation', 'verdictGain', 'suspectPosterior'] as const;

/** The purifiers by name. */
export const PURIFIER_TABLE: Readonly<Record<PurifierName, Purifier>> = {
  'cross-label': {
    score: scoreCrossLabel,
    summary: "rows that lose their margin when channels are held to what other labels' rows show",
    reads: ['quantile', 'limits', 'statistic', 'rowsPerLabel', 'sharpen', ...VERDICT],
    units({ purify }, { rows, classes }) {
      const statistics = purify.statistic === 'both' ? 2 : 1;
      const sample = Math.min(rows, classes * purify.rowsPerLabel);
      // One look at the sample for what is observed, three for what is extrapolated; both, as a clean set takes.
      const looks = purify.limits === 'observed' ? 1 : 3;
      const limited = statistics * ((purify.limits === 'either' ? 2 : 1) * rows + looks * sample);
      return rows + limited + sharpeningUnits(purify, rows);
    },
  },
  'clip-drop': {
    score: scoreByClipDrop,
    summary: 'rows that lose their margin under bounds fitted to the cleanest rows, in rounds',
    reads: ['rounds', 'sharpen', ...VERDICT],
    units({ purify, clip }, { rows }) {
      const kept = Math.min(rows, purify.count);
      // Its rounds settle on the kept rows, without suspects.
      const bounds = { ...clip, controller: 'settle', mu: 0 } as const;
      return rows + purify.rounds * (rows + clippingUnits(bounds, kept, kept)) + sharpeningUnits(purify, rows);
    },
  },
  sce: {
    score: scoreBySce,
    summary: "rows in order of their symmetric cross-entropy, the paper's purifier",
    reads: VERDICT,
    units: (_, { rows }) => rows,
  },
  'spectral-signatures': {
    score: scoreBySpectralSignatures,
    summary: 'rows far out along the widest spread of their label’s features',
    reads: [],
    units: TWICE,
  },
  'activation-clustering': {
    score: scoreByActivationClustering,
    summary: 'rows in the smaller of two clusters of their label’s features',
    reads: [],
    units: TWICE,
  },
  strip: {
    score: scoreByStrip,
    summary: 'rows whose label survives other images laid over them',
    reads: ['overlays'],
    units: ({ purify }, { rows }) => (2 + purify.overlays) * rows,
  },
};

/** Every setting of stage 1 that is read under this purifier, its own name among them. */
export function purifierReads(purifier: PurifierName): ReadonlySet<keyof PurifySettings> {
  return new Set(['purifier', 'count', 'pool', 'alpha', ...PURIFIER_TABLE[purifier].reads]);
}

/** Units of scoring every row by the settings' purifier. */
export function scoringUnits(settings: Pick<PadFtSettings, 'purify' | 'clip'>, data: ScoredSize): number {
  return PURIFIER_TABLE[settings.purify.purifier].units(settings, data);
}
