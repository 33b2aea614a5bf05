import { inspect, inspectSettings, requireInspectable } from '../defenses/mm-bd/inspect.js';
import {
  type PadFtOptions,
  type PadFtSettings,
  type Purification,
  padFtSettings,
  purify,
  requireUnbounded,
} from '../defenses/pad-ft/index.js';
import type { PurifierName } from '../defenses/pad-ft/options.js';
import { purifierReads } from '../defenses/pad-ft/purifiers.js';
import { PadFtError } from '../errors.js';
import { evaluate } from '../evaluate.js';
import { MemoryWatch } from '../memory.js';
import type { Model } from '../model.js';
import { requireFit } from '../model-fit.js';
import { loadPoisonedSet, loadTrainingData, type TrainingData } from '../poisoned-set-file.js';
import { describeFolder, makeCard, makeDetectionRow, type RunCard, writeCard } from '../report/card.js';
import { openDefenseFolder, savePurification } from '../report/defense-files.js';
import { defensePrecision, describeEnvironment, methodPrecision } from '../report/environment.js';
import { judgePurification, judgeVictim } from '../report/judge.js';
import { formatTable } from '../report/table.js';
import type { DetectorColumn, InspectionColumn } from '../reproduce/defenses.js';
import { fewRightWarning } from './few-right.js';
import { CLIP_GROUP, DEFENSE_GROUP, PURIFY_GROUP, TUNE_GROUP } from './fields.js';
import { refuseFlags, refuseMethodFlags } from './method-flags.js';
import { type ModelFlags, openModel } from './model-flags.js';
import { givenSettings } from './options.js';
import { type Compute, runContext, type Session } from './session.js';
import { unjudgedWarnings } from './small-set.js';

/** What `pad-ft defend --method` works on when the method is a detector. */
interface DetectFlags extends ModelFlags {
  readonly data: string;
  readonly out: string;
  readonly seed: number;
}

/** A detector with what was asked of it. */
export type PlannedDetector =
  | { readonly kind: 'detector'; readonly name: string; readonly settings: PadFtSettings }
  | { readonly kind: 'inspection'; readonly name: string };

/** What clip-drop reads of how bounds are fitted. */
const CLIP_DROP_READS = ['clip.steps', 'clip.batchSize'];

/**
 * A detector of the command line, with the settings that it reads.
 *
 * @throws PadFtError ERR_OPTION for a flag that would do nothing, or a setting out of range
 */
export function detectorRequest(
  column: DetectorColumn | InspectionColumn,
  values: Readonly<Record<string, unknown>>,
  seed: number,
): PlannedDetector {
  const { name } = column;
  refuseMethodFlags(name, values);
  const groups = [DEFENSE_GROUP, TUNE_GROUP, CLIP_GROUP, PURIFY_GROUP];
  if (column.kind === 'inspection') {
    refuseFlags(groups, values, name);
    return { kind: 'inspection', name };
  }
  const { purifier, options } = column;
  if (givenSettings(PURIFY_GROUP, values).purifier !== undefined) {
    const message = `--purify.purifier: --method ${name} says which; leave one of them out`;
    throw new PadFtError('ERR_OPTION', message, { details: { path: '--purify.purifier', method: name } });
  }
  const own = Array.from(purifierReads(purifier), (field) => `purify.${field}`);
  const read = purifier === 'clip-drop' ? [...own, ...CLIP_DROP_READS] : own;
  refuseFlags(groups, values, name, read);
  const whole: PadFtOptions = {
    ...{ ...options, seed },
    purify: { ...options.purify, ...givenSettings(PURIFY_GROUP, values) },
    clip: givenSettings(CLIP_GROUP, values),
  };
  return { kind: 'detector', name, settings: padFtSettings(whole) };
}

/** These compare the victim with itself under bounds: bounds of its own would come in between. */
const UNBOUNDED: readonly PurifierName[] = ['cross-label', 'clip-drop'];

/** Refuses what the detector would refuse, before anything is written. ERR_OPTION, ERR_MODEL, ERR_DATA */
function checkFit(planned: PlannedDetector, victim: Model, { train }: TrainingData): void {
  if (planned.kind === 'detector') {
    if (UNBOUNDED.includes(planned.settings.purify.purifier)) requireUnbounded(victim);
    return;
  }
  const { height, width } = train.shape;
  inspectSettings({ imageSize: height });
  requireInspectable(victim);
  if (height === width) return;
  const message = `${planned.name}: expected square images, got ${height}×${width}; take another detector`;
  throw new PadFtError('ERR_DATA', message, { details: { height, width } });
}

/** Scores the rows, or asks the model alone, and writes what was found and the card; nothing is repaired. */
export async function detect(
  session: Session,
  compute: Compute,
  flags: DetectFlags,
  planned: PlannedDetector,
): Promise<void> {
  const { signal, progress, output } = session;
  const { device } = compute;
  progress.stage(`load ${flags.model} and ${flags.data}`);
  using victim = await openModel(session, compute, flags.model, flags);
  using data = await loadTrainingData(flags.data, { device, signal });
  requireFit(victim, flags.model, data.train, flags.data);
  checkFit(planned, victim, data);
  if (planned.kind === 'detector') {
    const { train } = data;
    // What only ranks the rows draws no verdict, and reads none of its thresholds.
    const judges = purifierReads(planned.settings.purify.purifier).has('verdictGain');
    if (judges) for (const text of unjudgedWarnings(train.labels(), train.classes)) progress.warning(text);
  }
  await openDefenseFolder(flags.out);
  progress.stage(`detect by ${planned.name}`);
  const card =
    planned.kind === 'inspection'
      ? await inspected(session, compute, flags, planned.name, victim, data)
      : await scored(session, compute, flags, planned, victim, data);
  progress.end();
  const path = await writeCard(flags.out, card);
  const said = [
    formatTable(card).trimEnd(),
    '',
    ...(planned.kind === 'inspection'
      ? [`the margin of every class, and more steps: pad-ft inspect ${flags.model}`]
      : []),
    `nothing was repaired; what was found: ${flags.out}, the card: ${path}`,
  ];
  output.result({ card: path, row: card.detections?.[0] ?? card.inspections?.[0] }, said.join('\n'));
}

async function scored(
  session: Session,
  compute: Compute,
  flags: DetectFlags,
  { name, settings }: Extract<PlannedDetector, { kind: 'detector' }>,
  victim: Model,
  data: TrainingData,
): Promise<RunCard> {
  const { signal, progress } = session;
  const { precision, device } = compute;
  const watch = new MemoryWatch(device);
  const onProgress = ({ done, total }: { readonly done: number; readonly total: number }) =>
    progress.update(name, done, total);
  const found = await watch.measure('purify', () =>
    purify(victim, data.train, settings, { signal, precision, onProgress }),
  );
  progress.end();
  for (const text of fewRightWarning(found.correct)) progress.warning(text);
  const files = await savePurification(flags.out, found);

  // The ground truth is opened here and not before.
  const judged = data.judged ? await judge(session, compute, flags, victim, found) : null;
  const row = makeDetectionRow(name, settings.purify.purifier, found, watch.costs, judged?.figures ?? null);
  const { purifier } = settings.purify;
  const { fitting, ...computed } = defensePrecision(null, precision, device, [purifier]);
  // Bounds are fitted by clip-drop alone.
  const environment = purifier === 'clip-drop' ? { ...computed, fitting } : computed;
  const parts = { detections: [row], files, detectors: [{ name, settings }] };
  return describeRun(flags, compute, data, { ...parts, environment, judged });
}

async function inspected(
  session: Session,
  compute: Compute,
  flags: DetectFlags,
  name: string,
  victim: Model,
  data: TrainingData,
): Promise<RunCard> {
  const { precision, device } = compute;
  const context = { ...runContext(session, 'classes'), precision };
  const found = await inspect(victim, { seed: flags.seed, imageSize: data.train.shape.height }, context);
  session.progress.end();
  const judged = data.judged ? await judge(session, compute, flags, victim, null) : null;
  const environment = methodPrecision([], precision, device);
  return describeRun(flags, compute, data, { inspections: [{ name, ...found }], files: [], environment, judged });
}

interface Judged {
  readonly victim: RunCard['victim']['evaluation'];
  readonly figures: ReturnType<typeof judgePurification> | null;
  readonly poison: RunCard['config']['poison'];
  readonly testRows: number;
}

async function judge(
  session: Session,
  { device, precision }: Compute,
  { data }: DetectFlags,
  victim: Model,
  found: Purification | null,
): Promise<Judged> {
  session.progress.stage('judge by the ground truth');
  using set = await loadPoisonedSet(data, { device, signal: session.signal });
  const options = { ...runContext(session, 'judge'), precision };
  const known = { poison: set.manifest, testRows: set.test.count };
  if (found === null) return { victim: await evaluate(victim, set, options), figures: null, ...known };
  const before = await judgeVictim(victim, set, options);
  return { victim: before.evaluation, figures: judgePurification(found, set, before), ...known };
}

interface CardParts extends Pick<RunCard, 'detections' | 'inspections' | 'files'> {
  readonly detectors?: RunCard['config']['detectors'];
  readonly environment: Parameters<typeof describeEnvironment>[1];
  readonly judged: Judged | null;
}

function describeRun(
  { data: folder, model }: DetectFlags,
  { device }: Compute,
  data: TrainingData,
  { detectors, environment, judged, ...found }: CardParts,
): RunCard {
  const poison = judged?.poison ?? null;
  return makeCard({
    command: ['pad-ft', ...process.argv.slice(2)],
    config: {
      dataset: describeFolder(data, folder, judged?.testRows ?? 0),
      ...{ poison, train: null, victim: model, defenses: [], ...(detectors && { detectors }) },
    },
    seeds: { root: null, poison: poison?.seed ?? null, train: null, defenses: [] },
    environment: describeEnvironment(device, environment),
    victim: { history: [], evaluation: judged?.victim ?? null },
    ...{ ...found, rows: [], costs: [] },
  });
}
