import { type Command, Option } from 'commander';
import type { AttackName } from '../../attacks/index.js';
import type { DatasetName } from '../../datasets/index.js';
import { counted } from '../../formats/plural.js';
import { type PoisonedSet, poison, poisonSettings } from '../../poisoned-set.js';
import { MANIFEST_FILE, savePoisonedSet, TRAIN_FILE } from '../../poisoned-set-file.js';
import { addPoisonFlags, poisonRequest } from '../attack-flags.js';
import {
  addDatasetFlags,
  type DatasetFlags,
  datasetNameOption,
  datasetRequest,
  loadRequested,
} from '../dataset-flags.js';
import { addOverwriteFlag, type ResultFlags, refuseEarlierResult } from '../earlier-result.js';
import { addComputeFlags, addOutputFlags, addSeedFlag, type ComputeFlags } from '../options.js';
import { checkSheet, imageAt, writeSheet } from '../preview.js';
import { percent } from '../progress.js';
import { prepareCompute, type Run, runContext } from '../session.js';

const EXAMPLES = `
The folder holds train.safetensors (all that a defender has), test.safetensors, truth.safetensors (which rows were
poisoned; only figures are made with it) and manifest.json. A folder without truth.safetensors can be defended too.

Examples:
  $ pad-ft poison --dataset cifar10 --download --out set
  $ pad-ft poison --dataset cifar10 --attack blended --blended.alpha 0.1 --rate 0.05 --target 3 --out set
  $ pad-ft poison --dataset cifar10 --attack wanet --preview warp.png --out set
  $ pad-ft poison --dataset synthetic --train-rows 2000 --preview trigger.png --out set`;

const PREVIEW_COLUMNS = 10;

interface Flags extends DatasetFlags, ComputeFlags, ResultFlags {
  readonly dataset: DatasetName;
  readonly attack: AttackName;
  readonly preview?: string;
  readonly seed: number;
}

export function define(command: Command, run: Run): void {
  command
    .description(
      'Plants a backdoor: draws rows of a training set, puts a trigger on them, relabels them, writes all to a folder.',
    )
    .addOption(datasetNameOption('which data set to poison').makeOptionMandatory())
    .addOption(new Option('--out <folder>', 'where to write it').makeOptionMandatory())
    .option(
      '--preview <file>',
      'write a picture (.png or .ppm): clean test images above, the same with the trigger below',
    )
    .addHelpText('after', EXAMPLES);
  addPoisonFlags(addDatasetFlags(addSeedFlag(addOverwriteFlag(command), 'which rows are drawn')));
  addOutputFlags(addComputeFlags(command)).action((flags: Flags) =>
    run(async (session) => {
      const request = datasetRequest(flags.dataset, flags);
      const settings = { ...(await poisonRequest(flags.attack, { ...flags })), seed: flags.seed };
      poisonSettings(settings);
      refuseEarlierResult(flags, 'set', { card: MANIFEST_FILE, others: [TRAIN_FILE] });
      if (flags.preview !== undefined) checkSheet(flags.preview, flags.out);
      const { device } = await prepareCompute(session, flags);
      const pair = await loadRequested(session, request);
      session.progress.stage(`poison ${request.name}`);
      using set = await poison(pair, settings, { device, ...runContext(session, 'poison') });
      session.progress.stage(`write ${flags.out}`);
      await savePoisonedSet(set, flags.out);
      if (flags.preview !== undefined) await writePreview(flags.preview, set);
      const { manifest } = set;
      session.output.result({ folder: flags.out, manifest, preview: flags.preview ?? null }, summary(flags.out, set));
      return undefined;
    }),
  );
}

/** Training that a processor does in minutes. */
const RECIPE = '--width 16 --epochs 8 --learning-rate 0.1 --schedule triangular';
const RECIPES: Readonly<Record<string, string>> = {
  synthetic: '--width 16 --epochs 6 --batch-size 64 --learning-rate 0.05 --schedule triangular --crop-padding 0',
};

function summary(folder: string, { name, manifest, train }: PoisonedSet): string {
  const { attack, policy, target, counts } = manifest;
  const where = target === null ? policy : `${policy}, target class ${target}`;
  const noise =
    counts.noise === undefined ? '' : `, ${counted(counts.noise, 'more row')} disturbed as noise, the labels true`;
  return [
    `${folder}: ${counts.poisoned} of ${counted(train.count, 'training row')} poisoned (${percent(counts.poisoned / train.count)})`,
    `${attack.name}, ${attack.triggerName}, ${where}: ${counted(counts.relabelled, 'label')} changed, ${counts.selfLabelled} ${counts.selfLabelled === 1 ? 'was' : 'were'} the target's already${noise}`,
    counts.poisoned === 0
      ? `a clean set: to train on, or for --clean ${folder}`
      : `next: pad-ft train --data ${folder} --out victim   (without a GPU add ${RECIPES[name] ?? RECIPE})`,
  ].join('\n');
}

async function writePreview(path: string, { test, triggered }: PoisonedSet): Promise<void> {
  const count = Math.min(PREVIEW_COLUMNS, test.count);
  const rows = Uint32Array.from({ length: count }, (_, row) => row);
  const cells = [test, triggered]
    .filter((set) => set !== null)
    .flatMap((set) => {
      const images = set.images(rows);
      return Array.from(rows, (row) => imageAt(images, row, set.shape));
    });
  await writeSheet(path, cells, test.shape, count);
}
