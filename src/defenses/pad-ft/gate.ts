import type { Dataset } from '../../dataset.js';
import { accuracy, fallsAtMost } from '../../metrics.js';
import type { EvaluationOptions, Model } from '../../model.js';

/** The model after each stage: the victim, with bounds (PAD), with bounds and a tuned classifier (PAD-FT). */
export const STAGES = ['victim', 'pad', 'pad-ft'] as const;
export type Stage = (typeof STAGES)[number];

/** A stage seen with the defender's eyes. Fractions in [0, 1]. */
export interface StageView {
  readonly stage: Stage;
  /** Accuracy for the given labels on the held-out rows; null without held-out rows. */
  readonly heldOutAccuracy: number | null;
  /** Share of the suspects that keep their given label; null without suspects. */
  readonly suspectsKept: number | null;
}

export interface GateDecision {
  readonly stage: Stage;
  readonly reason: string;
  readonly views: readonly StageView[];
}

export async function viewStage(
  stage: Stage,
  model: Model,
  heldOut: Dataset | null,
  suspects: Dataset | null,
  evaluation: EvaluationOptions,
): Promise<StageView> {
  const { onProgress: _, ...quiet } = evaluation;
  const share = async (data: Dataset | null) =>
    data === null ? null : accuracy(await model.predict(data, quiet), data.labels());
  return { stage, heldOutAccuracy: await share(heldOut), suspectsKept: await share(suspects) };
}

/**
 * Chooses the stage to return, on held-out rows and suspects alone: of the stages that lose at most `maxAccDrop`
 * against the victim, the one with the smallest share of suspects that keep their label − price · accuracy; without
 * suspects the most accurate repair. Without held-out rows the gate is off and the last stage is returned. Unlike
 * `costOf`, by which bounds are pressed on, few suspects count in full: nothing presses on here.
 *
 * @param price points of suspects that one point of accuracy must buy, ≥ 0
 */
export function chooseStage(views: readonly StageView[], maxAccDrop: number, price: number): GateDecision {
  const last = views[views.length - 1] as StageView;
  const victim = views[0] as StageView;
  const before = victim.heldOutAccuracy;
  if (before === null) return { stage: last.stage, reason: 'the gate is off: the last stage is returned', views };
  const loss = (view: StageView) => before - (view.heldOutAccuracy ?? 0);
  const affordable = views.filter(
    (view) => view.stage === 'victim' || fallsAtMost(before, view.heldOutAccuracy ?? 0, maxAccDrop),
  );
  const tooDear = views.filter((view) => !affordable.includes(view));
  let best = affordable[0] as StageView;
  for (const view of affordable.slice(1)) if (better(view, best, price)) best = view;
  return { stage: best.stage, reason: explain(best, tooDear, loss, maxAccDrop), views };
}

function better(view: StageView, best: StageView, price: number): boolean {
  const accuracy = view.heldOutAccuracy ?? 0;
  const accuracyOfBest = best.heldOutAccuracy ?? 0;
  // Without suspects only accuracy can be compared, and a repair that was asked for beats none.
  if (view.suspectsKept === null || best.suspectsKept === null) {
    return best.stage === 'victim' || accuracy >= accuracyOfBest;
  }
  return view.suspectsKept - price * accuracy <= best.suspectsKept - price * accuracyOfBest;
}

function explain(
  best: StageView,
  tooDear: readonly StageView[],
  loss: (view: StageView) => number,
  maxAccDrop: number,
): string {
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  const refused = tooDear.map((view) => `${view.stage} would lose ${percent(loss(view))}`).join(', ');
  const kept = best.suspectsKept === null ? '' : `, ${percent(best.suspectsKept)} of the suspects keep their label`;
  const lost = loss(best);
  const change = lost < 0 ? `${percent(-lost)} of accuracy gained` : `${percent(lost)} of accuracy lost`;
  const head = `${best.stage}: ${change} on held-out rows${kept}`;
  return refused === '' ? head : `${head}; ${refused}, more than the ${percent(maxAccDrop)} allowed`;
}
