import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { openFolder, removeFile } from '../../formats/folder.js';
import { counted } from '../../formats/plural.js';
import { saveTraining, TRAINING_FILES, type TrainingSubject } from '../../report/training-card.js';
import {
  checkBatches,
  type EpochReport,
  TRAIN_DEFAULTS,
  type TrainSettings,
  train,
  trainSettings,
} from '../../train.js';
import { addOverwriteFlag, type ResultFlags, refuseEarlierResult } from '../earlier-result.js';
import { TRAIN_GROUP } from '../fields.js';
import {
  addComputeFlags,
  addOutputFlags,
  addSeedFlag,
  addSettings,
  type ComputeFlags,
  givenSettings,
} from '../options.js';
import { percent } from '../progress.js';
import { prepareCompute, type Run, runContext, type Session, warnOfSlowBlas } from '../session.js';
import {
  addDataFlags,
  checkDataFlags,
  type DataFlags,
  openTrainingSource,
  type TrainingSource,
} from '../training-data.js';

const EXAMPLES = `
Writes victim.safetensors and, last, training.json. checkpoint.safetensors is written after every epoch (less often when
that costs too much time) and removed at the end: Ctrl-C finishes the batch and leaves it, and --resume continues from
it, on the CPU to the very bytes of an undisturbed run. A folder that holds a training already is refused without either
that or --overwrite.

Examples:
  $ pad-ft train --data set --out victim
  $ pad-ft train --data set --out victim --resume
  $ pad-ft train --data set --out victim --width 16 --epochs 6 --batch-size 64 --learning-rate 0.05 \\
      --schedule triangular --crop-padding 0       (what the demonstration does, minutes on a processor)`;

interface Flags extends DataFlags, ComputeFlags, ResultFlags {
  readonly test: boolean;
  readonly seed: number;
}

export function define(command: Command, run: Run): void {
  command
    .description('Trains a classifier on a training set, poisoned or clean, with the defaults of BackdoorBench.')
    .addOption(new Option('--out <folder>', 'where to write the model').makeOptionMandatory())
    .option('--resume', 'continue from the checkpoint of a training that was stopped')
    .option('--no-test', 'do not measure ACC and ASR after each epoch')
    .addHelpText('after', EXAMPLES);
  addSeedFlag(addOverwriteFlag(command), 'first weights, order and augmentation');
  addSettings(addDataFlags(command), TRAIN_GROUP, { default: TRAIN_DEFAULTS }, { flip: 'as the data set says' });
  addOutputFlags(addComputeFlags(command)).action((flags: Flags) =>
    run(async (session) => {
      await trainVictim(session, flags, { ...givenSettings(TRAIN_GROUP, { ...flags }), seed: flags.seed });
      return undefined;
    }),
  );
}

async function trainVictim(session: Session, flags: Flags, given: Partial<TrainSettings>): Promise<void> {
  checkDataFlags(flags);
  trainSettings(given);
  refuseEarlierResult(flags, 'training', { ...TRAINING_FILES, others: [TRAINING_FILES.victim] });
  const compute = await prepareCompute(session, flags);
  await warnOfSlowBlas(session, compute.device);
  const { progress, output } = session;
  const files = filesOf(flags.out);
  if (flags.resume && !existsSync(files.checkpoint)) {
    progress.note(`${files.checkpoint} is not there: training starts at the first epoch`);
  }
  using source = await openTrainingSource(session, compute, flags);
  const { precision } = compute;
  const settings = trainSettings({ flip: source.flip && TRAIN_DEFAULTS.flip, ...given, precision });
  checkBatches(settings, source.train.count, null);
  await openFolder(flags.out, Object.values(TRAINING_FILES));
  // From here on the folder is not a finished training, and no older model can be taken for what this one makes.
  await removeFile(files.card);
  if (!flags.resume) for (const path of [files.victim, files.checkpoint]) await removeFile(path);

  progress.stage('train');
  const training = await train(source.train, source, settings, {
    ...runContext(session, 'epoch'),
    checkpoint: files.checkpoint,
    resume: flags.resume,
    testSets: flags.test ? (source.judged ?? undefined) : undefined,
    onEpoch: (report) => progress.epoch(report),
  });
  using _ = training.model;
  const written = await saveTraining(flags.out, training, describeData(source, flags), compute.device);
  const { victim, card } = files;
  const weak = weakness(training.history.at(-1));
  if (weak !== null) progress.warning(weak);
  output.result(
    { model: victim, card, sha256: written.sha256, history: training.history },
    summary(files, flags, training.history),
  );
}

/** What is wrong with a network that learnt next to nothing, in a sentence. */
function weakness(last: EpochReport | undefined): string | null {
  if (last === undefined) return null;
  const { trainAccuracy, evaluation } = last;
  if (trainAccuracy < 0.5)
    return `the network barely learnt its training set (${percent(trainAccuracy)}): train longer, or with another learning rate`;
  if (evaluation?.asr != null && evaluation.asr < 0.5)
    return `the network barely learnt the backdoor (ASR ${percent(evaluation.asr)}): train longer`;
  return null;
}

interface TrainingFiles {
  readonly victim: string;
  readonly checkpoint: string;
  readonly card: string;
}

function filesOf(folder: string): TrainingFiles {
  return {
    victim: join(folder, TRAINING_FILES.victim),
    checkpoint: join(folder, TRAINING_FILES.checkpoint),
    card: join(folder, TRAINING_FILES.card),
  };
}

function describeData(source: TrainingSource, flags: DataFlags): TrainingSubject {
  const { name, judged, train: rows } = source;
  return { name, folder: flags.data ?? null, rows: rows.count, poison: judged?.manifest ?? null };
}

function summary({ victim }: TrainingFiles, { data }: DataFlags, history: readonly EpochReport[]): string {
  const last = history.at(-1);
  const evaluation = last?.evaluation ?? null;
  return [
    `${victim}: ${counted(history.length, 'epoch')}, training accuracy ${percent(last?.trainAccuracy ?? null)}`,
    ...(evaluation === null
      ? []
      : [`ACC ${percent(evaluation.acc)}, ASR ${percent(evaluation.asr)}, RA ${percent(evaluation.ra)}`]),
    ...(data === undefined ? [] : [`next: pad-ft defend --model ${victim} --data ${data} --out repaired`]),
  ].join('\n');
}
