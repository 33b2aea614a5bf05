import { describe, expect, test } from 'vitest';
import { chooseStage, type StageView } from '../../src/defenses/pad-ft/gate.js';
import { collapse } from '../../src/defenses/pad-ft/index.js';
import { PRESETS } from '../../src/defenses/pad-ft/options.js';
import { costOf } from '../../src/defenses/pad-ft/outcome.js';
import { fallsAtMost } from '../../src/metrics.js';

const { maxAccDrop, gatePrice } = PRESETS.default;

function views(...rows: readonly [accuracy: number | null, kept: number | null][]): StageView[] {
  const stages = ['victim', 'pad', 'pad-ft'] as const;
  return rows.map(([heldOutAccuracy, suspectsKept], i) => ({
    stage: stages[i] ?? 'pad-ft',
    heldOutAccuracy,
    suspectsKept,
  }));
}
const stageOf = (...rows: readonly [number | null, number | null][]) =>
  chooseStage(views(...rows), maxAccDrop, gatePrice).stage;

describe('the price of accuracy', () => {
  test('a point must buy five points of suspects', () => {
    const before = { accuracy: 0.88, suspectsKept: 0.1 };
    expect(costOf({ accuracy: 0.87, suspectsKept: 0.04 }, 5)).toBeLessThan(costOf(before, 5));
    expect(costOf({ accuracy: 0.87, suspectsKept: 0.06 }, 5)).toBeGreaterThan(costOf(before, 5));
  });

  test('2 % of the suspects and less count as equal', () => {
    expect(costOf({ accuracy: 0.88, suspectsKept: 0.02 }, 5)).toBe(costOf({ accuracy: 0.88, suspectsKept: 0 }, 5));
  });

  test('without a price only the suspects count', () => {
    expect(costOf({ accuracy: 0.5, suspectsKept: 0.03 }, 0)).toBeLessThan(
      costOf({ accuracy: 0.9, suspectsKept: 0.04 }, 0),
    );
  });
});

describe('the stage gate', () => {
  test('takes the cheapest stage it can afford', () => {
    expect(stageOf([0.88, 1], [0.88, 0.1], [0.871, 0.08])).toBe('pad-ft');
    expect(stageOf([0.88, 1], [0.88, 0.1], [0.869, 0.08])).toBe('pad');
  });

  test('counts the last suspects like all others', () => {
    expect(stageOf([0.88, 1], [0.88, 0.02], [0.877, 0.01])).toBe('pad-ft');
    expect(stageOf([0.88, 1], [0.88, 0.02], [0.874, 0.01])).toBe('pad');
  });

  test('never one that loses more than it may, however few suspects are left', () => {
    expect(stageOf([0.88, 1], [0.87, 0.5], [0.85, 0])).toBe('pad');
    expect(stageOf([0.88, 1], [0.8, 0], [0.8, 0])).toBe('victim');
    const { reason } = chooseStage(views([0.88, 1], [0.87, 0.5], [0.85, 0]), maxAccDrop, gatePrice);
    expect(reason).toBe(
      'pad: 1.0 % of accuracy lost on held-out rows, 50.0 % of the suspects keep their label; pad-ft would lose 3.0 %, more than the 2.0 % allowed',
    );
  });

  test('a loss of exactly what it may is affordable, however the difference is rounded', () => {
    expect(270 / 300 - 264 / 300).toBeGreaterThan(0.02);
    expect(stageOf([270 / 300, 1], [264 / 300, 0], [263 / 300, 0])).toBe('pad');
    for (const rows of [300, 5000, 99_991]) {
      for (let right = Math.ceil(rows / 2); right <= rows; right += 7) {
        const most = Math.floor(0.02 * rows) / rows;
        const [just, more] = [right - Math.floor(0.02 * rows), right - Math.floor(0.02 * rows) - 1];
        expect(fallsAtMost(right / rows, just / rows, most)).toBe(true);
        expect(fallsAtMost(right / rows, more / rows, most)).toBe(false);
      }
    }
  });

  test('without suspects takes the most accurate repair, and a repair rather than none', () => {
    expect(stageOf([0.88, null], [0.87, null], [0.875, null])).toBe('pad-ft');
    expect(stageOf([0.88, null], [0.875, null], [0.87, null])).toBe('pad');
  });

  test('without held-out rows is off', () => {
    const { stage, reason } = chooseStage(views([null, 1], [null, 0], [null, 1]), maxAccDrop, gatePrice);
    expect({ stage, reason }).toEqual({ stage: 'pad-ft', reason: 'the gate is off: the last stage is returned' });
  });
});

describe('a repair that closed the network', () => {
  const epoch = { loss: 1, sce: 1, consistency: 0, suspectLoss: 0, accuracy: 1, seconds: 1 };
  const tuned = (accuracy: number) => ({ first: epoch, last: { ...epoch, accuracy } });

  test('is warned of when it is returned', () => {
    const result = { stage: 'pad-ft' as const, settings: PRESETS.paper, tuning: tuned(0.1) };
    expect(collapse(result)).toBe(
      'the repaired model is not usable: in its last epoch it classified 10.0 % of its own purified rows; without held-out rows no gate could refuse it',
    );
    expect(collapse({ ...result, tuning: tuned(0.97) })).toBeNull();
  });

  test('is nobody’s concern when the gate refused it', () => {
    expect(collapse({ stage: 'victim', settings: PRESETS.default, tuning: tuned(0.1) })).toBeNull();
    expect(collapse({ stage: 'pad', settings: PRESETS.default, tuning: null })).toBeNull();
  });
});
