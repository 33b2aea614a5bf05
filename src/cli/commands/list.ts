import { Argument, type Command } from 'commander';
import { type AttackOption, rangeOf } from '../../attacks/attack.js';
import { ATTACKS } from '../../attacks/index.js';
import { DATASETS } from '../../datasets/index.js';
import { METHOD_NAMES, METHODS } from '../../defenses/methods/index.js';
import {
  type PadFtSettings,
  PRESET_NAMES,
  PRESETS,
  type PresetName,
  PURIFIERS,
  paperAssumptions,
} from '../../defenses/pad-ft/options.js';
import { PURIFIER_TABLE } from '../../defenses/pad-ft/purifiers.js';
import { DETECTOR_NAMES, findColumn } from '../../reproduce/defenses.js';
import { CLIP_GROUP, DEFENSE_GROUP, PURIFY_GROUP, TUNE_GROUP } from '../fields.js';
import { OWN_METHOD } from '../method-flags.js';
import { addOutputFlags, type Field } from '../options.js';
import type { Run } from '../session.js';
import { textTable } from '../tables.js';

const KINDS = ['datasets', 'attacks', 'models', 'defenses', 'methods', 'detectors', 'presets'] as const;
type Kind = (typeof KINDS)[number];

/** What a list says, for a program and for a person. */
interface Listing {
  readonly items: readonly object[];
  readonly text: string;
}

export function define(command: Command, run: Run): void {
  command
    .description('Lists what there is, with options and defaults.')
    .addArgument(new Argument('<what>', 'which list').choices(KINDS))
    .addHelpText('after', '\nExamples:\n  $ pad-ft list attacks\n  $ pad-ft list presets --json');
  addOutputFlags(command).action((kind: Kind) =>
    run(async ({ output }) => {
      const { items, text } = await LISTS[kind]();
      output.result({ list: kind, items }, text);
      return undefined;
    }),
  );
}

const LISTS: Readonly<Record<Kind, () => Promise<Listing>>> = {
  datasets,
  attacks,
  models,
  defenses,
  methods,
  detectors,
  presets,
};

async function datasets(): Promise<Listing> {
  const items = Object.values(DATASETS).map(({ name, summary, paper }) => ({ name, summary, paper }));
  const rows = items.map(({ name, summary, paper }) => [name, summary, paper]);
  return { items, text: textTable(['data set', 'what it is', 'credit'], rows) };
}

async function attacks(): Promise<Listing> {
  const all = Object.values(ATTACKS);
  const text = all.map(({ name, title, summary, paper, policies, options }) =>
    [
      `${name}: ${title}. ${summary}`,
      `  ${paper.authors}: ${paper.title}, ${paper.year} (${paper.venue})`,
      `  label policies: ${policies.join(', ')}`,
      indent(textTable(['option', 'default', 'range', 'meaning'], options.map(optionRow))),
    ].join('\n'),
  );
  const items = all.map(({ name, title, summary, paper, policies, options }) => ({
    name,
    title,
    summary,
    paper,
    policies,
    options,
  }));
  return { items, text: text.join('\n\n') };
}

function optionRow(option: AttackOption): readonly string[] {
  const range = option.type === 'number' ? rangeOf(option) : 'a file';
  return [`--${option.path}`, String(option.default ?? 'built in'), range, option.help];
}

/** The core has the table of models, so this list needs the addon. */
async function models(): Promise<Listing> {
  const [{ loadAddon }, { callNative }] = await Promise.all([
    import('../../native/load.js'),
    import('../../native/job.js'),
  ]);
  const items = callNative(() => loadAddon().models());
  return {
    items,
    text: textTable(
      ['model', 'paper'],
      items.map(({ name, paper }) => [name, paper]),
    ),
  };
}

async function methods(): Promise<Listing> {
  const items = METHOD_NAMES.map((name) => {
    const { title, paper, needs, defaults } = METHODS[name];
    return { name, title, paper, needs, defaults };
  });
  const rows = items.map(({ name, title, paper, needs }) => [
    name,
    title,
    [
      needs.victim === 'shape' ? 'the victim’s shape' : 'the victim',
      ...(needs.training ? ['the training set'] : []),
      ...(needs.clean ? ['clean images'] : []),
    ].join(', '),
    paper,
  ]);
  const table = textTable(['method', 'what it is', 'what it is given', 'credit'], rows);
  return { items, text: `${table}\n\n${OWN_METHOD} itself, what defend does without --method: pad-ft list defenses` };
}

async function detectors(): Promise<Listing> {
  const items = DETECTOR_NAMES.map((name) => {
    const column = findColumn(name);
    if (column?.kind !== 'detector') {
      const summary = 'the class that some image drives farthest above all others; random images are climbed (MM-BD)';
      return { name, summary, given: ['the victim'] };
    }
    const { summary } = PURIFIER_TABLE[column.purifier];
    const preset = column.options.preset === 'paper' ? '; as the preset paper has it' : '';
    return { name, summary: `${summary}${preset}`, given: ['the victim', 'the training set'] };
  });
  const rows = items.map(({ name, summary, given }) => [name, summary, given.join(', ')]);
  return { items, text: textTable(['detector', 'what it looks for', 'what it is given'], rows) };
}

async function defenses(): Promise<Listing> {
  const purifiers = PURIFIERS.map((name) => ({ name, summary: PURIFIER_TABLE[name].summary }));
  const stages = ['purify', 'clip', 'fine-tune', 'gate'];
  const items = [{ name: 'pad-ft', stages, presets: PRESET_NAMES, purifiers }];
  const text = [
    `pad-ft: ${stages.join(', ')}; presets ${PRESET_NAMES.join(', ')} (pad-ft list presets)`,
    '',
    textTable(
      ['purifier', 'what it keeps away'],
      purifiers.map(({ name, summary }) => [name, summary]),
    ),
  ].join('\n');
  return { items, text };
}

/** What a preset leaves to the data set (`optionsForData`). */
function inWords(flag: string, preset: PresetName): string | undefined {
  return flag === '--tune.flip' && preset !== 'paper' ? "the data's" : undefined;
}

async function presets(): Promise<Listing> {
  const line = (flag: string, field: Field, read: (preset: PadFtSettings) => unknown) => [
    flag,
    ...PRESET_NAMES.map((name) => inWords(flag, name) ?? String(read(PRESETS[name]))),
    field.help,
  ];
  const rows = [
    ...Object.entries<Field>(DEFENSE_GROUP.fields).map(([name, field]) =>
      line(`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`, field, (preset) =>
        Reflect.get(preset, name),
      ),
    ),
    ...([PURIFY_GROUP, CLIP_GROUP, TUNE_GROUP] as const).flatMap(({ prefix, fields }) =>
      Object.entries<Field>(fields).map(([name, field]) =>
        line(`--${prefix}.${name}`, field, (preset) => Reflect.get(Reflect.get(preset, String(prefix)), name)),
      ),
    ),
  ];
  const text = [
    textTable(['setting', ...PRESET_NAMES, 'meaning'], rows),
    '',
    'The paper leaves open, and the preset paper assumes:',
    ...paperAssumptions(PRESETS.paper).map((assumption) => `  ${assumption}`),
  ].join('\n');
  return { items: PRESET_NAMES.map((name) => ({ name, settings: PRESETS[name] })), text };
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n');
}
