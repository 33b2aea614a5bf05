import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import {
  collapse,
  optionsForData,
  type PadFtResult,
  padFt,
  padFtSettings,
  requireUnbounded,
} from '../../defenses/pad-ft/index.js';
import {
  type ClipSettings,
  CONTROLLERS,
  type ControllerName,
  type PadFtOptions,
  type PadFtSettings,
  PRESET_NAMES,
  PRESETS,
  type PresetName,
  type PurifySettings,
} from '../../defenses/pad-ft/options.js';
import { purifierReads } from '../../defenses/pad-ft/purifiers.js';
import type { LabelVerdict } from '../../defenses/pad-ft/verdict.js';
import { PadFtError } from '../../errors.js';
import { counted } from '../../formats/plural.js';
import type { Model } from '../../model.js';
import { saveModel } from '../../model-file.js';
import { requireFit } from '../../model-fit.js';
import { loadPoisonedSet, loadTrainingData, type TrainingData } from '../../poisoned-set-file.js';
import {
  CARD_FILE,
  type CardFile,
  describeFolder,
  makeCard,
  makeRow,
  type RunCard,
  writeCard,
} from '../../report/card.js';
import { DEFENDED, openDefenseFolder, SCORES, SUSPECTS, savePurification } from '../../report/defense-files.js';
import { defensePrecision, describeEnvironment } from '../../report/environment.js';
import { type DefenseFigures, judgeDefense, judgeVictim } from '../../report/judge.js';
import { formatTable } from '../../report/table.js';
import { findColumn } from '../../reproduce/defenses.js';
import { defendWithMethod } from '../defend-by-method.js';
import { detect, detectorRequest } from '../detect.js';
import { addOverwriteFlag, type ResultFlags, refuseEarlierResult } from '../earlier-result.js';
import { correctRows, fewRightWarning } from '../few-right.js';
import { CLIP_GROUP, DEFENSE_GROUP, PURIFY_GROUP, TUNE_GROUP } from '../fields.js';
import {
  addMethodFlags,
  helpByMethod,
  METHOD_CHOICES,
  methodRequest,
  OWN_METHOD,
  refuseMethodFlags,
} from '../method-flags.js';
import { addModelFlags, type ModelFlags, openModel } from '../model-flags.js';
import {
  addComputeFlags,
  addOutputFlags,
  addSeedFlag,
  addSettings,
  type ComputeFlags,
  flagOf,
  givenSettings,
  parseNumber,
} from '../options.js';
import { type Compute, prepareCompute, type Run, runContext, type Session, warnOfSlowBlas } from '../session.js';
import { smallSetWarnings } from '../small-set.js';

const EXAMPLES = `
Writes defended.safetensors, suspects.csv, scores.csv and, last, card.json. A method to compare with writes the model and
the card; a detector suspects.csv, scores.csv and the card. The defence reads the victim, the images and their given
labels, nothing else. If the folder holds the ground truth, the result is judged by it afterwards. The exit code is 0
whatever is found: a program reads of the last line of --json row.verdict.attacked, the labels that are called attacked,
under --method mm-bd row.target; a method to compare with looks for none.

Examples:
  $ pad-ft defend --model victim/victim.safetensors --data set --out repaired
  $ pad-ft defend --model victim/victim.safetensors --data set --preset paper --out paper
  $ pad-ft defend --model victim/victim.safetensors --data set --method ft --clean clean-images --out ft
  $ pad-ft defend --model victim/victim.safetensors --data set --method strip --out strip
  $ pad-ft defend --model victim/victim.safetensors --data set --purify.count 1000 --tune.epochs 20 --out quick`;

/** The flags of PAD-FT itself. */
const OWN_GROUPS = [DEFENSE_GROUP, PURIFY_GROUP, CLIP_GROUP, TUNE_GROUP] as const;

/** What an earlier run may have left. */
const RESULT = { card: CARD_FILE, others: [DEFENDED, SUSPECTS, SCORES] } as const;

interface Flags extends ComputeFlags, ModelFlags, ResultFlags {
  readonly data: string;
  readonly preset: PresetName;
  readonly rounds?: number;
  readonly seed: number;
  readonly method: string;
  readonly clean?: string;
}

export function define(command: Command, run: Run): void {
  const each = <T>(pick: (preset: (typeof PRESETS)[PresetName]) => T) =>
    Object.fromEntries(PRESET_NAMES.map((name) => [name, pick(PRESETS[name])]));
  command
    .description(
      'Finds the rows that look planted, and repairs the model: purify, clip, fine-tune, and return the best stage. Or repairs it by another method, to compare with; or only scores the rows, by a detector.',
    )
    .addHelpText('after', EXAMPLES);
  addModelFlags(command)
    .addOption(new Option('--data <folder>', 'the training set it came from').makeOptionMandatory())
    .addOption(new Option('--out <folder>', 'where to write the results').makeOptionMandatory())
    .addOption(
      new Option(
        '--method <name>',
        'what repairs it (`pad-ft list methods`), or what only finds (`pad-ft list detectors`)',
      )
        .choices(METHOD_CHOICES)
        .default(OWN_METHOD),
    )
    .addOption(
      new Option('--clean <folder>', 'images known to be clean, as a training set, for the methods that need some'),
    )
    .addOption(
      new Option('--preset <name>', 'default, or the recipe of the paper to the letter')
        .choices(PRESET_NAMES)
        .default('default'),
    );
  addSeedFlag(addOverwriteFlag(command), 'draws of rows (measured, kept, held out), batches and augmentation');
  addSettings(
    command,
    DEFENSE_GROUP,
    each((preset) => preset),
  );
  addSettings(
    command,
    PURIFY_GROUP,
    each((preset) => preset.purify),
  );
  command.addOption(
    new Option('--rounds <number>', 'short form of --purify.rounds')
      .argParser(parseNumber)
      .helpGroup(PURIFY_GROUP.heading),
  );
  addSettings(
    command,
    CLIP_GROUP,
    each((preset) => preset.clip),
  );
  addSettings(
    command,
    TUNE_GROUP,
    each((preset) => preset.tune),
    { flip: `as the data set says, paper: ${PRESETS.paper.tune.flip}` },
  );
  helpByMethod(addMethodFlags(command), OWN_GROUPS, ['--preset']);
  addOutputFlags(addComputeFlags(command)).action((flags: Flags) =>
    run(async (session) => {
      const work = plan(command, flags);
      refuseOwnInput(flags);
      refuseEarlierResult(flags, 'defense', RESULT);
      const compute = await prepareCompute(session, flags);
      await warnOfSlowBlas(session, compute.device);
      await work(session, compute);
      return undefined;
    }),
  );
}

/** What the flags ask for: PAD-FT, a method to compare with, or a detector. ERR_OPTION for flags that do not go together. */
function plan(command: Command, flags: Flags): (session: Session, compute: Compute) => Promise<void> {
  const { method, rounds } = flags;
  const column = findColumn(method);
  if (column?.kind === 'detector' || column?.kind === 'inspection') {
    refusePreset(command, method);
    refuseUseOfClean(flags, false);
    if (rounds !== undefined && method !== 'clip-drop') throw notOf(method, '--rounds');
    const short = roundsOf(flags, Reflect.get(flags, 'purify.rounds')).rounds;
    const values = { ...flags, ...(short !== undefined && { 'purify.rounds': short }) };
    const planned = detectorRequest(column, values, flags.seed);
    return (session, compute) => detect(session, compute, flags, planned);
  }
  if (column?.kind === 'method') {
    refusePreset(command, method);
    if (rounds !== undefined) throw notOf(method, '--rounds');
    const planned = methodRequest(column.name, { ...flags }, OWN_GROUPS);
    refuseUseOfClean(flags, planned.method.needs.clean);
    return (session, compute) => defendWithMethod(session, compute, flags, planned);
  }
  refuseMethodFlags(method, { ...flags });
  refuseUseOfClean(flags, false);
  const options = defenseOptions(flags);
  refuseUnread(options, padFtSettings(options));
  return (session, compute) => defend(session, compute, flags, options);
}

/** The preset has a default: whether one was asked for only the parser knows. */
function refusePreset(command: Command, method: string): void {
  if (command.getOptionValueSource('preset') === 'cli') throw notOf(method, '--preset');
}

function notOf(method: string, flag: string): PadFtError {
  const message = `${flag}: the method is ${method}, which does not read it; leave it out, or use --method ${OWN_METHOD}`;
  return new PadFtError('ERR_OPTION', message, { details: { path: flag, method } });
}

/** Clean images are asked for before anything is loaded, and refused where they would do nothing. */
function refuseUseOfClean({ method, clean }: Flags, needed: boolean): void {
  if ((clean !== undefined) === needed) return;
  const problem = needed
    ? `${method} needs images known to be clean: name a folder with a training set of them`
    : `${method} takes no clean images; leave it out`;
  throw new PadFtError('ERR_OPTION', `--clean: ${problem}`, { details: { path: '--clean', method } });
}

function defenseOptions(flags: Flags): PadFtOptions {
  const values: Readonly<Record<string, unknown>> = { ...flags };
  return {
    ...givenSettings(DEFENSE_GROUP, values),
    preset: flags.preset,
    seed: flags.seed,
    purify: { ...givenSettings(PURIFY_GROUP, values), ...roundsOf(flags, values['purify.rounds']) },
    clip: givenSettings(CLIP_GROUP, values),
    tune: givenSettings(TUNE_GROUP, values),
  };
}

/** Settings of stage 2 that one of its controllers alone reads. */
const CONTROLLER_READS: Readonly<Record<ControllerName, readonly (keyof ClipSettings)[]>> = {
  settle: ['mu', 'margin', 'suspectBatchSize'],
  'mm-bm': ['start'],
};

/** A flag that the purifier or the controller does not read must not pass for one that made a difference. ERR_OPTION */
function refuseUnread(options: PadFtOptions, settings: PadFtSettings): void {
  const { purify = {}, clip = {} } = options;
  const { purifier } = settings.purify;
  const { controller } = settings.clip;
  const read: ReadonlySet<string> = purifierReads(purifier);
  const others = CONTROLLERS.filter((name) => name !== controller).flatMap((name) => CONTROLLER_READS[name]);
  const unread = [
    ...Object.keys(purify)
      .filter((field) => !read.has(field))
      .map((field) => [`--purify.${field}`, `purifier is ${purifier}`] as const),
    ...others
      .filter((field) => Object.hasOwn(clip, field))
      .map((field) => [`--clip.${field}`, `controller is ${controller}`] as const),
    // Nothing is looked at before the end, nor found again.
    ...(controller === 'mm-bm' ? (['accuracyPrice', 'rejudge'] as const) : [])
      .filter((field) => options[field] !== undefined)
      .map((field) => [flagOf(DEFENSE_GROUP, field), `controller is ${controller}`] as const),
  ];
  const [first] = unread;
  if (first === undefined) return;
  const [flag, why] = first;
  throw new PadFtError('ERR_OPTION', `${flag}: the ${why}, which does not read it; leave it out`, {
    details: { path: flag, purifier, controller },
  });
}

/** The rounds by either name. ERR_OPTION when the two differ. */
function roundsOf({ rounds }: Flags, long: unknown): Partial<PurifySettings> {
  if (rounds === undefined) return {};
  if (long === undefined || long === rounds) return { rounds };
  throw new PadFtError(
    'ERR_OPTION',
    `--rounds ${rounds} and --purify.rounds ${long} say the same: leave one of them out`,
    {
      details: { path: '--rounds' },
    },
  );
}

function refuseOwnInput({ model, out }: Flags): void {
  if (resolve(model) !== resolve(out, DEFENDED)) return;
  throw new PadFtError('ERR_OPTION', `--out: ${join(out, DEFENDED)} is the model to be defended; name another folder`, {
    details: { path: '--out' },
  });
}

async function defend(session: Session, compute: Compute, flags: Flags, options: PadFtOptions): Promise<void> {
  const { signal, progress, output } = session;
  const { device, precision } = compute;
  progress.stage(`load ${flags.model} and ${flags.data}`);
  using victim = await openModel(session, compute, flags.model, flags);
  using data = await loadTrainingData(flags.data, { device, signal });
  requireFit(victim, flags.model, data.train, flags.data);
  const { train } = data;
  requireUnbounded(victim);
  for (const text of smallSetWarnings(padFtSettings(options), train.labels(), train.classes)) progress.warning(text);
  await openDefenseFolder(flags.out);

  progress.stage(`defend, preset ${flags.preset}`);
  const context = { signal, precision };
  using result = await padFt(victim, data.train, optionsForData(options, data), {
    ...context,
    onProgress: ({ stage, done, total }) => progress.update(stage, done, total),
  }).catch(async (error: unknown) => {
    progress.end();
    // What a victim that gets few rows right leads to says nothing of that itself.
    if (error instanceof PadFtError && error.code === 'ERR_DATA') {
      const correct = correctRows(await victim.predict(data.train, context), data.train.labels());
      for (const text of fewRightWarning(correct)) progress.warning(text);
    }
    throw error;
  });
  progress.end();
  for (const text of fewRightWarning(result.purification.correct)) progress.warning(text);
  const problem = collapse(result);
  if (problem !== null) progress.warning(problem);
  const files = await writeFiles(flags.out, result);

  // The ground truth is opened here and not before.
  const judgement = data.judged ? await judge(session, compute, flags, victim, result) : null;
  const card = describeRun(flags, compute, data, result, files, judgement);
  const path = await writeCard(flags.out, card);
  output.result({ card: path, model: join(flags.out, DEFENDED), row: card.rows[0] }, summary(flags, card, result));
}

async function writeFiles(folder: string, result: PadFtResult): Promise<CardFile[]> {
  const model = await saveModel(result.model, join(folder, DEFENDED), { metadata: { 'pad-ft.stage': result.stage } });
  return [{ path: DEFENDED, ...model }, ...(await savePurification(folder, result.purification))];
}

interface Judgement {
  readonly figures: DefenseFigures;
  readonly set: Pick<RunCard['config'], 'poison'> & { readonly testRows: number };
}

async function judge(
  session: Session,
  compute: Compute,
  flags: Flags,
  victim: Model,
  result: PadFtResult,
): Promise<Judgement> {
  const { device, precision } = compute;
  session.progress.stage('judge by the ground truth');
  using set = await loadPoisonedSet(flags.data, { device, signal: session.signal });
  const options = { ...runContext(session, 'judge'), precision };
  const figures = await judgeDefense(result, set, await judgeVictim(victim, set, options), options);
  session.progress.end();
  return { figures, set: { poison: set.manifest, testRows: set.test.count } };
}

function describeRun(
  flags: Flags,
  { device, precision }: Compute,
  data: TrainingData,
  result: PadFtResult,
  files: readonly CardFile[],
  judgement: Judgement | null,
): RunCard {
  const { settings } = result;
  const poison = judgement?.set.poison ?? null;
  return makeCard({
    command: ['pad-ft', ...process.argv.slice(2)],
    config: {
      dataset: describeFolder(data, flags.data, judgement?.set.testRows ?? 0),
      poison,
      train: null,
      victim: flags.model,
      defenses: [{ name: flags.preset, control: null, settings }],
    },
    seeds: { root: null, poison: poison?.seed ?? null, train: null, defenses: [settings.seed] },
    environment: describeEnvironment(device, defensePrecision(null, precision, device, [settings.purify.purifier])),
    files,
    victim: { history: [], evaluation: judgement?.figures.evaluations.victim ?? null },
    rows: [makeRow(flags.preset, result, judgement?.figures ?? null)],
    costs: [],
  });
}

/** How to have a label that comes near treated as attacked. */
function advise({ label, separation, gain }: LabelVerdict): string {
  const below = (value: number | null) => Math.max(0, Math.floor(100 * (value ?? 0)) / 100 - 0.01).toFixed(2);
  const flags = `--purify.verdictSeparation ${below(separation)} --purify.verdictGain ${below(gain)}`;
  return `to treat label ${label} as attacked, and to see its suspects: ${flags}`;
}

function summary(flags: Flags, card: RunCard, { stage, purification }: PadFtResult): string {
  const { purified, suspects, heldOut } = purification;
  return [
    formatTable(card).trimEnd(),
    '',
    `${counted(purified.length, 'row')} purified, ${heldOut.length} held out, ${counted(suspects.length, 'suspect')} in ${join(flags.out, SUSPECTS)}; the score of every row in ${join(flags.out, SCORES)}`,
    ...(purification.verdict.near ?? []).map((label) => advise(purification.labels[label] as LabelVerdict)),
    ...(purification.verdict.attacked.length === 0
      ? [`to ask the model alone, another way: pad-ft inspect ${flags.model}`]
      : []),
    `model (stage ${stage}): ${join(flags.out, DEFENDED)}; everything else: ${join(flags.out, CARD_FILE)}`,
  ].join('\n');
}
