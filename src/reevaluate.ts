import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Dataset } from './dataset.js';
import { isDatasetName } from './datasets/index.js';
import { sameProvenance } from './datasets/provenance.js';
import { type Device, type Precision, resolveDevice, resolvePrecision } from './device.js';
import { PadFtError } from './errors.js';
import { type Evaluation, evaluate, type TestSets } from './evaluate.js';
import { type ExperimentContext, loadPair, RUN_FILES } from './experiment.js';
import { openRegularFile } from './formats/file-problem.js';
import { readSafetensors } from './formats/safetensors.js';
import { safeText } from './formats/terminal.js';
import { loadModel } from './model-file.js';
import type { NativeDevice, NativePrecision } from './native/contract.js';
import { number } from './options.js';
import { trigger } from './poisoned-set.js';
import { loadPoisonedSet } from './poisoned-set-file.js';
import { CARD_FILE, type CardFile, type RunCard, readCard } from './report/card.js';
import { DEFENDED, defenseFiles } from './report/defense-files.js';
import { describeEnvironment, sameMachineClass } from './report/environment.js';
import { parseTruth } from './truth-file.js';

/** On another machine class sums round otherwise, and a row near a cut may change its label. */
const ELSEWHERE = 0.005;

export interface ReevaluateOptions extends ExperimentContext {
  readonly device?: Device | undefined;
  /** Defaults to the card's own, or to what `auto` means when this device lacks that or the card does not say. */
  readonly precision?: Precision | undefined;
  /** Where the data set lies now (`path`) or is to come from (`download`), laid over what the card says. */
  readonly datasetOptions?: Readonly<Record<string, unknown>> | undefined;
  /** Largest difference of a rate that counts as the same, in [0, 1]. Defaults to 0 on the card's own machine class and in its precision, else 0.005. */
  readonly tolerance?: number | undefined;
}

type Options = Readonly<Record<string, unknown>>;

/** A model of the run, as the card has it and as it is now. */
export interface Reevaluation {
  /** `victim`, or the defence's name. */
  readonly name: string;
  readonly stage: 'victim' | 'pad' | 'pad-ft' | 'method';
  readonly card: Evaluation;
  readonly now: Evaluation;
  readonly same: boolean;
}

export interface ReevaluateResult {
  readonly card: RunCard;
  readonly rows: readonly Reevaluation[];
  /** True when every rate of every model is what the card says, within `tolerance`. */
  readonly same: boolean;
  readonly tolerance: number;
  /** What was evaluated in now. */
  readonly precision: NativePrecision;
}

/**
 * Checks a finished run: compares every file with the card's SHA-256, makes the test sets again, evaluates the victim
 * and every defended model, and compares with the card. Of a folder of `pad-ft defend`, the model that was returned, on
 * the test sets of the folder it was given (or `datasetOptions.path`). Of a detector's cell, which repaired nothing,
 * the victim.
 *
 * @throws PadFtError ERR_OPTION, ERR_FILE_MISSING, ERR_FILE_FORMAT, ERR_CHECKSUM when a file was changed or the data
 * set is another one, ERR_DATA when the card has no test set to evaluate on
 */
export async function reevaluate(folder: string, options: ReevaluateOptions = {}): Promise<ReevaluateResult> {
  const card = await readCard(join(folder, CARD_FILE));
  const device = resolveDevice(options.device);
  const recorded = recordedPrecision(card, device);
  const precision = resolvePrecision(options.precision ?? recorded, device, 'evaluation');
  const machine = describeEnvironment(device, { training: null, evaluation: precision });
  const here = sameMachineClass(card.environment, machine) && precision === recorded;
  const tolerance = number('evaluate.tolerance', options.tolerance ?? (here ? 0 : ELSEWHERE), 0, 1);
  for (const file of card.files) await checkFile(folder, file);
  const models = modelsOf(card);

  const sets = await remakeTestSets(folder, card, device, options);
  try {
    const rows: Reevaluation[] = [];
    for (const [done, { name, stage, file, card: before }] of models.entries()) {
      options.onEvent?.({ type: 'progress', stage: 'judge', done, total: models.length });
      const { model } = await loadModel(join(folder, file), { device });
      using _ = model;
      const now = await evaluate(model, sets, { signal: options.signal, precision });
      rows.push({ name, stage, card: before, now, same: agree(before, now, tolerance) });
    }
    return { card, rows, same: rows.every((row) => row.same), tolerance, precision };
  } finally {
    sets[Symbol.dispose]();
  }
}

/** What the card was evaluated in. A card that does not say was written under `auto`, and TF32 exists on CUDA alone. */
function recordedPrecision({ environment }: RunCard, device: NativeDevice): NativePrecision {
  const { evaluation } = environment.precision ?? {};
  const there = evaluation !== undefined && !(evaluation === 'tf32' && device === 'cpu');
  return there ? evaluation : resolvePrecision('auto', device, 'evaluation');
}

function modelsOf(card: RunCard) {
  const victim = {
    name: 'victim',
    stage: 'victim' as const,
    file: RUN_FILES.victim as string,
    card: card.victim.evaluation,
  };
  const defended = card.rows.flatMap(({ name, figures }) =>
    (['pad', 'pad-ft'] as const).map((stage) => ({
      name,
      stage,
      file: defenseFiles(name)[stage] as string,
      card: figures?.evaluations[stage] ?? null,
    })),
  );
  const written = new Set(card.files.map(({ path }) => path));
  const single = card.rows.map(({ name, returned, figures }) => ({
    name,
    stage: returned,
    file: DEFENDED,
    card: figures?.evaluations[returned] ?? null,
  }));
  const methods = (card.methods ?? []).map(({ name, figures }) => ({
    name,
    stage: 'method' as const,
    file: DEFENDED,
    card: figures?.evaluation ?? null,
  }));
  const judged = [victim, ...defended, ...single, ...methods].flatMap((entry) =>
    entry.card === null || !written.has(entry.file) ? [] : [{ ...entry, card: entry.card }],
  );
  if (judged.length > 0) return judged;
  const repaired = card.rows.length > 0 || (card.methods ?? []).length > 0;
  if (!repaired && card.config.victim !== null) {
    throw new PadFtError(
      'ERR_DATA',
      'nothing was repaired: the card is of a detector; its files are what it says, and there is no model to evaluate',
    );
  }
  if (card.victim.evaluation !== null && card.files.length === 0) {
    const message =
      'the card’s models were not kept: run the same `pad-ft reproduce` again with `--keep-models true`, then evaluate the folder';
    throw new PadFtError('ERR_DATA', message);
  }
  throw new PadFtError(
    'ERR_DATA',
    'the card holds no evaluated model: it was written without a test set, so there is nothing to compare; measure its model with `pad-ft evaluate --model FILE --data FOLDER`',
  );
}

async function remakeTestSets(
  folder: string,
  card: RunCard,
  device: NativeDevice,
  options: ReevaluateOptions,
): Promise<TestSets & Disposable> {
  const { name, options: recorded, provenance } = card.config.dataset;
  if (typeof recorded.data === 'string') return await openTestSets(recorded.data, card.config, device, options);
  if (!isDatasetName(name)) {
    throw new PadFtError(
      'ERR_FILE_FORMAT',
      safeText(`${join(folder, CARD_FILE)}: config.dataset.name: ${name} is not a data set of this version`),
    );
  }
  const path = join(folder, RUN_FILES.truth);
  const { truth, policy } = parseTruth(await readSafetensors(path), path);
  const pair = await loadPair({ dataset: name, datasetOptions: placed(recorded, options.datasetOptions) }, options);
  if (!sameProvenance(provenance, pair.provenance)) throw anotherSet(name, provenance, pair.provenance);
  const test = Dataset.from(pair.test, device);
  try {
    const triggered = truth.trigger === null ? null : await trigger(test, truth.trigger, { signal: options.signal });
    const dispose = () => {
      test.dispose();
      triggered?.dispose();
    };
    return { test, triggered, policy, [Symbol.dispose]: dispose };
  } catch (error) {
    test.dispose();
    throw error;
  }
}

/** The test sets of a folder that `pad-ft defend` was given. */
async function openTestSets(
  recorded: string,
  { poison }: RunCard['config'],
  device: NativeDevice,
  { signal, datasetOptions }: ReevaluateOptions,
): Promise<TestSets & Disposable> {
  if (datasetOptions?.download !== undefined) {
    const message = 'download: the card is of a defence, whose training set is a folder: say where it lies (`path`)';
    throw new PadFtError('ERR_OPTION', message, { details: { path: 'download' } });
  }
  const folder = datasetOptions?.path === undefined ? recorded : String(datasetOptions.path);
  const set = await loadPoisonedSet(folder, { device, signal }).catch((error: unknown) => {
    if (!(error instanceof PadFtError) || error.code !== 'ERR_FILE_MISSING') throw error;
    const message = `the training set of the card is not in ${folder}: say where it lies now (\`--path\`)`;
    throw new PadFtError(error.code, safeText(message), { details: error.details, cause: error });
  });
  // What the version was called that poisoned it changes nothing.
  const attack = (manifest: typeof poison) => manifest && { ...manifest, tool: null };
  if (!isDeepStrictEqual(attack(set.manifest), attack(poison))) {
    set.dispose();
    throw anotherSet(folder, poison, set.manifest);
  }
  const { test, triggered, policy } = set;
  return { test, triggered, policy, [Symbol.dispose]: () => set.dispose() };
}

function anotherSet(name: string, expected: unknown, got: unknown): PadFtError {
  return new PadFtError(
    'ERR_CHECKSUM',
    safeText(`the data set ${name} is not the one of the card: its files or options differ; give the original one`),
    { details: { expected, got } },
  );
}

/** A path and a download exclude each other: the place that is given now takes that of the card away. */
function placed(recorded: Options, given: Options = {}): Options {
  const { path: _, download: __, ...rest } = recorded;
  return given.path === undefined && given.download === undefined ? { ...recorded, ...given } : { ...rest, ...given };
}

function agree(a: Evaluation, b: Evaluation, tolerance: number): boolean {
  return (['acc', 'asr', 'asrIncludingTarget', 'ra'] as const).every((rate) => {
    const [x, y] = [a[rate], b[rate]];
    return x === null || y === null ? x === y : Math.abs(x - y) <= tolerance;
  });
}

async function checkFile(folder: string, { path, sha256 }: CardFile): Promise<void> {
  const full = join(folder, path);
  const handle = await openRegularFile(full);
  const hash = createHash('sha256');
  try {
    for await (const chunk of handle.createReadStream({ autoClose: false, highWaterMark: 1 << 20 })) hash.update(chunk);
  } finally {
    await handle.close();
  }
  const found = hash.digest('hex');
  if (found === sha256) return;
  throw new PadFtError(
    'ERR_CHECKSUM',
    safeText(`${full}: expected SHA-256 ${sha256}, as the card says, got ${found}: the file was changed after the run`),
    {
      details: { path: full, expected: sha256, got: found },
    },
  );
}
