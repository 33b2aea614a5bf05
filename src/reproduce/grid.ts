import { ATTACK_NAMES } from '../attacks/index.js';
import { LABEL_POLICIES, type LabelPolicyName } from '../attacks/labels.js';
import { DATASETS, isDatasetName } from '../datasets/index.js';
import { invalidOption } from '../errors.js';
import { readJsonFile } from '../formats/json-file.js';
import {
  type Check,
  checkFile,
  count,
  finite,
  flag,
  fraction,
  listOf,
  nullable,
  object,
  oneOf,
  optional,
  record,
  text,
  wrong,
} from '../formats/json-shape.js';
import {
  COLUMN_NAMES,
  DEFENSE_NAMES,
  DETECTOR_NAMES,
  PAPER_RIVAL_NAMES,
  PRESET_NAMES,
  RIVAL_NAMES,
} from './defenses.js';
import { SCALE_NAMES, SCALES, type ScaleName } from './scales.js';

/** The attack of a clean model: nothing is poisoned, whatever the rates. */
export const NO_ATTACK = 'none';

export interface GridAttack {
  /** An attack's name; one that this build lacks is listed and skipped. `none`: a clean model. */
  readonly attack: string;
  /** Defaults to the first policy that the attack allows. */
  readonly policy?: LabelPolicyName | undefined;
  /** The attack's own options, where they are not its defaults. */
  readonly options?: Readonly<Record<string, number>> | undefined;
}

/** One table: every data set under every attack at every rate, once a seed, and every defence on each victim. */
export interface GridTable {
  /** Names its file, `NAME.md`. */
  readonly name: string;
  readonly title: string;
  readonly datasets: readonly string[];
  readonly attacks: readonly GridAttack[];
  /** Poison rates, in [0, 1]. */
  readonly rates: readonly number[];
  /** Each feeds poisoning, training and defence. */
  readonly seeds: readonly number[];
  /** Of `COLUMN_NAMES`: presets and controls of PAD-FT, other methods, purifiers by themselves, MM-BD's detector. */
  readonly defenses: readonly string[];
  /** n, the rows of D_c: PAD-FT once for each, all else once; null keeps the defence's own. */
  readonly counts: readonly number[] | null;
  /** True for a table that is made only when it is named: `all` leaves it out. */
  readonly apart?: boolean | undefined;
}

/** What is to be reproduced. */
export interface Grid {
  readonly kind: 'pad-ft-grid';
  readonly version: 1;
  readonly scale: ScaleName;
  /** Share of the training rows that methods get as clean images, in [0, 1]; the scale's when it is left out. */
  readonly cleanShare?: number | undefined;
  readonly tables: readonly GridTable[];
}

/** What may replace the paper's own axes. */
export interface GridChoice {
  readonly datasets?: readonly string[] | undefined;
  readonly attacks?: readonly string[] | undefined;
  readonly seeds?: readonly number[] | undefined;
  readonly defenses?: readonly string[] | undefined;
}

const PAPER_ATTACKS: readonly GridAttack[] = [{ attack: 'badnets' }, { attack: 'blended' }, { attack: 'wanet' }];
const CLEAN: GridAttack = { attack: NO_ATTACK };
/** DBD trains a network anew, so it comes last: a run that is cut short has the others. */
const PAPER_DEFENSES = [...DEFENSE_NAMES, ...PAPER_RIVAL_NAMES];
const RIVALS = { attacks: PAPER_ATTACKS.slice(0, 2), rates: [0.1], apart: true };

/**
 * The paper's tables I to III at a scale. Beside the paper's attacks there are a clean model and, at 5 %, the
 * clean-label attack SIG, whose target class holds but a tenth of the rows. Apart from them: `methods`, PAD-FT beside other
 * ways to repair, and `detectors`, its purifiers beside other people's, on the victims of BadNets and Blended.
 */
export function paperGrid(scale: ScaleName): Grid {
  const { datasets, counts, unfit } = SCALES[scale];
  const fitting = (names: readonly string[]) => names.filter((name) => !unfit.includes(name));
  const common = { datasets, seeds: [0], defenses: PAPER_DEFENSES, counts: null };
  return {
    kind: 'pad-ft-grid',
    version: 1,
    scale,
    tables: [
      {
        ...common,
        name: 'table1',
        title: 'Table I: poison rate 10 %',
        attacks: [...PAPER_ATTACKS, CLEAN],
        rates: [0.1],
      },
      {
        ...common,
        name: 'table2',
        title: 'Table II: poison rate 5 %',
        attacks: [...PAPER_ATTACKS, { attack: 'sig' }, CLEAN],
        rates: [0.05],
      },
      {
        ...common,
        name: 'table3',
        title: 'Table III: the size n of the purified set',
        // The paper does not say on what: CIFAR-10 and BadNets at 10 % [A].
        datasets: datasets.slice(0, 1),
        attacks: [{ attack: 'badnets' }],
        rates: [0.1],
        defenses: PRESET_NAMES,
        counts,
      },
      {
        ...common,
        ...RIVALS,
        name: 'methods',
        title: 'PAD-FT beside other methods: poison rate 10 %',
        defenses: fitting([...RIVAL_NAMES, ...PRESET_NAMES]),
      },
      {
        ...common,
        ...RIVALS,
        name: 'detectors',
        title: 'Detectors of poisoned rows: poison rate 10 %',
        defenses: fitting(DETECTOR_NAMES),
      },
    ],
  };
}

/**
 * The grid with the tables and axes that were asked for: one table, or `all` that do not stand apart. A table keeps
 * those of its attacks that were named; data sets, seeds and defences replace its own.
 *
 * @throws PadFtError ERR_OPTION
 */
export function chooseGrid(grid: Grid, what: string, choice: GridChoice): Grid {
  const names = grid.tables.map(({ name }) => name);
  if (what !== 'all' && !names.includes(what))
    throw invalidOption('reproduce', `all or one of ${names.join(', ')}`, what);
  const asked = grid.tables.filter(({ name, apart }) => (what === 'all' ? apart !== true : name === what));
  const known = new Set(asked.flatMap(({ attacks }) => attacks.map(({ attack }) => attack)));
  const unknown = choice.attacks?.find((attack) => !known.has(attack));
  if (unknown !== undefined) throw invalidOption('attacks', `some of ${[...known].join(', ')}`, unknown);
  const tables = asked.map((table) => ({
    ...table,
    datasets: choice.datasets ?? table.datasets,
    attacks: table.attacks.filter(({ attack }) => choice.attacks?.includes(attack) ?? true),
    seeds: choice.seeds ?? table.seeds,
    // Table III runs over the presets; a control is added to it only by name.
    defenses: choice.defenses ?? table.defenses,
  }));
  const chosen = { ...grid, tables };
  validate(chosen);
  return chosen;
}

function validate({ tables }: Grid): void {
  for (const { name, datasets, seeds, defenses, counts, rates } of tables) {
    for (const dataset of datasets) {
      if (!isDatasetName(dataset))
        throw invalidOption(`${name}.datasets`, `some of ${Object.keys(DATASETS).join(', ')}`, dataset);
    }
    for (const defense of defenses) {
      if (!COLUMN_NAMES.includes(defense))
        throw invalidOption(`${name}.defenses`, `some of ${COLUMN_NAMES.join(', ')}`, defense);
    }
    for (const [axis, values] of Object.entries({ datasets, seeds, defenses, rates, counts: counts ?? [1] })) {
      if (values.length === 0) throw invalidOption(`${name}.${axis}`, 'at least one value', values);
      if (new Set<string | number>(values).size < values.length)
        throw invalidOption(`${name}.${axis}`, 'every value once', values.join(', '));
    }
  }
}

const word: Check<string> = (value, at) => {
  const name = text(value, at);
  if (!/^[a-z0-9][\w-]{0,63}$/i.test(name)) throw wrong(at, 'letters, digits, _ and - (64 at most)', value);
  return name;
};

const numbers: Check<Readonly<Record<string, number>>> = (value, at) =>
  Object.fromEntries(
    Object.entries(record(value, at)).map(([name, option]) => [
      name,
      finite(option, { ...at, path: `${at.path}.${name}` }),
    ]),
  );

const checkGrid = object<Grid>({
  kind: oneOf(['pad-ft-grid']),
  version: oneOf([1]),
  scale: oneOf(SCALE_NAMES),
  cleanShare: optional(fraction),
  tables: listOf(
    object<GridTable>({
      name: word,
      title: text,
      datasets: listOf(word),
      attacks: listOf(
        object<GridAttack>({ attack: word, policy: optional(oneOf(LABEL_POLICIES)), options: optional(numbers) }),
      ),
      rates: listOf(fraction),
      seeds: listOf(count),
      defenses: listOf(word),
      counts: nullable(listOf(count)),
      apart: optional(flag),
    }),
  ),
});

/**
 * Reads a grid of one's own: the JSON form of `Grid`, every field given and no other.
 *
 * @throws PadFtError ERR_FILE_MISSING, ERR_FILE_FORMAT with the path of the first wrong field
 */
export async function readGrid(path: string): Promise<Grid> {
  return checkFile(checkGrid, await readJsonFile(path), path);
}

/** Attacks that a grid names and this build lacks. */
export function missingAttacks({ tables }: Grid): readonly string[] {
  const named = new Set(tables.flatMap(({ attacks }) => attacks.map(({ attack }) => attack)));
  return [...named].filter((attack) => attack !== NO_ATTACK && !ATTACK_NAMES.some((name) => name === attack));
}
