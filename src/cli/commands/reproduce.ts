import { type Command, Option } from 'commander';
import type { Device } from '../../device.js';
import { counted } from '../../formats/plural.js';
import type { NativeDevice } from '../../native/contract.js';
import {
  planReproduction,
  type ReproduceEvent,
  type ReproduceOptions,
  type Reproduction,
  type ReproductionPlan,
  readGrid,
  reproduce,
  SCALE_NAMES,
  type ScaleName,
} from '../../reproduce/index.js';
import { EXIT } from '../exit-code.js';
import { showExperiment } from '../experiment-progress.js';
import {
  addComputeFlags,
  addOutputFlags,
  type ComputeFlags,
  parseBoolean,
  parseDevice,
  parseInteger,
  parseNumbers,
} from '../options.js';
import { formatSeconds } from '../progress.js';
import { prepareCompute, type Run, type Session, warnOfSlowBlas } from '../session.js';
import { textTable } from '../tables.js';

const EXAMPLES = `
Writes each table as Markdown, CSV and a page to read in a browser (table1.md, table1.csv, table1.html; of all together
cells.csv and index.html), with our figures beside the paper's, and a copy of every card under cards/. \`all\` are the
paper's three tables: both presets, two controls, and of the paper's rivals mm-bm and dbd, which trains anew and takes
most of the time (--defenses default,paper,oracle,random,mm-bm leaves it out). \`methods\` (PAD-FT beside other ways to repair) and
\`detectors\` (purifiers and MM-BD without a repair) are made when they are named. Victims and defences are kept in
victims/ and defenses/ under what they depend on: Ctrl-C finishes the batch, the same command goes on from there, and a
changed option runs again only what depends on it.

Examples:
  $ pad-ft reproduce table1 --scale smoke                       does everything run? seconds a cell, no data needed
  $ pad-ft reproduce all --scale paper --download --dry-run     what would it take on this machine?
  $ pad-ft reproduce all --scale paper --path ~/data --device cuda:0,cuda:1 --jobs 2
  $ pad-ft reproduce methods --scale cpu --path ~/data --attacks badnets --defenses ft,fp,default
  $ pad-ft reproduce table1 --scale cpu --path ~/data/cifar-10-batches-bin --victims trained`;

interface Flags extends Omit<ComputeFlags, 'device'> {
  readonly scale?: ScaleName;
  readonly grid?: string;
  readonly out?: string;
  readonly victims?: readonly string[];
  readonly datasets?: readonly string[];
  readonly attacks?: readonly string[];
  readonly defenses?: readonly string[];
  readonly seeds?: readonly number[];
  readonly path?: string;
  readonly download?: boolean;
  readonly keepModels?: boolean;
  readonly jobs: number;
  readonly device: readonly Device[];
  readonly dryRun?: boolean;
}

export function define(command: Command, run: Run): void {
  command
    .description(
      "Makes the paper's tables: trains every victim, runs every defence on it, and prints our figures beside the paper's.",
    )
    .argument('<what>', 'table1, table2, table3 or all; methods; detectors')
    .addOption(new Option('--scale <name>', 'how large (default: paper)').choices(SCALE_NAMES).conflicts('grid'))
    .option('--grid <file>', 'a grid of your own, in JSON')
    .option('--datasets <names>', "data sets, instead of the table's own", parseWords)
    .option('--attacks <names>', "some of the table's attacks only", parseWords)
    .option(
      '--defenses <names>',
      "instead of the table's own, some of: default, paper, oracle, random; a method (`pad-ft list methods`); a detector (`pad-ft list detectors`)",
      parseWords,
    )
    .option('--seeds <numbers>', 'one victim for each (default: 0)', parseNumbers)
    .option('--out <folder>', 'where everything is kept (default: reproduction-SCALE, with --grid reproduction)')
    .option(
      '--victims <folder>',
      'look here for victims that `pad-ft train` made (not of wanet, poisoned batch by batch); may be repeated',
      collect,
    )
    .option('--path <path>', 'CIFAR: the folder with the .bin files, one that holds it, or the .tar.gz')
    .option('--download', 'CIFAR: fetch the official archive into the cache when it is not there')
    .addOption(
      new Option(
        '--keep-models <true|false>',
        'write the defended models beside their cards (default: true; given as true, also of cells finished without)',
      ).argParser(parseBoolean),
    )
    .addOption(
      new Option('--jobs <count>', 'victims at a time, each in a process of its own')
        .argParser(parseInteger(1, 256))
        .default(1),
    )
    .option('--dry-run', 'list the cells and what they would take; write nothing')
    .addHelpText('after', EXAMPLES);
  addOutputFlags(addComputeFlags(command));
  // Declared with the other computing flags; here there may be several.
  const device = command.options.find(({ long }) => long === '--device');
  device?.argParser(parseDevices);
  if (device !== undefined)
    device.description = 'auto, cpu, cuda or cuda:N; with --jobs several with commas, one for each';
  command.setOptionValueWithSource('device', ['auto'], 'default');
  command.action((what: string, flags: Flags) =>
    run(async (session) => {
      const options = await optionsOf(what, flags);
      const devices: NativeDevice[] = [];
      for (const name of flags.device) devices.push((await prepareCompute(session, { ...flags, device: name })).device);
      if (devices.includes('cpu')) await warnOfSlowBlas(session, 'cpu');
      if (flags.dryRun === true) {
        const plan = await planReproduction(options);
        session.output.result(plan, planText(plan));
        return undefined;
      }
      const result = await reproduce(options, { signal: session.signal, onEvent: showGrid(session) });
      session.output.result(result, summary(result));
      return result.failed > 0 ? EXIT.failed : EXIT.ok;
    }),
  );
}

async function optionsOf(what: string, flags: Flags): Promise<ReproduceOptions> {
  const { scale, out, victims, datasets, attacks, defenses, seeds, path, download } = flags;
  return {
    what,
    scale,
    grid: flags.grid === undefined ? undefined : await readGrid(flags.grid),
    out,
    victims,
    datasets,
    attacks,
    defenses,
    seeds,
    dataPlace: { path, download },
    keepModels: flags.keepModels,
    jobs: flags.jobs,
    devices: flags.device,
    precision: flags.precision,
    threads: flags.threads,
    command: ['pad-ft', ...process.argv.slice(2)],
  };
}

function showGrid({ progress, output }: Session): (event: ReproduceEvent) => void {
  const show = showExperiment(progress);
  return (event) => {
    if (event.type === 'grid') {
      const { done, failed, total } = event;
      output.event('grid', { done, failed, total });
      progress.note(`${done} of ${counted(total, 'cell')} done${failed === 0 ? '' : `, ${failed} failed`}`);
    } else if (event.type === 'cell') {
      output.event('cell', { key: event.key, name: event.name });
      progress.note(`${event.name}: done`);
    } else show(event);
  };
}

function planText({ cells, groups, units, seconds, throughput, problems }: ReproductionPlan): string {
  const listed = textTable(
    ['cell', 'state'],
    cells.map(({ name, state }) => [name, state]),
  );
  if (throughput === null) return `${listed}\n\nnothing is pending`;
  const pending = textTable(
    ['victim', '', 'forward units', 'about'],
    groups.map((group) => [
      group.name,
      group.trains ? 'to be trained' : 'is there',
      group.units.toLocaleString('en'),
      formatSeconds(group.seconds),
    ]),
    [2, 3],
  );
  const total = `${units.toLocaleString('en')} forward units, about ${formatSeconds(seconds)} one after another`;
  const speed = `${Math.round(throughput.unitsPerSecond)} units/s from ${throughput.source}`;
  return [`${listed}\n\n${pending}\n\n${total} (${speed})`, ...problems].join('\n\n');
}

function summary({ out, done, failed, total, skipped, failures, files }: Reproduction): string {
  // A victim that fails takes its defences with it: the first to say so is enough.
  const problems = failures.filter((it, i) => failures.findIndex(({ message }) => message === it.message) === i);
  return [
    `${done} of ${counted(total, 'cell')} done${failed === 0 ? '' : `, ${failed} failed`}${skipped === 0 ? '' : `, ${skipped} not in this build`}`,
    ...problems.map(({ name, code, message }) => `${name}: ${code}: ${message}`),
    ...files,
    `everything is in ${out}`,
  ].join('\n');
}

function parseWords(text: string): string[] {
  return text.split(',').map((word) => word.trim());
}

function parseDevices(text: string): Device[] {
  return parseWords(text).map(parseDevice);
}

function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}
