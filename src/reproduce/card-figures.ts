import type { Stage } from '../defenses/pad-ft/gate.js';
import { counted } from '../formats/plural.js';
import { type CardCost, type CardRow, givenVictim, type RunCard } from '../report/card.js';
import type { DefenseFigures, DetectionFigures } from '../report/judge.js';

/** What a cell's card says, whichever kind of cell it is of: a cell's card holds one row. */

/** What the row's own work cost; what the victim cost is elsewhere on the card. */
export function rowCosts({ rows, methods = [], detections = [], inspections = [] }: RunCard): readonly CardCost[] {
  return [...rows, ...methods, ...detections, ...inspections][0]?.costs ?? [];
}

/** Costs of a defence until this stage is there. */
export function costsUpTo({ costs }: Pick<CardRow, 'costs'>, stage: 'pad' | 'pad-ft'): readonly CardCost[] {
  return costs.filter((cost) => stage !== 'pad' || cost.stage !== 'fine-tune');
}

export function secondsOf(costs: readonly CardCost[]): number {
  return costs.reduce((sum, { seconds }) => sum + seconds, 0);
}

/**
 * DER of the model after a stage. Where that stage is not there the victim came back, which changes nothing: 0.5, by
 * definition. Null without an attack.
 */
export function derOf(figures: DefenseFigures | null, stage: Stage): number | null {
  const own = stage === 'victim' ? null : (figures?.der[stage] ?? null);
  return own ?? (figures?.evaluations.victim?.asr == null ? null : 0.5);
}

/** What computed a cell: times and memory depend on it, and the arithmetic that `auto` means. */
export function machineOf({ environment: { device, deviceName, cpu } }: RunCard): string {
  return device === 'cpu' ? cpu : deviceName;
}

/** Of the stage that needed most; null without a stage, or where memory is not known. */
export function peakBytes(costs: readonly CardCost[]): number | null {
  return Math.max(0, ...costs.map((cost) => cost.peakBytes)) || null;
}

/** What the cell worked with, in words. */
export function describeGiven({ rows, methods = [], detections = [] }: RunCard): string {
  const [row] = rows;
  const [method] = methods;
  const poisoned =
    row !== undefined || detections.length > 0 || (method !== undefined && method.given.training !== null);
  const clean = method?.given.clean ?? null;
  return [
    method !== undefined && givenVictim(method) === 'shape' ? 'victim’s shape' : 'victim',
    ...(poisoned ? ['poisoned set'] : []),
    ...(row?.control === 'oracle' ? ['ground truth'] : []),
    ...(clean === null ? [] : [counted(clean, 'clean image')]),
  ].join(', ');
}

/** Clean images that were added to a draw, one for each class that it missed. */
export function addedImages({ config: { methods = [] } }: RunCard): number {
  const clean = methods[0]?.clean ?? null;
  return clean === null || !('added' in clean) ? 0 : clean.added.length;
}

/** What a detector's card says: its verdict, and the figures of one that scores rows. */
export interface CardDetection {
  readonly figures: DetectionFigures | null;
  /** Null where no label was judged, by scores that only rank for instance: nothing could be suspected. */
  readonly suspects: { readonly count: number; readonly tpr: number | null; readonly fpr: number | null } | null;
  readonly accused: readonly number[];
  readonly pValue: number | null;
  readonly text: string;
}

/** Null for a card of another kind. */
export function detectionOf({ detections = [], inspections = [] }: RunCard): CardDetection | null {
  const [row] = detections;
  if (row !== undefined) {
    const { figures, verdict } = row;
    const { tpr, fpr } = figures?.suspects ?? { tpr: null, fpr: null };
    const judged = verdict.labels.some(({ separation }) => separation !== null);
    const suspects = judged ? { count: row.suspects, tpr, fpr } : null;
    return { figures, suspects, accused: verdict.attacked, pValue: null, text: verdict.text };
  }
  const [found] = inspections;
  if (found === undefined) return null;
  const { target, pValue, text } = found;
  return { figures: null, suspects: null, accused: target === null ? [] : [target], pValue, text };
}

/** Purity inside the target label; of all D_c under all-to-all. */
export function targetIn({
  purity: { perLabel, overall },
  targetLabel,
}: Pick<DetectionFigures, 'purity' | 'targetLabel'>) {
  return targetLabel === null ? overall : perLabel[targetLabel];
}

export function targetPurity({ figures }: Pick<CardRow, 'figures'>) {
  return figures === null ? undefined : targetIn(figures);
}

/** The target label's name, as the data set calls it; empty without one. */
export function targetClass({ config: { poison, dataset } }: RunCard): string {
  const target = poison === null || poison.counts.poisoned === 0 ? null : poison.target;
  return target === null ? '' : (dataset.classNames[target] ?? '');
}

/** Of the victim's training, whenever that was. */
export function trainSeconds({ victim }: RunCard): number {
  return victim.history.reduce((sum, { seconds }) => sum + seconds, 0);
}
