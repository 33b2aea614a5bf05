import { type Command, Option } from 'commander';
import type { AttackName } from '../../attacks/index.js';
import type { DatasetName } from '../../datasets/index.js';
import { CONTROL_DEFENSES, DEFAULT_DEFENSES, type DefenseRequest } from '../../defense-request.js';
import { PRESET_NAMES, type PresetName } from '../../defenses/pad-ft/options.js';
import { DEMO, runDemo } from '../../demo.js';
import { refuseTraining } from '../../experiment.js';
import { formatTable } from '../../report/table.js';
import { TRAIN_DEFAULTS } from '../../train.js';
import { addPoisonFlags, poisonRequest } from '../attack-flags.js';
import { addDatasetFlags, type DatasetFlags, datasetNameOption, datasetRequest } from '../dataset-flags.js';
import { showExperiment } from '../experiment-progress.js';
import { TRAIN_GROUP } from '../fields.js';
import {
  addComputeFlags,
  addOutputFlags,
  addSeedFlag,
  addSettings,
  type ComputeFlags,
  flagOf,
  givenSettings,
} from '../options.js';
import { prepareCompute, type Run } from '../session.js';

const EXAMPLES = `
Examples:
  $ pad-ft demo                                      made pictures, about three minutes on two cores
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

interface Flags extends DatasetFlags, ComputeFlags {
  readonly dataset?: DatasetName;
  readonly attack: AttackName;
  readonly out: string;
  readonly resume?: boolean;
  readonly victim?: string;
  readonly preset?: PresetName;
  readonly controls?: boolean;
  readonly seed: number;
}

export function define(command: Command, run: Run): void {
  command
    .description(
      'The whole method in one run: poisons a training set, trains a victim on it, defends it with both presets, prints one table.',
    )
    .addOption(new Option('--out <folder>', 'where everything is written').default(DEMO.folder))
    .option('--resume', 'continue a training that was stopped')
    .option('--victim <file>', 'a trained model, instead of training one')
    .addOption(new Option('--preset <name>', 'defend with this one only (default: both)').choices(PRESET_NAMES))
    .option(
      '--controls',
      'also repair with purified rows drawn from the clean ones (oracle) and at random: what any purifier can do',
    )
    .addOption(datasetNameOption(`which data set (default: ${DEMO.dataset}, ${dataDefaults()})`))
    .addHelpText('after', EXAMPLES);
  addSeedFlag(command, 'everything that is drawn');
  addPoisonFlags(addDatasetFlags(command));
  addSettings(command, TRAIN_GROUP, { default: { ...TRAIN_DEFAULTS, ...DEMO.train } });
  addOutputFlags(addComputeFlags(command)).action((flags: Flags) =>
    run(async (session) => {
      const values = { ...flags };
      const { victim, resume } = flags;
      const train = givenSettings(TRAIN_GROUP, values);
      // As the run itself would, but in the words of the command line, and before the addon is loaded.
      refuseTraining({ victim, resume, train }, spellFlag);
      const request = datasetRequest(flags.dataset ?? DEMO.dataset, flags);
      const own = flags.dataset === undefined ? DEMO.datasetOptions : {};
      const poison = await poisonRequest(flags.attack, values);
      const { device, precision } = await prepareCompute(session, flags);
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
      );
      session.output.result({ folder, card }, `${formatTable(card).trimEnd()}\n\neverything is in ${folder}`);
      return undefined;
    }),
  );
}

/** An option of a run as the command line spells it. */
function spellFlag(option: string): string {
  return flagOf(TRAIN_GROUP, option.replace(/^train\./, ''));
}

function dataDefaults(): string {
  return Object.entries(DEMO.datasetOptions ?? {})
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}
