import { DATASETS, type DatasetSource, isDatasetName } from '../datasets/index.js';
import { type Device, type Precision, resolveDevice } from '../device.js';
import { invalidOption, isAbort, PadFtError } from '../errors.js';
import type { Evaluation } from '../evaluate.js';
import { requireFolder } from '../formats/folder.js';
import { counted } from '../formats/plural.js';
import { integer } from '../options.js';
import { findTraining, isTrainingAskedFor } from './adopt.js';
import { type CellGroup, expandGrid, groupCells, type TableCells } from './cells.js';
import { groupUnits, type PendingGroup } from './estimate.js';
import { type CellState, type GridStates, stateOf } from './figures.js';
import { chooseGrid, type Grid, type GridChoice, missingAttacks, paperGrid } from './grid.js';
import type { CellFailure, GroupEvent } from './group.js';
import { readJudgement } from './judgement.js';
import { type PooledTask, runPool } from './pool.js';
import { writeReport } from './report-files.js';
import type { ScaleName } from './scales.js';
import { CellStore } from './store.js';
import { measureThroughput, type Throughput } from './throughput.js';

export interface ReproduceOptions extends GridChoice {
  /** A table's name (`table1`, `table2`, `table3`, `methods`, `detectors`), or `all`: the paper's three. */
  readonly what: string;
  /** Of the paper's own grid. Defaults to `paper`. */
  readonly scale?: ScaleName | undefined;
  /** Another grid than the paper's (`readGrid`); it has a scale of its own. */
  readonly grid?: Grid | undefined;
  /**
   * Where everything is written and found again. Defaults to `reproduction-SCALE`, with a grid of one's own to
   * `reproduction`.
   */
  readonly out?: string | undefined;
  /** Folders of victims that `pad-ft train` made: one from the same data and settings is taken instead of trained. */
  readonly victims?: readonly string[] | undefined;
  /** Where the data lies: `path` or `download`, for data sets that are read from files. */
  readonly dataPlace?: { readonly path?: string | undefined; readonly download?: boolean | undefined } | undefined;
  /**
   * Writes the defended models beside their cards; so it is when this is left out, but then what was finished without
   * them stays as it is. `true` makes that again.
   */
  readonly keepModels?: boolean | undefined;
  /** Groups at a time, each in a process of its own; 1, the default, runs them here. */
  readonly jobs?: number | undefined;
  /** One for each of the `jobs` at most, which keep theirs and share where they are more. Defaults to `auto`. */
  readonly devices?: readonly Device[] | undefined;
  readonly precision?: Precision | undefined;
  /** Processor threads of each child process; here they are the caller's business. */
  readonly threads?: number | undefined;
  /** The command line, for the cards. */
  readonly command?: readonly string[] | undefined;
}

/** What `victims` names. */
const VICTIM_FOLDER = 'name a folder of victims that `pad-ft train` made';

/** Where the grid stands: cells are defences. */
export interface GridProgress {
  readonly done: number;
  readonly failed: number;
  readonly total: number;
}

export type ReproduceEvent = GroupEvent | ({ readonly type: 'grid' } & GridProgress);

export interface ReproduceContext {
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: ReproduceEvent) => void) | undefined;
}

/** A cell as a plan lists it. */
export interface PlannedCell {
  readonly name: string;
  readonly key: string;
  readonly state: CellState['state'];
}

/** What a run would do. */
export interface ReproductionPlan {
  readonly cells: readonly PlannedCell[];
  /** Victims with something pending, and what it takes: forward units (`estimate.ts`) and seconds. */
  readonly groups: readonly {
    readonly name: string;
    readonly trains: boolean;
    readonly units: number;
    readonly seconds: number;
  }[];
  readonly units: number;
  /** Of all groups one after another. */
  readonly seconds: number;
  /** Null when nothing is pending. */
  readonly throughput: Throughput | null;
  /** What would stop it before it began: data that are not there. */
  readonly problems: readonly string[];
}

export interface Reproduction extends GridProgress {
  readonly out: string;
  /** Cells whose attack this build lacks. */
  readonly skipped: number;
  readonly failures: readonly CellFailure[];
  /** The tables and figures that were written. */
  readonly files: readonly string[];
}

/**
 * Reproduces the paper's tables: finds or trains every victim of the grid, runs every defence on it, and writes tables
 * with our figures beside the paper's. Each cell is kept under what it depends on: a run that was stopped goes on where
 * it was, and a changed option runs again what depends on it.
 *
 * @throws PadFtError ERR_OPTION, ERR_FILE_WRITE; ERR_FILE_MISSING before anything begins, when a folder of `victims` or
 * data that a pending cell needs are not there; ERR_ABORTED when the signal was raised, with everything finished kept. A
 * cell that fails throws nothing: it is in `failures` and in the tables
 */
export async function reproduce(options: ReproduceOptions, context: ReproduceContext = {}): Promise<Reproduction> {
  const { grid, tables, groups, store } = await prepare(options);
  const { jobs = 1, devices = ['auto'] } = options;
  const say = context.onEvent ?? (() => {});
  const missing = missingAttacks(grid);
  if (missing.length > 0) {
    say({ type: 'warning', message: `not in this build, skipped: ${missing.join(', ')}` });
  }
  const known = await readStates(store, groups);
  const failures: CellFailure[] = [];
  const standing = () => progressOf(groups, known);
  const tasks = groups
    .map((group) => pendingOf(group, known))
    .filter((group) => group !== null)
    .map((group): PooledTask => {
      const { out } = store;
      const { victims = [], keepModels = true, precision = 'auto', command = null } = options;
      const dataPlace = group.victim.dataset === 'synthetic' ? {} : given(options.dataPlace ?? {});
      return { ...group, out, adoptFrom: victims, dataPlace, keepModels, precision, command };
    });
  // Before hours of training, not after them.
  const absent = await absentData(tasks, options);
  if (absent !== null) throw absent;
  say({ type: 'grid', ...standing() });
  let files = await writeReport(store.out, grid, tables, known);
  const report = async (group: CellGroup, failed: readonly CellFailure[]) => {
    failures.push(...failed);
    await refresh(store, group, failed, known);
    say({ type: 'grid', ...standing() });
    files = await writeReport(store.out, grid, tables, known);
  };
  try {
    const { threads } = options;
    await runPool(tasks, { jobs, devices, threads, signal: context.signal, onEvent: say, onGroup: report });
  } catch (error) {
    if (!isAbort(error)) throw error;
    for (const group of groups) await refresh(store, group, [], known);
    await writeReport(store.out, grid, tables, known);
    const { done, total } = standing();
    const message = `stopped with ${done} of ${counted(total, 'cell')} done; the same command goes on from there`;
    throw new PadFtError('ERR_ABORTED', message, { details: { done, total, out: store.out }, cause: error });
  }
  const skipped = groups.filter(({ victim }) => !victim.available).flatMap(({ defenses }) => defenses).length;
  return { out: store.out, ...standing(), skipped, failures, files };
}

/**
 * What `reproduce` would do with the same options: every cell with its state, and what is pending in forward units and
 * seconds. Writes nothing.
 *
 * @throws PadFtError ERR_OPTION, ERR_DEVICE, ERR_ADDON; ERR_FILE_MISSING for a folder of `victims`
 */
export async function planReproduction(options: ReproduceOptions): Promise<ReproductionPlan> {
  const { groups, store } = await prepare(options);
  const known = await readStates(store, groups);
  const cells = groups.flatMap(({ defenses }) =>
    defenses.map((cell) => ({ name: cell.name, key: cell.key, state: stateOf(cell, known).state })),
  );
  const device = resolveDevice(options.devices?.[0]);
  const folders = [...(options.victims ?? []), store.victims];
  const pending: PendingGroup[] = [];
  for (const group of groups) {
    const part = pendingOf(group, known);
    if (part === null) continue;
    const { victim } = group;
    const trains = (await findTraining(folders, (training) => isTrainingAskedFor(training, victim))) === null;
    pending.push({ ...part, trains, judges: !known.victims.has(group.victim.key) });
  }
  const first = pending[0];
  const throughput = first === undefined ? null : await measureThroughput(first.victim, folders, device);
  const perSecond = throughput?.unitsPerSecond ?? 1;
  const estimates = pending.map((group) => {
    const units = groupUnits(group);
    return { name: group.victim.name, trains: group.trains, units, seconds: units / perSecond };
  });
  const units = estimates.reduce((sum, group) => sum + group.units, 0);
  const absent = await absentData(pending, options);
  const problems = absent === null ? [] : [`${absent.code}: ${absent.message}`];
  return { cells, groups: estimates, units, seconds: units / perSecond, throughput, problems };
}

interface Prepared {
  readonly grid: Grid;
  readonly tables: readonly TableCells[];
  readonly groups: readonly CellGroup[];
  readonly store: CellStore;
}

async function prepare(options: ReproduceOptions): Promise<Prepared> {
  checkLanes(options);
  const grid = chooseGrid(options.grid ?? paperGrid(options.scale ?? 'paper'), options.what, options);
  checkPlace(grid, options);
  for (const folder of options.victims ?? []) await requireFolder(folder, VICTIM_FOLDER);
  const tables = expandGrid(grid, options.precision);
  const store = new CellStore(options.out ?? defaultFolder(options), { models: options.keepModels });
  return { grid, tables, groups: groupCells(tables), store };
}

/**
 * A folder a scale: the tables of one have the names of another's.
 *
 * @internal Exported for its test.
 */
export function defaultFolder({ grid, scale = 'paper' }: Pick<ReproduceOptions, 'grid' | 'scale'>): string {
  return grid === undefined ? `reproduction-${scale}` : 'reproduction';
}

/** What to say of data sets that pending cells need and that are not there; null where all are. */
async function absentData(groups: readonly CellGroup[], { dataPlace }: ReproduceOptions): Promise<PadFtError | null> {
  const names = new Set(groups.flatMap(({ victim }) => (victim.available ? [victim.dataset] : [])));
  const absent: { readonly name: string; readonly error: PadFtError }[] = [];
  for (const name of names) {
    const source: DatasetSource<object> = DATASETS[name];
    await source.locate?.(given(dataPlace ?? {})).catch((error: unknown) => {
      if (!(error instanceof PadFtError) || error.code !== 'ERR_FILE_MISSING') throw error;
      absent.push({ name, error });
    });
  }
  if (absent.length === 0) return null;
  const others = [...names].filter((name) => absent.every((it) => it.name !== name));
  const said = absent.map(({ error }) => error.message);
  if (others.length > 0) said.push(`or leave out the cells of other data sets than ${others.join(', ')}`);
  const details = { missing: absent.map(({ name }) => name) };
  return new PadFtError('ERR_FILE_MISSING', said.join('; '), { details, cause: absent[0]?.error });
}

/** A device without a job of its own would stand idle. ERR_OPTION */
function checkLanes({ jobs = 1, devices = ['auto'] }: ReproduceOptions): void {
  integer('jobs', jobs, 1, 256);
  if (devices.length < 1 || devices.length > jobs) {
    throw invalidOption('devices', `from one to as many as there are jobs (${jobs})`, devices.join(', '));
  }
}

/** Where no data set is read from files, nobody asks where they lie. ERR_OPTION */
function checkPlace({ tables }: Grid, { dataPlace = {} }: ReproduceOptions): void {
  const [first] = Object.keys(given(dataPlace));
  const names = [...new Set(tables.flatMap(({ datasets }) => datasets))].filter(isDatasetName);
  const sources = names.map((name): DatasetSource<object> => DATASETS[name]);
  if (first === undefined || sources.some(({ locate }) => locate !== undefined)) return;
  const message = `dataPlace.${first}: ${names.join(', ')} is made, not read from files; leave it out`;
  throw new PadFtError('ERR_OPTION', message, { details: { path: `dataPlace.${first}`, datasets: names } });
}

interface KnownStates extends GridStates {
  readonly defenses: Map<string, CellState>;
  readonly victims: Map<string, Evaluation>;
}

async function readStates(store: CellStore, groups: readonly CellGroup[]): Promise<KnownStates> {
  const known: KnownStates = { defenses: new Map(), victims: new Map() };
  for (const group of groups) await refresh(store, group, [], known);
  return known;
}

/** Looks again at a group's cells; what failed stays failed. */
async function refresh(
  store: CellStore,
  { victim, defenses }: CellGroup,
  failed: readonly CellFailure[],
  known: KnownStates,
): Promise<void> {
  for (const cell of defenses) {
    const card = await store.card(cell);
    if (card !== null) known.defenses.set(cell.key, { state: 'done', card });
  }
  for (const { key, code, message } of failed) known.defenses.set(key, { state: 'failed', code, message });
  const judgement = await readJudgement(store.victimFolder(victim), null, null);
  if (judgement !== null) known.victims.set(victim.key, judgement.evaluation);
}

function pendingOf({ victim, defenses }: CellGroup, known: GridStates): CellGroup | null {
  const pending = defenses.filter((cell) => stateOf(cell, known).state === 'pending');
  return pending.length === 0 ? null : { victim, defenses: pending };
}

function progressOf(groups: readonly CellGroup[], known: GridStates): GridProgress {
  const states = groups.flatMap(({ defenses }) => defenses.map((cell) => stateOf(cell, known).state));
  const count = (state: CellState['state']) => states.filter((it) => it === state).length;
  return { done: count('done'), failed: count('failed'), total: states.length - count('not in this build') };
}

function given(options: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
