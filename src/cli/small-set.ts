import type { PadFtSettings } from '../defenses/pad-ft/options.js';
import { LEAST_ROWS } from '../defenses/pad-ft/verdict.js';
import { counted } from '../formats/plural.js';

/** The presets' own sizes are of sets of 50 000 rows; the demonstration takes this share of its 4000. */
const SMALL_SHARE = 1 / 8;

/**
 * Where settings ask more of a training set than it has: nothing fails there, but a defence finds less or keeps planted
 * rows, which its figures do not show. Each sentence says which option helps. Known before the work, from labels alone.
 */
export function smallSetWarnings(
  { purify, always }: Pick<PadFtSettings, 'purify' | 'always'>,
  labels: Int32Array,
  classes: number,
): string[] {
  const rows = countRows(labels, classes);
  const warnings = always
    ? []
    : unjudgedWarnings(labels, classes).map((text) => `${text}; --always true repairs without a verdict`);
  const asked = Math.max(1, Math.floor(purify.count / classes));
  const whole = rows.filter((count) => count <= asked).length;
  if (whole > 0 && purify.pool === 0) {
    const fitting = Math.max(classes, Math.floor(labels.length * SMALL_SHARE));
    warnings.push(
      `--purify.count ${purify.count} asks for ${counted(asked, 'row')} of each label, and ${ofLabels(whole, classes)} no more than that: all of their rows are kept, planted ones too. Try --purify.count ${fitting}`,
    );
  }
  return warnings;
}

/** Of labels with too few rows for a verdict: all that concerns what finds rows and repairs nothing. */
export function unjudgedWarnings(labels: Int32Array, classes: number): string[] {
  const unjudged = countRows(labels, classes).filter((count) => count < LEAST_ROWS).length;
  if (unjudged === 0) return [];
  const outcome = unjudged === classes ? 'no backdoor can be found' : 'a backdoor there goes unseen';
  return [
    `${ofLabels(unjudged, classes)} fewer than the ${LEAST_ROWS} rows that a verdict takes: ${outcome}. More rows help`,
  ];
}

function countRows(labels: Int32Array, classes: number): readonly number[] {
  const rows = new Array<number>(classes).fill(0);
  for (const label of labels) rows[label] = (rows[label] ?? 0) + 1;
  return rows;
}

function ofLabels(count: number, classes: number): string {
  return `${count} of ${counted(classes, 'label')} ${count === 1 ? 'has' : 'have'}`;
}
