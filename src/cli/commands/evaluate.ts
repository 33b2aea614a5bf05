import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { Dataset } from '../../dataset.js';
import { PadFtError } from '../../errors.js';
import { evaluate } from '../../evaluate.js';
import type { EvaluationOptions, Model } from '../../model.js';
import { requireFit } from '../../model-fit.js';
import { loadPoisonedSet, loadTrainingData, namesTruth } from '../../poisoned-set-file.js';
import { type ReevaluateOptions, type Reevaluation, reevaluate } from '../../reevaluate.js';
import { CARD_FILE } from '../../report/card.js';
import { TRAINING_FILES } from '../../report/training-card.js';
import { datasetRequest, loadRequested } from '../dataset-flags.js';
import { EXIT } from '../exit-code.js';
import { showExperiment } from '../experiment-progress.js';
import { addModelFlags, openModel } from '../model-flags.js';
import { addComputeFlags, addOutputFlags, type ComputeFlags } from '../options.js';
import { percent } from '../progress.js';
import { type Compute, prepareCompute, type Run, runContext, type Session } from '../session.js';
import { textTable } from '../tables.js';
import { addDataFlags, checkDataFlags, type DataFlags, requireData } from '../training-data.js';

const EXAMPLES = `
Examples:
  $ pad-ft evaluate pad-ft-demo                                       a finished run: same models, same data, same figures?
  $ pad-ft evaluate repaired                                          likewise for what a defence wrote
  $ pad-ft evaluate pad-ft-run --precision fp32                       in another arithmetic than the run's own
  $ pad-ft evaluate pad-ft-run --path ~/data/cifar-10-batches-bin     its data set lies elsewhere now
  $ pad-ft evaluate --model repaired/defended.safetensors --data set  ACC, ASR and RA of one model
  $ pad-ft evaluate --model model.safetensors --dataset cifar10       ACC alone
  $ pad-ft evaluate --model model.safetensors --data own-test-images  likewise, of a folder without a ground truth`;

interface Flags extends DataFlags, ComputeFlags {
  readonly model?: string;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

export function define(command: Command, run: Run): void {
  command
    .description(
      'Measures a model (ACC, ASR, RA), or does the measurements of a finished run or defence again (ACC, ASR and RA of every model, the SHA-256 of every file) and compares them with its card: exits with 1 when they differ.',
    )
    .argument('[run]', 'the folder of a finished run, or of a defence that was judged')
    .addHelpText('after', EXAMPLES);
  addDataFlags(addModelFlags(command, false));
  addOutputFlags(addComputeFlags(command)).action((folder: string | undefined, flags: Flags) =>
    run(async (session) => {
      const { model } = flags;
      if (folder === undefined && model !== undefined) {
        checkDataFlags(flags);
        await evaluateModel(session, await prepareCompute(session, flags), flags, model);
        return undefined;
      }
      if (folder === undefined || model !== undefined) {
        throw new PadFtError(
          'ERR_OPTION',
          'expected either the folder of a finished run, or --model with --data or --dataset',
        );
      }
      refuseModelFlags(command, flags);
      refuseTraining(folder);
      const { device } = await prepareCompute(session, flags);
      // The default of the flag is not a wish: without one the card's own precision is what its figures are of.
      const precision = command.getOptionValueSource('precision') === 'cli' ? flags.precision : undefined;
      return evaluateRun(session, folder, { device, precision, datasetOptions: placeOf(flags) });
    }),
  );
}

const MODEL_ONLY = ['data', 'dataset', 'mean', 'std', 'trainRows', 'testRows', 'classes', 'dataSeed'] as const;

/** A run has a model, a data set and sizes of its own. ERR_OPTION naming the flag that would change them. */
function refuseModelFlags(command: Command, flags: Flags): void {
  const given = MODEL_ONLY.find((name) => flags[name] !== undefined);
  if (given === undefined) return;
  const flag = command.options.find((option) => option.attributeName() === given)?.long ?? given;
  const message = `${flag}: a finished run is measured on its own data set, as its card has it; leave it out, or use --model`;
  throw new PadFtError('ERR_OPTION', message, { details: { path: flag } });
}

/** Where the run's data set lies now, as far as the flags say. */
function placeOf({ path, download }: Flags): Readonly<Record<string, unknown>> {
  return { ...(path !== undefined && { path }), ...(download !== undefined && { download }) };
}

function refuseTraining(folder: string): void {
  if (existsSync(join(folder, CARD_FILE)) || !existsSync(join(folder, TRAINING_FILES.card))) return;
  const model = join(folder, TRAINING_FILES.victim);
  const message = `${folder} holds a training and no defence; measure its model with \`pad-ft evaluate --model ${model} --data FOLDER\``;
  throw new PadFtError('ERR_OPTION', message, { details: { path: folder } });
}

async function evaluateRun(session: Session, folder: string, options: ReevaluateOptions): Promise<number> {
  const { rows, same, tolerance, precision } = await reevaluate(folder, {
    ...options,
    signal: session.signal,
    onEvent: showExperiment(session.progress),
  });
  const verdict = same ? 'every figure is what the card says' : 'figures differ from the card';
  const allowed = tolerance === 0 ? '' : `, within ${percent(tolerance)}`;
  const text = `${comparison(rows)}\n\n${folder}: ${verdict}${allowed} (in ${precision})`;
  session.output.result({ folder, same, tolerance, precision, rows }, text);
  return same ? EXIT.ok : EXIT.failed;
}

function comparison(rows: readonly Reevaluation[]): string {
  const cells = rows.map(({ name, stage, card, now, same }) => [
    name,
    stage,
    ...(['acc', 'asr', 'ra'] as const).map((rate) =>
      card[rate] === now[rate] ? percent(now[rate]) : `${percent(now[rate])} (card: ${percent(card[rate])})`,
    ),
    same ? 'same' : 'DIFFERS',
  ]);
  return textTable(['run', 'stage', 'ACC', 'ASR', 'RA', ''], cells, [2, 3, 4]);
}

async function evaluateModel(session: Session, compute: Compute, flags: Flags, path: string): Promise<void> {
  const { precision } = compute;
  using model = await openModel(session, compute, path, flags);
  const options: EvaluationOptions = { ...runContext(session, 'evaluate'), precision };
  const figures = await figuresOf(session, compute, flags, { model, path }, options);
  session.progress.end();
  const { acc, asr, asrIncludingTarget, ra } = figures;
  const cells = [[percent(acc), percent(asr), percent(asrIncludingTarget), percent(ra)]];
  const table = textTable(['ACC', 'ASR', 'ASR incl. target', 'RA'], cells, [0, 1, 2, 3]);
  session.output.result({ model: path, evaluation: figures }, table);
}

async function figuresOf(
  session: Session,
  compute: Compute,
  flags: Flags,
  { model, path }: { readonly model: Model; readonly path: string },
  options: EvaluationOptions,
) {
  if (flags.dataset !== undefined) {
    const pair = await loadRequested(session, datasetRequest(flags.dataset, flags));
    using test = Dataset.from(pair.test, compute.device);
    requireFit(model, path, test, pair.name);
    return await evaluate(model, { test, triggered: null, policy: null }, options);
  }
  const folder = requireData(flags);
  session.progress.stage(`load ${folder}`);
  const loading = { device: compute.device, signal: session.signal };
  if (await namesTruth(folder)) {
    using set = await loadPoisonedSet(folder, loading);
    requireFit(model, path, set.test, folder);
    return await evaluate(model, set, options);
  }
  // Images of one's own, test images perhaps: what can be said of them is how many get the label they have.
  using data = await loadTrainingData(folder, loading);
  requireFit(model, path, data.train, folder);
  session.progress.warning(
    `${folder} holds no ground truth: ACC is the share of its images that get their given label`,
  );
  return await evaluate(model, { test: data.train, triggered: null, policy: null }, options);
}
