import { isDeepStrictEqual } from 'node:util';
import { METHODS, type Method } from '../defenses/methods/index.js';
import { findColumn, type GridColumn, type MethodColumn } from './defenses.js';
import type { TableLine } from './figures.js';
import type { Grid, GridTable } from './grid.js';
import { missingAttacks } from './grid.js';
import { PAPER_SOURCE } from './paper-figures.js';
import { SCALES } from './scales.js';

/**
 * Everything in which a table differs from the paper's setting, one sentence each: it stands beside the table, whose
 * `lines` say what computed them.
 */
export function differencesOf(grid: Grid, table: GridTable, lines: readonly TableLine[]): readonly string[] {
  const attacks = table.attacks.map(({ attack }) => attack);
  const missing = missingAttacks({ ...grid, tables: [table] });
  const columns = table.defenses.flatMap((name) => findColumn(name) ?? []);
  const methods = columns.filter((column) => column.kind === 'method');
  const detects = columns.some(isDetector);
  const repairs = columns.length === 0 || !columns.every(isDetector);
  return [
    ...SCALES[grid.scale].differences,
    ...(repairs
      ? [
          'ASR leaves images of the target class out (BackdoorBench); the paper’s CIFAR-10 figures near 8 to 10 % are the floor of an ASR that counts them, so the second ASR counts them too and Δ ASR compares that one. Its CIFAR-100 figures lie below such a floor: there compare the first',
        ]
      : []),
    ...(attacks.includes('blended')
      ? ['Blended blends in our synthetic picture (“synthetic trigger”), not the published one']
      : []),
    ...(attacks.includes('sig')
      ? ['SIG is not in the paper: it keeps labels, and the target class holds 10 % of the rows']
      : []),
    ...(attacks.includes('none') ? ['the clean model is not in the paper: a defence should leave it alone'] : []),
    ...(table.counts === null
      ? []
      : [
          'the paper names neither attack nor rate nor data set for this table [A: CIFAR-10, BadNets, 10 %]',
          'stage 2 takes the same number of steps at every n, so that n alone varies',
        ]),
    ...(repairs
      ? [
          '“paper” is the published recipe, its open constants assumed [A]; every card lists them. “default” is ours. “oracle” and “random” are controls that draw D_c from rows known to be clean, and at random from rows classified as labelled',
        ]
      : []),
    ...(methods.length === 0 ? [] : methodDifferences(grid, methods)),
    ...(detects ? detectorDifferences(grid, table) : []),
    'purity is that of D_c inside the target label; base is the share of poison in that label; AUROC is that of the score inside it. ◀ marks the stage that the gate returned',
    ...mixtureOf(lines),
    ...(table.seeds.length === 1 ? ['one seed: no spread is known'] : ['mean ± sample standard deviation over seeds']),
    ...(missing.length === 0 ? [] : [`not in this build: ${missing.join(', ')}`]),
    `the paper’s figures: ${PAPER_SOURCE}`,
  ];
}

/** Cells are kept whatever computed them. */
function mixtureOf(lines: readonly TableLine[]): readonly string[] {
  const machines = [...new Set(lines.flatMap((line) => line.machines))].sort();
  if (machines.length < 2) return [];
  return [
    `not computed on one machine: ${machines.join('; ')}. Seconds and memory are not to be compared between them, and what “auto” precision computes in differs`,
  ];
}

/** What the sentences of `differencesOf` are headed by: the tables that stand apart are not the paper's. */
export function differencesHeading({ apart }: GridTable): string {
  return apart === true ? 'How to read these figures' : 'What differs from the paper';
}

function isDetector({ kind }: GridColumn): boolean {
  return kind === 'detector' || kind === 'inspection';
}

/** What methods are given, whose figures of the paper stand beside them, and what the scale changes of each. */
function methodDifferences(grid: Grid, methods: readonly MethodColumn[]): readonly string[] {
  const { cleanShare, methods: overlays } = SCALES[grid.scale];
  const percent = Number((100 * (grid.cleanShare ?? cleanShare)).toPrecision(6));
  const needClean = methods.filter(({ name }) => METHODS[name].needs.clean).map(({ name }) => name);
  const printed = methods.flatMap(({ name, paper }) =>
    paper === null || name === 'none' ? [] : [`${name} (${paper})`],
  );
  const changed = methods.flatMap(({ name }) => {
    const defaults: object = METHODS[name].defaults;
    const own = Object.entries(overlays[name] ?? {}).filter(
      ([field, value]) => !isDeepStrictEqual(value, Reflect.get(defaults, field)),
    );
    const said = own.map(([field, value]) => `${field} ${value} (${Reflect.get(defaults, field)})`);
    const { note } = METHODS[name] as Pick<Method, 'note'>;
    return [
      ...(note === undefined ? [] : [`${name}: ${note}`]),
      ...(said.length === 0 ? [] : [`${name} differs from its defaults: ${said.join(', ')}`]),
    ];
  });
  return [
    ...(needClean.length === 0
      ? []
      : [
          `${needClean.join(', ')}: given ${percent} % of the training set as it was before the poison, drawn as BackdoorBench draws it (Python’s random.sample, seeded by the victim’s seed), which PAD-FT is not; images of rows that were poisoned are among them, unpoisoned`,
        ]),
    ...(printed.length === 0 ? [] : [`beside ${printed.join(', ')}: the paper’s figures of that name`]),
    ...changed,
  ];
}

function detectorDifferences({ scale }: Grid, { defenses }: GridTable): readonly string[] {
  const unfit = SCALES[scale].unfit.filter((name) => !defenses.includes(name));
  return [
    'nothing is repaired: each purifier scores every row, sce under the preset “paper”, the others under “default”; all are given the victim and the poisoned set and no clean image, mm-bd the victim alone',
    'AUROC and the TPR at an FPR of 1 % and of 5 % are those of the score, over rows that the victim classifies as labelled; suspects’ TPR and FPR those of the rows that the verdict names, over all rows: none where a detector gives scores and no verdict',
    ...(unfit.length === 0 ? [] : [`left out, since these data are not for it: ${unfit.join(', ')}`]),
  ];
}
