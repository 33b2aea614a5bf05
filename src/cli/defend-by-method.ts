import { join } from 'node:path';
import { checkMethodRequest, type MethodResult, type PlannedMethod } from '../defenses/methods/index.js';
import { runMethod } from '../defenses/methods/run.js';
import { invalidOption } from '../errors.js';
import { evaluate } from '../evaluate.js';
import type { Model } from '../model.js';
import { saveModel } from '../model-file.js';
import { requireFit } from '../model-fit.js';
import { loadPoisonedSet, loadTrainingData, type TrainingData } from '../poisoned-set-file.js';
import { type CardMethod, describeFolder, type MethodRow, makeCard, type RunCard, writeCard } from '../report/card.js';
import { DEFENDED, openDefenseFolder } from '../report/defense-files.js';
import { describeEnvironment, methodPrecision } from '../report/environment.js';
import { judgeMethod, type MethodFigures } from '../report/judge.js';
import { formatTable } from '../report/table.js';
import { TRUTH_FILE } from '../truth-file.js';
import { type ModelFlags, openModel } from './model-flags.js';
import { type Compute, runContext, type Session } from './session.js';

/** What `pad-ft defend --method` works on. */
export interface MethodFlags extends ModelFlags {
  readonly data: string;
  readonly out: string;
  readonly clean?: string;
  readonly seed: number;
}

/** Runs a method that is compared with PAD-FT, and writes its model and its card. */
export async function defendWithMethod(
  session: Session,
  compute: Compute,
  flags: MethodFlags,
  planned: PlannedMethod,
): Promise<void> {
  const { signal, progress, output } = session;
  const { device, precision } = compute;
  progress.stage(`load ${flags.model} and ${flags.data}`);
  using victim = await openModel(session, compute, flags.model, flags);
  using data = await loadTrainingData(flags.data, { device, signal });
  requireFit(victim, flags.model, data.train, flags.data);
  using clean = flags.clean === undefined ? null : await loadTrainingData(flags.clean, { device, signal });
  if (clean !== null && flags.clean !== undefined) {
    const { classes } = clean.train;
    if (classes !== victim.classes) {
      throw invalidOption(
        '--clean',
        `images of the ${victim.classes} classes of ${flags.model}`,
        `${flags.clean}, of ${classes}`,
      );
    }
    requireFit(victim, flags.model, clean.train, flags.clean);
    if (clean.sha256 === data.sha256) {
      throw invalidOption(
        '--clean',
        `images known to be clean, other than those of the suspected set ${flags.data}`,
        `${flags.clean}, the same by their SHA-256`,
      );
    }
    if (clean.judged) await requireUnpoisoned(flags.clean, signal);
  }

  progress.stage(`defend by ${planned.name}`);
  const request = { victim, training: data.train, clean: clean?.train ?? null, flip: data.flip, seed: flags.seed };
  // A method that refuses what it was given leaves the folder as it was.
  const evaluation = { ...runContext(session, planned.name), precision };
  await checkMethodRequest(planned, request, evaluation);
  await openDefenseFolder(flags.out);
  const result = await runMethod(planned, request, evaluation);
  using model = result.model;
  progress.end();
  const file = await saveModel(model, join(flags.out, DEFENDED), { metadata: { 'pad-ft.method': planned.name } });

  // The ground truth is opened here and not before.
  const judged = data.judged ? await judge(session, compute, flags, victim, model) : null;
  const images = clean === null || flags.clean === undefined ? null : { folder: flags.clean, sha256: clean.sha256 };
  const card = describeRun(flags, compute, data, planned, images, result, { path: DEFENDED, ...file }, judged);
  const path = await writeCard(flags.out, card);
  const said = [formatTable(card).trimEnd(), '', `model: ${join(flags.out, DEFENDED)}; everything else: ${path}`];
  output.result({ card: path, model: join(flags.out, DEFENDED), row: card.methods?.[0] }, said.join('\n'));
}

/** The user vouches for these images; a ground truth beside them that says otherwise is no secret to keep from a method. */
async function requireUnpoisoned(folder: string, signal: AbortSignal): Promise<void> {
  using set = await loadPoisonedSet(folder, { device: 'cpu', signal });
  const { length } = set.truth.poisoned;
  if (length === 0) return;
  throw invalidOption(
    '--clean',
    'images known to be clean',
    `${folder}, of whose ${set.train.count} rows ${length} are poisoned, as its own ${TRUTH_FILE} says`,
  );
}

interface Judged {
  readonly victim: RunCard['victim']['evaluation'];
  readonly figures: MethodFigures;
  readonly poison: RunCard['config']['poison'];
  readonly testRows: number;
}

async function judge(
  session: Session,
  { device, precision }: Compute,
  { data }: MethodFlags,
  victim: Model,
  model: Model,
): Promise<Judged> {
  session.progress.stage('judge by the ground truth');
  using set = await loadPoisonedSet(data, { device, signal: session.signal });
  const options = { ...runContext(session, 'judge'), precision };
  const before = await evaluate(victim, set, options);
  const figures = await judgeMethod(model, set, before, options);
  session.progress.end();
  return { victim: before, figures, poison: set.manifest, testRows: set.test.count };
}

function describeRun(
  { data: folder, model, seed }: MethodFlags,
  { device, precision }: Compute,
  data: TrainingData,
  { name, method, settings }: PlannedMethod,
  images: CardMethod['clean'],
  { said, details, given, costs }: MethodResult,
  file: RunCard['files'][number],
  judged: Judged | null,
): RunCard {
  const row: MethodRow = { name, given, said, details, costs, figures: judged?.figures ?? null };
  return makeCard({
    command: ['pad-ft', ...process.argv.slice(2)],
    config: {
      dataset: describeFolder(data, folder, judged?.testRows ?? 0),
      poison: judged?.poison ?? null,
      train: null,
      victim: model,
      defenses: [],
      methods: [
        {
          name,
          settings: { ...settings },
          seed,
          revision: method.revision,
          flip: data.flip,
          clean: method.needs.clean ? images : null,
        },
      ],
    },
    seeds: { root: null, poison: judged?.poison?.seed ?? null, train: null, defenses: [] },
    environment: describeEnvironment(device, methodPrecision(method.computes, precision, device)),
    files: [file],
    victim: { history: [], evaluation: judged?.victim ?? null },
    rows: [],
    methods: [row],
    costs: [],
  });
}
