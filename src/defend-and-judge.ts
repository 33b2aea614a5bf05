import { drawControl } from './control.js';
import type { PlannedDefense } from './defense-request.js';
import { collapse, type PadFtResult, padFt, type RowScores, scoringKey } from './defenses/pad-ft/index.js';
import type { ExperimentEvent } from './experiment.js';
import type { MemoryWatch } from './memory.js';
import type { EvaluationOptions, Model } from './model.js';
import type { PoisonedSet } from './poisoned-set.js';
import { type CardCost, type CardRow, makeRow } from './report/card.js';
import { judgeDefense, type VictimFigures } from './report/judge.js';

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
  if (shared === undefined) scored.set(key, { scores: result.scores, cost: scoringCost(label, result) });
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

function scoringCost(measuredBy: string, { costs }: PadFtResult): CardCost | undefined {
  const cost = costs.find(({ stage }) => stage === 'purify');
  return cost && { ...cost, measuredBy };
}
