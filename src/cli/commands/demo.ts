import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import type { AttackName } from '../../attacks/index.js';
import type { DatasetName } from '../../datasets/index.js';
import { CONTROL_DEFENSES, DEFAULT_DEFENSES, type DefenseRequest } from '../../defense-request.js';
import { PRESET_NAMES, type PresetName } from '../../defenses/pad-ft/options.js';
import { DEMO, runDemo } from '../../demo.js';
import { originalError, PadFtError } from '../../errors.js';
import { RUN_FILES, refuseTraining } from '../../experiment.js';
import { CARD_FILE, readCard } from '../../report/card.js';
import { formatTable } from '../../report/table.js';
import { TRAIN_DEFAULTS } from '../../train.js';
import { addPoisonFlags, poisonRequest } from '../attack-flags.js';
import { addDatasetFlags, type DatasetFlags, datasetNameOption, datasetRequest } from '../dataset-flags.js';
import { addOverwriteFlag, holds, type ResultFlags, refuseEarlierResult } from '../earlier-result.js';
import { showExperiment } from '../experiment-progress.js';
import { TRAIN_GROUP } from '../fields.js';
import {
  addComputeFlags,
  addOutputFlags,
  addSeedFlag,
  addSettings,
  type ComputeFlags,
  givenSettings,
} from '../options.js';
import { prepareCompute, type Run, type Session, warnOfSlowBlas } from '../session.js';
import { spellFlag } from '../spelling.js';

const EXAMPLES = `
Examples:
  $ pad-ft demo                                      made pictures, one to three minutes on two cores
  $ pad-ft demo --seed 1 --attack blended
  $ pad-ft demo --dataset cifar10 --download --width 64 --epochs 100 --crop-padding 4 --batch-size 128 \\
      --learning-rate 0.01 --schedule cosine --out cifar10-run          the real thing, on a GPU
  $ pad-ft evaluate pad-ft-demo                      does the finished run say the same today?`;

/** The demonstration's own sizes belong to its own data; elsewhere the presets run as they are. */
function defensesOf({ preset, controls }: Flags, dataset: DatasetName): readonly DefenseRequest[] {
  const all = (dataset === DEMO.dataset ? DEMO.defenses : undefined) ?? DEFAULT_DEFENSES;
  const presets = all.filter(({ name }) => preset === undefined || name === preset);
  if (controls !== true) return presets;
  const own = all.find(({ name }) => name === 'default')?.options;
  return [...presets, ...CONTROL_DEFENSES.map((request) => ({ ...request, options: { ...request.options, ...own } }))];
}

interface Flags extends DatasetFlags, ComputeFlags, ResultFlags {
  readonly dataset?: DatasetName;
  readonly attack: AttackName;
  readonly victim?: string;
  readonly preset?: PresetName;
  readonly controls?: boolean;
  readonly seed: number;
}

/** As they are parsed: whether `--out` was given decides what may be replaced. */
type GivenFlags = Omit<Flags, 'out'> & Partial<Pick<Flags, 'out'>>;

export function define(command: Command, run: Run): void {
  command
    .description(
      'The whole method in one run: poisons a training set, trains a victim on it, defends it with both presets, prints one table.',
    )
    .addOption(
      new Option(
        '--out <folder>',
        `where everything is written (default: ${DEMO.folder}, where a finished demonstration is replaced)`,
      ),
    )
    .option('--resume', 'continue a training that was stopped')
    .option('--victim <file>', 'a trained model, instead of training one')
    .addOption(new Option('--preset <name>', 'defend with this one only (default: both)').choices(PRESET_NAMES))
    .option(
      '--controls',
      'also repair with purified rows drawn from the clean ones (oracle) and at random: what any purifier can do',
    )
    .addOption(datasetNameOption(`which data set (default: ${DEMO.dataset})`))
    .addHelpText('after', EXAMPLES);
  addSeedFlag(addOverwriteFlag(command), 'everything that is drawn');
  addPoisonFlags(addDatasetFlags(command, DEMO.datasetOptions));
  const training = { default: { ...TRAIN_DEFAULTS, ...DEMO.train } };
  addSettings(command, TRAIN_GROUP, training, { flip: `${DEMO.train?.flip}; other data: as the data set says` });
  addOutputFlags(addComputeFlags(command)).action((given: GivenFlags) =>
    run(async (session) => {
      const flags = { ...given, out: given.out ?? DEMO.folder };
      const values = { ...flags };
      const { victim, resume } = flags;
      const train = givenSettings(TRAIN_GROUP, values);
      // As the run itself would, but in the words of the command line, and before the addon is loaded.
      refuseTraining({ victim, resume, train }, (option) =>
        spellFlag(option.includes('.') ? option : `train.${option}`),
      );
      const request = datasetRequest(flags.dataset ?? DEMO.dataset, flags);
      // Named or not, the demonstration's own data set has its sizes.
      const own = request.name === DEMO.dataset ? DEMO.datasetOptions : {};
      const poison = await poisonRequest(flags.attack, values);
      if (given.out !== undefined || given.resume || !(await replacesDemo(session, flags.out))) {
        refuseEarlierResult(flags, 'run', { card: CARD_FILE, checkpoint: RUN_FILES.checkpoint });
      }
      const { device, precision } = await prepareCompute(session, flags);
      await warnOfSlowBlas(session, device);
      const { card, folder } = await runDemo(
        {
          dataset: request.name,
          datasetOptions: { ...own, ...request.options },
          poison,
          train: victim === undefined ? { ...train, precision } : undefined,
          victim,
          defenses: defensesOf(flags, request.name),
          folder: flags.out,
          device,
          precision,
          seed: flags.seed,
          resume,
          command: ['pad-ft', ...process.argv.slice(2)],
        },
        { signal: session.signal, onEvent: showExperiment(session.progress) },
      ).catch(sayResume(flags.out));
      session.output.result({ folder, card }, `${formatTable(card).trimEnd()}\n\neverything is in ${folder}`);
      return undefined;
    }),
  );
}

/** A run that was stopped after its training goes on from there: says so. */
function sayResume(folder: string): (thrown: unknown) => never {
  return (thrown) => {
    const error = originalError(thrown);
    const trained = existsSync(join(folder, RUN_FILES.checkpoint)) && existsSync(join(folder, RUN_FILES.victim));
    if (!(error instanceof PadFtError) || error.code !== 'ERR_ABORTED' || !trained) throw error;
    const message = `${error.message}; the victim is trained: --resume in place of --overwrite goes on from there`;
    throw new PadFtError(error.code, message, { details: error.details, cause: error });
  };
}

/** True when the folder holds a finished run on made pictures, which is made again in minutes: `npm run demo` may be repeated. */
async function replacesDemo({ progress }: Session, folder: string): Promise<boolean> {
  if (!holds(folder, 'run') || holds(folder, 'training') || holds(folder, 'set')) return false;
  const card = await readCard(join(folder, CARD_FILE)).catch(() => null);
  if (card?.config.dataset.name !== DEMO.dataset) return false;
  progress.note(`the demonstration that ${folder} holds is replaced`);
  return true;
}
