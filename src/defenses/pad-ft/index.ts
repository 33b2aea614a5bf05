import type { Dataset } from '../../dataset.js';
import type { Precision } from '../../device.js';
import { PadFtError } from '../../errors.js';
import { MemoryWatch, type StageCost } from '../../memory.js';
import type { EvaluationOptions, Model } from '../../model.js';
import { throwIfAborted } from '../../native/job.js';
import { type ClipResult, clip } from './clip.js';
import { fineTune, type TuneResult } from './fine-tune.js';
import { chooseStage, type GateDecision, type Stage, type StageView, viewStage } from './gate.js';
import { optionsForData, type PadFtOptions, type PadFtSettings, type PurifierName, padFtSettings } from './options.js';
import { costOf } from './outcome.js';
import { PURIFIER_TABLE } from './purifiers.js';
import { type HoldOut, type Purification, type RowScores, selectRows } from './purify.js';
import { inTurns, rejudge, rejudges } from './rejudge.js';

/** What a defence reports while it works. */
export interface DefenseProgress {
  readonly stage: 'purify' | 'clip' | 'fine-tune';
  readonly done: number;
  readonly total: number;
}

export interface DefenseContext {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DefenseProgress) => void) | undefined;
  readonly precision?: Precision | undefined;
  /** Rows a batch in evaluation. */
  readonly batchSize?: number | undefined;
  /** Scores from before, of the same victim, rows and `scoringKey`: the rows are not scored again. */
  readonly scores?: RowScores | undefined;
  /** D_c from elsewhere, for the oracle and the random rows of a table: replaces the purifier's choice. */
  readonly purified?: Uint32Array | undefined;
}

/** Models after each stage and everything that was found. Dispose of it, or keep `model` and dispose of the others. */
export interface PadFtResult extends Disposable {
  readonly settings: PadFtSettings;
  readonly scores: RowScores;
  readonly purification: Purification;
  /** Bounded, classifier untouched; null when nothing was repaired. */
  readonly pad: Model | null;
  /** Bounded, classifier tuned; null when nothing was repaired. */
  readonly padFt: Model | null;
  /** The model to use: the victim itself, `pad` or `padFt`, as the gate chose. Not a copy. */
  readonly model: Model;
  readonly stage: Stage;
  readonly gate: GateDecision;
  readonly clipping: ClipResult | null;
  readonly tuning: TuneResult | null;
  /** Seconds and peak memory of each stage. */
  readonly costs: readonly StageCost[];
}

/**
 * PAD-FT on a victim and the training set it came from: purify, clip, fine-tune, and a gate that returns the best
 * stage. Reads images, given labels and the victim; nothing else.
 *
 * @throws PadFtError ERR_OPTION, ERR_MODEL when data and victim do not fit, ERR_DATA when a label has no row to keep,
 * ERR_NUMERIC, ERR_OOM, ERR_ABORTED
 */
export async function padFt(
  victim: Model,
  data: Dataset,
  options: PadFtOptions = {},
  context: DefenseContext = {},
): Promise<PadFtResult> {
  const settings = padFtSettings(options);
  throwIfAborted(context.signal);
  requireUnbounded(victim);
  const watch = new MemoryWatch(victim.device);
  const made: Disposable[] = [];
  try {
    // Stage 1: which rows are clean, which look planted.
    const scores = context.scores ?? (await watch.measure('purify', () => scoreRows(victim, data, settings, context)));
    const found = await selectRows(
      scores,
      data.labels(),
      data.classes,
      settings.purify,
      holdOf(settings),
      context.signal,
    );
    const first = context.purified === undefined ? found : withPurified(found, context.purified);
    requireEveryLabel(first.purified, data);
    const evaluation = stageEvaluation(context, 'clip');
    const picked = await pickRows(data, first, evaluation, made);
    const view = (stage: Stage, model: Model, { heldOut, suspects }: StageRows) =>
      viewStage(stage, model, heldOut, suspects, evaluation);
    const repairs = settings.always || first.verdict.attacked.length > 0;
    if (!repairs) {
      const gate = {
        stage: 'victim' as const,
        reason: 'nothing to repair: the model is returned as it is',
        views: [await view('victim', victim, picked)],
      };
      return result({
        settings,
        scores,
        purification: first,
        pad: null,
        padFt: null,
        victim,
        gate,
        clipping: null,
        tuning: null,
        watch,
      });
    }

    // Stage 2: bounds on what clean images need, and with them a second look at the suspects.
    const keepsPurified = context.purified !== undefined;
    const { pad, clipping, purification, rows } = await watch.measure('clip', () =>
      bound({ victim, data, scores, settings, evaluation, made, keepsPurified }, { purification: first, rows: picked }),
    );
    const views = [await view('victim', victim, rows), await view('pad', pad, rows)];

    // Stage 3: the classifier alone, on constant features.
    const padFtModel = await pad.clone();
    made.push(padFtModel);
    const tuning = await watch.measure('fine-tune', () =>
      fineTune({
        model: padFtModel,
        ...rows,
        settings: settings.tune,
        seed: settings.seed,
        evaluation: stageEvaluation(context, 'fine-tune'),
      }),
    );
    views.push(await view('pad-ft', padFtModel, rows));

    const gate = chooseStage(views, settings.maxAccDrop, settings.gatePrice);
    made.splice(made.indexOf(pad), 1);
    made.splice(made.indexOf(padFtModel), 1);
    return result({ settings, scores, purification, pad, padFt: padFtModel, victim, gate, clipping, tuning, watch });
  } finally {
    for (const handle of made) handle[Symbol.dispose]();
  }
}

/** What stage 2 works with; `made` takes what is to be disposed of. */
interface BoundInput {
  readonly victim: Model;
  readonly data: Dataset;
  readonly scores: RowScores;
  readonly settings: PadFtSettings;
  readonly evaluation: EvaluationOptions;
  readonly made: Disposable[];
  /** D_c stays as it is whatever is suspected. */
  readonly keepsPurified: boolean;
}

/** A purification and its rows as data sets. */
interface Found {
  readonly purification: Purification;
  readonly rows: StageRows;
}

/** The victim with bounds, and how they were fitted. */
interface Bounded {
  readonly pad: Model;
  readonly clipping: ClipResult;
}

/** Bounds, and the suspects that they find, in turns. */
async function bound(input: BoundInput, first: Found): Promise<Found & Bounded> {
  const { victim, data, scores, settings, evaluation, made, keepsPurified } = input;
  const { maxAccDrop, accuracyPrice, seed } = settings;
  const { onProgress, ...quiet } = evaluation;
  const release = (handle: Disposable | null) => {
    if (handle === null) return;
    made.splice(made.indexOf(handle), 1);
    handle[Symbol.dispose]();
  };
  return await inTurns<Found, Bounded>(first, rejudges(settings) ? settings.rejudge : 0, {
    async bound({ rows }, turn) {
      const pad = await victim.clone();
      made.push(pad);
      const { steps } = settings.clip;
      // Steps count on from turn to turn, and so does their total: how many turns it will be nobody knows before.
      const shown = {
        ...quiet,
        onProgress: onProgress && ((done: number) => onProgress(turn * steps + done, (turn + 1) * steps)),
      };
      const more = { settings: settings.clip, maxAccDrop, accuracyPrice, seed, evaluation: shown };
      return { pad, clipping: { ...(await clip({ model: pad, ...rows, ...more })), turn } };
    },
    tells: ({ clipping }) => clipping.step > 0,
    async findAgain({ purification: found, rows }, { pad }) {
      const again = { found, scores, bounded: pad, data, settings: settings.purify, keepsPurified, evaluation: quiet };
      const purification = await rejudge(again);
      const fitted = await pickFitted(data, purification, quiet, made);
      release(rows.purified);
      release(rows.suspects);
      return { purification, rows: { ...fitted, heldOut: rows.heldOut } };
    },
    async cost({ rows: { heldOut, suspects } }, { pad }) {
      const { heldOutAccuracy: accuracy, suspectsKept } = await viewStage('pad', pad, heldOut, suspects, quiet);
      return accuracy === null || suspectsKept === null ? null : costOf({ accuracy, suspectsKept }, accuracyPrice);
    },
    discard: ({ pad }) => release(pad),
  });
}

/**
 * Refuses a victim that is clipped already.
 *
 * @internal Shared with the command line, which asks before it opens a folder.
 * @throws PadFtError ERR_MODEL
 */
export function requireUnbounded({ bounds }: Model): void {
  if (bounds.max === null && bounds.mean === null) return;
  throw new PadFtError('ERR_MODEL', 'the model is clipped already; defend the victim it was made from');
}

function holdOf({ holdout, seed }: PadFtSettings): HoldOut {
  return { count: holdout, seed };
}

/** A D_c from elsewhere may hold rows that were set aside: they are no longer held out then. */
function withPurified(found: Purification, purified: Uint32Array): Purification {
  const taken = new Set(purified);
  return { ...found, purified, heldOut: found.heldOut.filter((row) => !taken.has(row)) };
}

/** Stage 1 alone: scores, order, purified set, suspects, verdicts. */
export async function purify(
  victim: Model,
  data: Dataset,
  settings: PadFtSettings,
  context: DefenseContext = {},
): Promise<Purification> {
  const scores = context.scores ?? (await scoreRows(victim, data, settings, context));
  return await selectRows(scores, data.labels(), data.classes, settings.purify, holdOf(settings), context.signal);
}

/**
 * The costly half of stage 1, one score a row; what is selected by them is cheap (`purify`).
 *
 * @internal Shared with `defend-and-judge`, which keeps them for other defences of the victim.
 */
export function scoreRows(
  victim: Model,
  data: Dataset,
  settings: PadFtSettings,
  context: DefenseContext,
): Promise<RowScores> {
  const evaluation = stageEvaluation(context, 'purify');
  const { clip, holdout, seed, purify } = settings;
  return PURIFIER_TABLE[purify.purifier].score({ victim, data, settings: purify, clip, seed, holdout, evaluation });
}

/** Defences of one victim that agree on this score its rows alike, whatever they keep of them. */
export function scoringKey({ purify, clip, seed, holdout }: PadFtSettings): string {
  const { verdictGain, verdictSeparation, suspectPosterior, pool, count, ...scoring } = purify;
  // Which limits rows are held to is said by a verdict; which labels are scored by their features, by its thresholds.
  const thresholds = purify.sharpen ? [verdictGain, verdictSeparation] : null;
  const verdict = purify.limits === 'either' ? [verdictGain, verdictSeparation, suspectPosterior] : thresholds;
  // sce is exact where its rows will be cut, and clip-drop fits bounds on what it keeps.
  const kept: Partial<Record<PurifierName, unknown>> = {
    'cross-label': verdict,
    'clip-drop': [count, clip, thresholds],
    sce: [count, pool, holdout],
  };
  return JSON.stringify([scoring, seed, kept[purify.purifier] ?? null]);
}

function stageEvaluation(context: DefenseContext, stage: DefenseProgress['stage']): EvaluationOptions {
  const { signal, precision, batchSize, onProgress } = context;
  return {
    signal,
    ...(precision === undefined ? {} : { precision }),
    ...(batchSize === undefined ? {} : { batchSize }),
    onProgress: onProgress && ((done, total) => onProgress({ stage, done, total })),
  };
}

/**
 * Refuses a D_c that lacks a label: what is fitted to it would unlearn that.
 *
 * @internal Shared with `methods/`.
 * @throws PadFtError ERR_DATA
 */
export function requireEveryLabel(purified: Uint32Array, data: Dataset): void {
  const labels = data.labels();
  const seen = new Set(Array.from(purified, (row) => labels[row]));
  for (let label = 0; label < data.classes; label++) {
    if (seen.has(label)) continue;
    throw new PadFtError(
      'ERR_DATA',
      `purification kept no row of label ${label}: the data set has none, the victim classifies none as labelled, or all of those look planted; train the victim longer (more epochs), or check that it belongs to this training set`,
      { details: { label } },
    );
  }
}

interface StageRows {
  readonly purified: Dataset;
  readonly suspects: Dataset | null;
  readonly heldOut: Dataset | null;
}

async function pickRows(
  data: Dataset,
  purification: Purification,
  evaluation: EvaluationOptions,
  made: Disposable[],
): Promise<StageRows> {
  const heldOut = await pick(data, purification.heldOut, evaluation, made);
  return { ...(await pickFitted(data, purification, evaluation, made)), heldOut };
}

/** The rows that bounds and classifier are fitted to. */
async function pickFitted(
  data: Dataset,
  { purified, suspects }: Purification,
  evaluation: EvaluationOptions,
  made: Disposable[],
): Promise<Pick<StageRows, 'purified' | 'suspects'>> {
  const rows = Uint32Array.from(suspects, ({ row }) => row);
  // D_c has a row of every label (`requireEveryLabel`).
  const kept = (await pick(data, purified, evaluation, made)) as Dataset;
  return { purified: kept, suspects: await pick(data, rows, evaluation, made) };
}

async function pick(
  data: Dataset,
  rows: Uint32Array,
  { onProgress: _, ...quiet }: EvaluationOptions,
  made: Disposable[],
): Promise<Dataset | null> {
  if (rows.length === 0) return null;
  const subset = await data.subset(rows, quiet);
  made.push(subset);
  return subset;
}

/**
 * What is wrong with the returned model, in a sentence: without a gate (`paper`) a repair may have closed the network.
 * Null when it still classifies its own purified rows, or was not tuned.
 */
export function collapse({
  stage,
  tuning,
  settings,
}: Pick<PadFtResult, 'stage' | 'tuning' | 'settings'>): string | null {
  if (stage !== 'pad-ft' || tuning === null || tuning.last.accuracy >= 0.5) return null;
  const share = (100 * tuning.last.accuracy).toFixed(1);
  const gate = settings.holdout === 0 ? '; without held-out rows no gate could refuse it' : '';
  return `the repaired model is not usable: in its last epoch it classified ${share} % of its own purified rows${gate}`;
}

interface ResultParts extends Omit<PadFtResult, 'model' | 'stage' | 'costs' | typeof Symbol.dispose> {
  readonly victim: Model;
  readonly watch: MemoryWatch;
}

function result(parts: ResultParts): PadFtResult {
  const { victim, watch, ...rest } = parts;
  const { stage } = rest.gate;
  const model = (stage === 'pad' ? rest.pad : stage === 'pad-ft' ? rest.padFt : victim) ?? victim;
  return {
    ...rest,
    model,
    stage,
    costs: watch.costs,
    [Symbol.dispose]() {
      rest.pad?.dispose();
      rest.padFt?.dispose();
    },
  };
}

export type {
  ClipResult,
  GateDecision,
  PadFtOptions,
  PadFtSettings,
  Purification,
  RowScores,
  Stage,
  StageView,
  TuneResult,
};
export { optionsForData, padFtSettings };
