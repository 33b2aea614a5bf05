import { ATTACKS, isAttackName } from '../attacks/index.js';
import { DATASETS, type DatasetName, type DatasetSource, isDatasetName } from '../datasets/index.js';
import { type DefenseRequest, type PlannedDefense, planDefenses } from '../defense-request.js';
import { type MethodName, planMethod } from '../defenses/methods/index.js';
import { type InspectSettings, inspectSettings } from '../defenses/mm-bd/inspect.js';
import { type PadFtOptions, type PadFtSettings, padFtSettings } from '../defenses/pad-ft/index.js';
import { purifyBasis } from '../defenses/pad-ft/purify.js';
import type { Precision } from '../device.js';
import { invalidOption } from '../errors.js';
import { POISON_DEFAULTS, type PoisonSettings } from '../poisoned-set.js';
import type { CleanDraw } from '../report/card.js';
import type { TrainSettings } from '../train.js';
import { contentKey } from './canonical-json.js';
import { type DefenseColumn, type DetectorColumn, findColumn, type GridColumn } from './defenses.js';
import { type Grid, type GridAttack, type GridTable, NO_ATTACK } from './grid.js';
import { SCALES, type Scale, trainSettings } from './scales.js';

/**
 * Each is raised when the same settings would make something else than before: no cell of the kind is taken over then. A
 * method has a `revision` of its own besides.
 */
const VICTIM_FORMAT = 1;
const DEFENSE_FORMAT = 5;
const METHOD_FORMAT = 2;
const DETECTOR_FORMAT = 1;
const INSPECTION_FORMAT = 1;

/** A victim of the grid: one training, named by what it depends on and by nothing else. */
export interface VictimCell {
  /** SHA-256 of data set, poisoning and training. */
  readonly key: string;
  /** For people: `cpu-cifar10-badnets-10pct-s0`. */
  readonly name: string;
  /** Inside `victims/`: the name and the key's beginning. */
  readonly folder: string;
  readonly dataset: DatasetName;
  /** Those that change the data; where it lies (`path`, `download`) is not among them. */
  readonly datasetOptions: Readonly<Record<string, unknown>>;
  /** The attack as the grid names it; `none` for a clean model. */
  readonly attack: string;
  /** How policy and options differ from the attack's defaults, for people: `all-to-all, patchSize 5`; mostly empty. */
  readonly variant: string;
  readonly rate: number;
  readonly seed: number;
  /** False when the attack is not in this build: the cell is listed and skipped. */
  readonly available: boolean;
  readonly poison: Partial<PoisonSettings>;
  /** `flip` is left out: it goes by the data set. */
  readonly train: Partial<TrainSettings>;
}

interface AnyCell {
  /** SHA-256 of the victim's key and everything else that the cell depends on. */
  readonly key: string;
  readonly name: string;
  /** Inside `defenses/`. */
  readonly folder: string;
  readonly victim: VictimCell;
  /** Of `COLUMN_NAMES`. */
  readonly column: string;
  /** n when the table varies it; null keeps the defence's own. */
  readonly count: number | null;
}

/** PAD-FT on a victim, or on a drawn D_c. */
export interface PadFtCell extends AnyCell {
  readonly kind: 'defense';
  readonly request: DefenseRequest;
  readonly planned: PlannedDefense;
}

/** Another method on a victim. */
export interface MethodCell extends AnyCell {
  readonly kind: 'method';
  readonly method: MethodName;
  /** Complete. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly seed: number;
  /** Null for a method that needs no clean images. */
  readonly clean: CleanRequest | null;
}

/** How clean images are drawn; which classes lack one is seen with the data. */
export type CleanRequest = Omit<CleanDraw, 'added'>;

/** A purifier on a victim, without a repair. */
export interface DetectorCell extends AnyCell {
  readonly kind: 'detector';
  readonly settings: PadFtSettings;
}

/** MM-BD on a victim. */
export interface InspectionCell extends AnyCell {
  readonly kind: 'inspection';
  readonly settings: InspectSettings;
}

/** Whatever is done to a victim and kept under a key of its own, as plain data. */
export type DefenseCell = PadFtCell | MethodCell | DetectorCell | InspectionCell;

/** A row of a table: a victim and its defences in the table's order. */
export interface TableCells {
  readonly table: GridTable;
  readonly victims: readonly { readonly victim: VictimCell; readonly defenses: readonly DefenseCell[] }[];
}

/** A victim and everything that the grid asks for of it, in whichever tables: what runs in one go. */
export interface CellGroup {
  readonly victim: VictimCell;
  readonly defenses: readonly DefenseCell[];
}

/**
 * Every cell of the grid, table by table. `precision` is that of training, judging and defence alike.
 *
 * @throws PadFtError ERR_OPTION for a setting out of range
 */
export function expandGrid(grid: Grid, precision: Precision = 'auto'): readonly TableCells[] {
  const own = SCALES[grid.scale];
  const scale = { ...own, cleanShare: grid.cleanShare ?? own.cleanShare };
  return grid.tables.map((table) => {
    const victims = victimsOf(grid, table, { ...scale, train: { ...scale.train, precision } });
    return {
      table,
      victims: victims.map((victim) => ({ victim, defenses: defensesOf(victim, table, scale) })),
    };
  });
}

/** The cells without repetition: what several tables share is one cell. */
export function groupCells(tables: readonly TableCells[]): readonly CellGroup[] {
  const groups = new Map<string, { victim: VictimCell; defenses: Map<string, DefenseCell> }>();
  for (const { victim, defenses } of tables.flatMap(({ victims }) => victims)) {
    const group = groups.get(victim.key) ?? { victim, defenses: new Map() };
    groups.set(victim.key, group);
    for (const defense of defenses) if (!group.defenses.has(defense.key)) group.defenses.set(defense.key, defense);
  }
  return Array.from(groups.values(), ({ victim, defenses }) => ({ victim, defenses: [...defenses.values()] }));
}

function victimsOf(grid: Grid, table: GridTable, scale: Scale): VictimCell[] {
  const found = new Map<string, VictimCell>();
  for (const dataset of table.datasets) {
    for (const attack of table.attacks) {
      for (const rate of table.rates) {
        for (const seed of table.seeds) {
          const cell = victimCell(grid.scale, scale, dataset, attack, rate, seed);
          // A clean model is the same at every rate.
          if (!found.has(cell.key)) found.set(cell.key, cell);
        }
      }
    }
  }
  return [...found.values()];
}

function victimCell(
  scaleName: string,
  scale: Scale,
  dataset: string,
  { attack, policy, options }: GridAttack,
  asked: number,
  seed: number,
): VictimCell {
  if (!isDatasetName(dataset)) throw invalidOption('datasets', 'a data set of this build', dataset);
  const rate = attack === NO_ATTACK ? 0 : asked;
  const { draw, ...common } = scale.poison;
  const drawn = draw !== undefined && !poisonsBatches(attack) ? { draw } : {};
  const poison = { ...common, ...drawn, ...poisonOf(attack, policy, options), rate, seed };
  const train = trainSettings(scale, attack, seed);
  const datasetOptions = scale.datasetOptions[dataset] ?? {};
  const { version }: DatasetSource<object> = DATASETS[dataset];
  const key = contentKey({
    format: VICTIM_FORMAT,
    dataset: { name: dataset, options: datasetOptions, ...(version === undefined ? {} : { version }) },
    // At rate 0 nothing of the poisoning matters, its seed included.
    poison: rate === 0 ? { rate } : { ...POISON_DEFAULTS, ...poison, attack },
    train,
  });
  const variant = [policy, options && contentKey(options).slice(0, 6)].filter((part) => part !== undefined);
  const name = [scaleName, dataset, attack, ...(rate === 0 ? [] : [`${percentOf(rate)}pct`]), ...variant, `s${seed}`];
  return {
    key,
    name: name.join('-'),
    folder: `${name.join('-')}-${key.slice(0, 12)}`,
    dataset,
    datasetOptions,
    attack,
    variant: rate === 0 ? '' : variantOf(attack, policy, options),
    rate,
    seed,
    available: attack === NO_ATTACK || isAttackName(attack),
    poison,
    train,
  };
}

/** True for an attack that draws no rows: how a scale draws them is not its business. */
function poisonsBatches(attack: string): boolean {
  return isAttackName(attack) && ATTACKS[attack].poisonsBatches;
}

/** The attack with its defaults spelt out, so that a default that changes makes another cell. */
function poisonOf(
  attack: string,
  policy: GridAttack['policy'],
  options: GridAttack['options'],
): Pick<Partial<PoisonSettings>, 'attack' | 'policy' | 'attackOptions'> {
  if (!isAttackName(attack)) return { ...(policy && { policy }), ...(options && { attackOptions: options }) };
  const { policies, defaults } = ATTACKS[attack];
  const first = policies[0];
  const own = policy ?? first;
  return { attack, ...(own && { policy: own }), attackOptions: { ...defaults, ...options } };
}

/** What is not the attack's own default; for an attack that this build lacks, whatever was named. */
function variantOf(attack: string, policy: GridAttack['policy'], options: GridAttack['options']): string {
  const own = isAttackName(attack) ? ATTACKS[attack] : undefined;
  const changed = Object.entries(options ?? {}).filter(
    ([name, value]) => own === undefined || Reflect.get(own.defaults, name) !== value,
  );
  return [
    ...(policy === undefined || policy === own?.policies[0] ? [] : [policy]),
    ...changed.map(([name, value]) => `${name} ${value}`).sort(),
  ].join(', ');
}

function defensesOf(victim: VictimCell, { defenses, counts }: GridTable, scale: Scale): DefenseCell[] {
  return defenses.flatMap((name) => {
    const column = findColumn(name);
    if (column === undefined) throw invalidOption('defenses', 'a defence of this build', name);
    if (column.kind !== 'defense') return [cellOf(victim, column, scale)];
    return (counts ?? [null]).map((count) => padFtCell(victim, column, count, scale));
  });
}

function padFtCell(victim: VictimCell, column: DefenseColumn, count: number | null, scale: Scale): PadFtCell {
  const options = overlay(overlay(column.request.options, scale.defense), count === null ? {} : { purify: { count } });
  const request = { ...column.request, options: { seed: victim.seed, ...options } };
  const planned = planOne(request, victim.seed);
  const { control, settings } = planned;
  const { revision, purify } = purifyBasis(settings.purify);
  const { gatePrice, ...others } = settings;
  // Nothing reads the price where the gate is off.
  const gated = settings.holdout === 0 ? others : { ...others, gatePrice };
  const own = { victim: victim.key, control, settings: { ...gated, purify } };
  const key = contentKey({ format: DEFENSE_FORMAT, purify: revision, ...own });
  return { kind: 'defense', ...named(victim, column.name, count, key), request, planned };
}

function cellOf(victim: VictimCell, column: Exclude<GridColumn, DefenseColumn>, scale: Scale): DefenseCell {
  switch (column.kind) {
    case 'method':
      return methodCell(victim, column.name, scale);
    case 'detector':
      return detectorCell(victim, column, scale);
    case 'inspection': {
      const settings = inspectSettings({ seed: victim.seed, ...scale.inspection });
      const key = contentKey({ format: INSPECTION_FORMAT, victim: victim.key, settings });
      return { kind: 'inspection', ...named(victim, column.name, null, key), settings };
    }
  }
}

function methodCell(victim: VictimCell, method: MethodName, { methods, cleanShare }: Scale): MethodCell {
  const { seed } = victim;
  const planned = planMethod(method, methods[method]);
  const { needs, basis, revision } = planned.method;
  const settings = { ...planned.settings };
  const clean = needs.clean ? { share: cleanShare, draw: 'backdoorbench' as const, seed } : null;
  const own = { method, settings, seed, clean, basis: basis?.(seed), revision };
  const key = contentKey({ format: METHOD_FORMAT, victim: victim.key, ...own });
  return { kind: 'method', ...named(victim, method, null, key), method, settings, seed, clean };
}

function detectorCell(victim: VictimCell, { name, options }: DetectorColumn, scale: Scale): DetectorCell {
  const settings = padFtSettings({ seed: victim.seed, ...overlay(options, scale.defense) });
  const { clip, holdout, seed } = settings;
  // How the model would be repaired is nothing to a detector, but for the bounds that clip-drop scores under.
  const bounds = settings.purify.purifier === 'clip-drop' ? clip : null;
  const own = { ...purifyBasis(settings.purify), holdout, seed, bounds };
  const key = contentKey({ format: DETECTOR_FORMAT, victim: victim.key, ...own });
  return { kind: 'detector', ...named(victim, name, null, key), settings };
}

function named(victim: VictimCell, column: string, count: number | null, key: string): AnyCell {
  const name = `${victim.name}-${column}${count === null ? '' : `-n${count}`}`;
  // n is in the key: where it is the defence's own, tables that vary it and tables that do not share the cell.
  return { key, name, folder: `${victim.name}-${column}-${key.slice(0, 12)}`, victim, column, count };
}

/** A request with every setting filled in; `flip` as the data set says, once it is loaded. */
export function planOne(request: DefenseRequest, seed: number, flip = true): PlannedDefense {
  // One request makes one plan.
  return planDefenses([request], { seed, flip })[0] as PlannedDefense;
}

function overlay(base: PadFtOptions, over: PadFtOptions): PadFtOptions {
  return {
    ...base,
    ...over,
    purify: { ...base.purify, ...over.purify },
    clip: { ...base.clip, ...over.clip },
    tune: { ...base.tune, ...over.tune },
  };
}

function percentOf(rate: number): string {
  return String(Number((100 * rate).toPrecision(6)));
}
