import { drawControl } from './control.js';
import type { Dataset } from './dataset.js';
import type { PlannedDefense } from './defense-request.js';
import type { PlannedMethod } from './defenses/methods/index.js';
import { runMethod } from './defenses/methods/run.js';
import {
  collapse,
  type DefenseProgress,
  type PadFtResult,
  type PadFtSettings,
  type Purification,
  padFt,
  purify,
  type RowScores,
  scoreRows,
  scoringKey,
} from './defenses/pad-ft/index.js';
import type { ExperimentEvent } from './experiment.js';
import { MemoryWatch, type StageCost } from './memory.js';
import type { EvaluationOptions, Model } from './model.js';
import type { PoisonedSet } from './poisoned-set.js';
import {
  type CardCost,
  type CardRow,
  type DetectionRow,
  type MethodRow,
  makeDetectionRow,
  makeRow,
} from './report/card.js';
import { judgeDefense, judgeMethod, judgePurification, type VictimFigures } from './report/judge.js';

/** Scores that a defence paid for and others of the same victim may use. */
interface SharedScores {
  readonly scores: RowScores;
  /** What the scoring cost, and the row that measured it. */
  readonly cost: CardCost | undefined;
}

/** A victim on the bench: what every defence of it shares. Start with an empty `scored`. */
export interface DefenseBench {
  readonly victim: Model;
  readonly set: PoisonedSet;
  /** From `judgeVictim`. */
  readonly before: VictimFigures;
  readonly evaluation: EvaluationOptions;
  /** Notes what judging costs. */
  readonly watch: MemoryWatch;
  readonly say: (event: ExperimentEvent) => void;
  /** By `scoringKey`: rows are scored once, however many defences score alike. */
  readonly scored: Map<string, SharedScores>;
}

/**
 * Defends a victim once and only then looks at the ground truth. `save` gets the finished defence before it is judged;
 * its models are freed afterwards. `label` is what other rows call this one when they name who measured a shared stage.
 *
 * @throws PadFtError whatever `padFt` and `judgeDefense` throw, and what `save` throws
 */
export async function defendAndJudge(
  bench: DefenseBench,
  { name, control, settings }: PlannedDefense,
  save: (result: PadFtResult) => Promise<void>,
  label = name,
): Promise<CardRow> {
  const { victim, set, before, evaluation, watch, say, scored } = bench;
  say({ type: 'stage', stage: 'defend', text: `defending: ${name}` });
  const purified = control === null ? undefined : drawControl(control, set, before.predicted, settings);
  const key = scoringKey(settings);
  const shared = scored.get(key);
  using result = await padFt(victim, set.train, settings, {
    ...evaluation,
    scores: shared?.scores,
    purified,
    onProgress: (progress) => say({ type: 'defense', name, ...progress }),
  });
  if (shared === undefined) scored.set(key, { scores: result.scores, cost: scoringCost(label, result.costs) });
  const problem = collapse(result);
  if (problem !== null) say({ type: 'warning', message: `${name}: ${problem}` });
  await save(result);
  say({ type: 'stage', stage: 'judge', text: `judging: ${name}` });
  const figures = await watch.measure('judge', () => judgeDefense(result, set, before, evaluation));
  const row = makeRow(name, result, figures, control);
  // A defence alone would have had to score the rows: its seconds count that, and say who measured it.
  const whole = shared?.cost === undefined ? row : { ...row, costs: [shared.cost, ...row.costs] };
  say({ type: 'row', row: whole });
  return whole;
}

/** What a method that is compared with PAD-FT is given beside the victim, and the seed of what it draws. */
export interface MethodSupply {
  /** Images known to be clean; null for none. */
  readonly clean: Dataset | null;
  readonly seed: number;
}

/**
 * Repairs a victim by another method, by a request that `checkMethodRequest` has passed, and only then looks at the ground
 * truth. `save` gets the model before it is judged; it is freed afterwards.
 *
 * @throws PadFtError whatever the method and `judgeMethod` throw, and what `save` throws
 */
export async function repairAndJudge(
  { victim, set, before, evaluation, watch, say }: DefenseBench,
  planned: PlannedMethod,
  { clean, seed }: MethodSupply,
  save: (model: Model) => Promise<void>,
): Promise<MethodRow> {
  const { name } = planned;
  say({ type: 'stage', stage: 'defend', text: `defending: ${name}` });
  const request = { victim, training: set.train, clean, flip: set.flip, seed };
  const onProgress = (done: number, total: number) => say({ type: 'progress', stage: 'defend', done, total });
  const { model, said, details, given, costs } = await runMethod(planned, request, { ...evaluation, onProgress });
  using _ = model;
  await save(model);
  say({ type: 'stage', stage: 'judge', text: `judging: ${name}` });
  const figures = await watch.measure('judge', () => judgeMethod(model, set, before.evaluation, evaluation));
  return { name, given, said, details, costs, figures };
}

/**
 * Purifies, repairs nothing, and only then looks at the ground truth. `save` gets what was found before it is judged;
 * `name` is what other rows call this one when they name who scored the rows.
 *
 * @throws PadFtError whatever `purify` throws, and what `save` throws
 */
export async function detectAndJudge(
  { victim, set, before, evaluation, watch, say, scored }: DefenseBench,
  { name, settings }: { readonly name: string; readonly settings: PadFtSettings },
  save: (purification: Purification) => Promise<void>,
  label = name,
): Promise<DetectionRow> {
  const { purifier } = settings.purify;
  say({ type: 'stage', stage: 'defend', text: `detecting: ${purifier}` });
  const own = new MemoryWatch(victim.device);
  const key = scoringKey(settings);
  const shared = scored.get(key);
  const context = {
    ...evaluation,
    onProgress: (progress: DefenseProgress) => say({ type: 'defense', name, ...progress }),
  };
  const scores = shared?.scores ?? (await own.measure('purify', () => scoreRows(victim, set.train, settings, context)));
  if (shared === undefined) scored.set(key, { scores, cost: scoringCost(label, own.costs) });
  const purification = await purify(victim, set.train, settings, { ...context, scores });
  await save(purification);
  const figures = await watch.measure('judge', async () => judgePurification(purification, set, before));
  const costs = shared?.cost === undefined ? own.costs : [shared.cost];
  return makeDetectionRow(name, purifier, purification, costs, figures);
}

function scoringCost(measuredBy: string, costs: readonly StageCost[]): CardCost | undefined {
  const cost = costs.find(({ stage }) => stage === 'purify');
  return cost && { ...cost, measuredBy };
}
