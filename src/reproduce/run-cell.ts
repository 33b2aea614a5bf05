import type { DatasetPair } from '../datasets/index.js';
import { type DefenseBench, defendAndJudge, detectAndJudge, repairAndJudge } from '../defend-and-judge.js';
import { checkMethodRequest, planMethod } from '../defenses/methods/index.js';
import { inspect } from '../defenses/mm-bd/inspect.js';
import type { PurifierName } from '../defenses/pad-ft/options.js';
import { resolvePrecision } from '../device.js';
import { openFolder } from '../formats/folder.js';
import { CARD_FILE, type CardFile, type RunCard } from '../report/card.js';
import {
  DEFENDED,
  defenseFiles,
  openDefenseFolder,
  removeRun,
  saveDefense,
  saveModelFile,
  savePurification,
} from '../report/defense-files.js';
import { type CardPrecision, defensePrecision, methodPrecision } from '../report/environment.js';
import {
  type DefenseCell,
  type DetectorCell,
  type InspectionCell,
  type MethodCell,
  type PadFtCell,
  planOne,
} from './cells.js';
import { cleanImages } from './clean-images.js';

/** What a cell is run on. */
export interface CellBench extends DefenseBench {
  /** The data before the poison: the clean images of methods that need some come from it. */
  readonly pair: DatasetPair;
  /** The cell's own folder. */
  readonly home: string;
  readonly keepModels: boolean;
}

/** The part of a card that is the cell's own. */
export interface CellResult {
  readonly config: Pick<RunCard['config'], 'defenses' | 'methods' | 'detectors'>;
  readonly seeds: readonly number[];
  /** Of training: null where the cell trained nothing. */
  readonly precision: CardPrecision;
  readonly files: readonly CardFile[];
  readonly rows: Pick<RunCard, 'rows' | 'methods' | 'detections' | 'inspections'>;
}

/**
 * Runs one cell on a victim and judges it. What an earlier run left in its folder is taken away before the work starts;
 * models and suspects are written where they are to be kept, the card is the caller's business.
 *
 * @throws PadFtError whatever the defence throws, ERR_FILE_WRITE
 */
export function runCell(cell: DefenseCell, bench: CellBench): Promise<CellResult> {
  switch (cell.kind) {
    case 'defense':
      return runPadFt(cell, bench);
    case 'method':
      return runMethod(cell, bench);
    case 'detector':
      return runDetector(cell, bench);
    case 'inspection':
      return runInspection(cell, bench);
  }
}

async function runPadFt({ name, request, victim }: PadFtCell, bench: CellBench): Promise<CellResult> {
  const { home, keepModels, set } = bench;
  const planned = planOne(request, victim.seed, set.flip);
  await openFolder(home, [CARD_FILE, ...Object.values(defenseFiles(planned.name))]);
  await removeRun(home, [planned.name]);
  const files: CardFile[] = [];
  const row = await defendAndJudge(
    bench,
    planned,
    async (result) => {
      if (keepModels) files.push(...(await saveDefense(home, planned.name, result)));
    },
    name,
  );
  return {
    config: { defenses: [planned] },
    seeds: [planned.settings.seed],
    precision: precisionOf(bench, [planned.settings.purify.purifier]),
    files,
    rows: { rows: [row] },
  };
}

async function runMethod(
  { method, settings, seed, clean: request }: MethodCell,
  bench: CellBench,
): Promise<CellResult> {
  const { home, keepModels, set, pair, victim, evaluation } = bench;
  const planned = planMethod(method, settings);
  const drawn = request && cleanImages(pair.train, request, victim.device);
  using clean = drawn?.images ?? null;
  await checkMethodRequest(planned, { victim, training: set.train, clean, flip: set.flip, seed }, evaluation);
  await openDefenseFolder(home);
  const files: CardFile[] = [];
  const row = await repairAndJudge(bench, planned, { clean, seed }, async (model) => {
    if (keepModels) files.push(await saveModelFile(home, DEFENDED, model));
  });
  const { revision } = planned.method;
  const used = { name: method, settings, seed, revision, flip: set.flip, clean: drawn?.draw ?? null };
  return {
    config: { defenses: [], methods: [used] },
    seeds: [],
    precision: methodPrecision(planned.method.computes, evaluation.precision ?? 'auto', victim.device),
    files,
    rows: { rows: [], methods: [row] },
  };
}

async function runDetector({ name, column, settings }: DetectorCell, bench: CellBench): Promise<CellResult> {
  const { home, keepModels } = bench;
  await openDefenseFolder(home);
  const files: CardFile[] = [];
  const row = await detectAndJudge(
    bench,
    { name: column, settings },
    async (purification) => {
      if (keepModels) files.push(...(await savePurification(home, purification)));
    },
    name,
  );
  return {
    config: { defenses: [], detectors: [{ name: column, settings }] },
    seeds: [],
    precision: precisionOf(bench, [settings.purify.purifier]),
    files,
    rows: { rows: [], detections: [row] },
  };
}

async function runInspection({ column, settings }: InspectionCell, bench: CellBench): Promise<CellResult> {
  const { home, victim, evaluation, say } = bench;
  await openDefenseFolder(home);
  say({ type: 'stage', stage: 'defend', text: `detecting: ${column}` });
  const { precision = 'auto', signal } = evaluation;
  const onProgress = (done: number, total: number) => say({ type: 'progress', stage: 'defend', done, total });
  const found = await inspect(victim, settings, { precision, signal, onProgress });
  return {
    config: { defenses: [] },
    seeds: [],
    precision: { training: null, evaluation: resolvePrecision(precision, victim.device, 'evaluation') },
    files: [],
    rows: { rows: [], inspections: [{ name: column, ...found }] },
  };
}

function precisionOf({ evaluation, victim }: CellBench, purifiers: readonly PurifierName[]): CardPrecision {
  return defensePrecision(null, evaluation.precision ?? 'auto', victim.device, purifiers);
}
