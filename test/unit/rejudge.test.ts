import { describe, expect, it } from 'vitest';
import type { Dataset } from '../../src/dataset.js';
import { type PadFtOptions, PRESETS, type PurifySettings, padFtSettings } from '../../src/defenses/pad-ft/options.js';
import { type Purification, type RowScores, scoringPrecision, selectRows } from '../../src/defenses/pad-ft/purify.js';
import { inTurns, rejudge, rejudges } from '../../src/defenses/pad-ft/rejudge.js';
import type { Suspect } from '../../src/defenses/pad-ft/verdict.js';
import type { EvaluationOptions, Model } from '../../src/model.js';
import { Random } from '../../src/random.js';

const CLASSES = 3;
/** Rows of each label; of label 0 the last 200 are planted. */
const ROWS = 800;
const COUNT = CLASSES * ROWS;
const labels = Int32Array.from({ length: COUNT }, (_, row) => Math.floor(row / ROWS));
const isPlanted = (row: number) => row >= 600 && row < ROWS;
const SETTINGS = { ...PRESETS.default.purify, count: 300, pool: 0 };
/** Every row's log-odds under the victim: √(1 + 8) = 3. */
const BEFORE = 8;

/** Stage 1 with scores in which the planted rows of label 0 stand `apart` from the others. */
async function stageOne(apart: number) {
  const random = new Random(7);
  const score = Float32Array.from({ length: COUNT }, (_, row) => random.normal() + (isPlanted(row) ? apart : 0));
  const eligible = new Uint8Array(COUNT).fill(1);
  const logOdds = new Float32Array(COUNT).fill(BEFORE);
  const alternative = labels.map((label, row) => (label + 1 + (row % 2)) % CLASSES);
  const victim = { logOdds, sce: logOdds, predicted: labels, alternative };
  const scores: RowScores = { score, eligible, judged: eligible, alternative, victim };
  return { scores, found: await selectRows(scores, labels, CLASSES, SETTINGS, { count: 300, seed: 0 }) };
}

const data = {
  count: COUNT,
  classes: CLASSES,
  labels: () => labels,
  subset: async (rows: Uint32Array) => ({ rows, [Symbol.dispose]() {} }),
} as unknown as Dataset;

/** The victim under bounds that cost a row `drop` of its score, more or less. */
function boundedBy(drop: (row: number) => number) {
  const scored: number[][] = [];
  const precisions: unknown[] = [];
  const random = new Random(9);
  const bounded = {
    device: 'cpu',
    score: async ({ rows }: { readonly rows: Uint32Array }, { precision }: EvaluationOptions) => {
      scored.push(Array.from(rows));
      precisions.push(precision);
      return { logOdds: Float32Array.from(rows, (row) => BEFORE - 3 * (drop(row) + 0.1 * random.normal())) };
    },
  } as unknown as Model;
  return { bounded, scored, precisions };
}

interface Changes extends Partial<PurifySettings> {
  readonly keepsPurified?: boolean;
  readonly evaluation?: EvaluationOptions;
}

function again(
  { scores, found }: Awaited<ReturnType<typeof stageOne>>,
  bounded: Model,
  { keepsPurified = false, evaluation = {}, ...settings }: Changes = {},
): Promise<Purification> {
  return rejudge({
    ...{ found, scores, bounded, data, keepsPurified, evaluation },
    settings: { ...SETTINGS, ...settings },
  });
}

const rowsOf = (suspects: readonly Suspect[]) => suspects.map(({ row }) => row).sort((a, b) => a - b);
const PLANTED = Array.from({ length: 200 }, (_, i) => 600 + i);

describe('suspects found again', () => {
  it('are the rows of attacked labels that the bounds cost their label', async () => {
    const one = await stageOne(4.5);
    expect(one.found.verdict.attacked).toEqual([0]);
    // Overlapping scores: some planted rows are missed, some clean ones suspected.
    expect(rowsOf(one.found.suspects)).not.toEqual(PLANTED);
    const { bounded, scored } = boundedBy((row) => (isPlanted(row) ? 2 : 0));
    const found = await again(one, bounded);
    // The label's rows alone are scored.
    expect(scored).toEqual([Array.from({ length: ROWS }, (_, row) => row)]);
    expect(rowsOf(found.suspects)).toEqual(PLANTED);
    for (const { row, givenLabel, posterior, likelyLabel } of found.suspects) {
      expect([givenLabel, likelyLabel]).toEqual([0, one.scores.alternative[row]]);
      expect(posterior).toBeGreaterThanOrEqual(SETTINGS.suspectPosterior);
    }
    const [label] = found.labels;
    expect(label).toMatchObject({ attacked: true, plantedShare: 0.25, separation: one.found.labels[0]?.separation });
    // drop / √(1 + 8): two Gaussians of deviation 0.1, 2 apart. D = 2 / 0.1 · √(2 / 2), of the mixture's own estimates.
    expect(label?.rejudged?.separation).toBeGreaterThan(15);
    expect(label?.rejudged?.separation).toBeLessThan(25);
    expect(label?.rejudged?.gain).toBeGreaterThan(1);
    expect(found.labels.slice(1)).toEqual(one.found.labels.slice(1));
    expect(found.verdict).toEqual({ attacked: [0], near: [], text: 'label 0: 25 % of its rows look planted' });
    // What is suspected is not kept; who is held out and all else is as it was.
    expect(found.purified).toEqual(one.found.purified.filter((row) => !isPlanted(row)));
    expect(found.purified.length).toBeGreaterThan(250);
    const { heldOut, score, order, correct } = one.found;
    expect(found).toMatchObject({ heldOut, score, order, correct });
  });

  it('are named for what they are where stage 1 took the part that loses less', async () => {
    const one = await stageOne(4.5);
    const [first, ...others] = one.found.labels;
    const turned = { ...first, reversed: true } as (typeof one.found.labels)[number];
    const found = { ...one.found, labels: [turned, ...others] };
    const { verdict, labels } = await again({ ...one, found }, boundedBy((row) => (isPlanted(row) ? 2 : 0)).bounded);
    expect(labels[0]).toMatchObject({ reversed: true, plantedShare: 0.25 });
    expect(verdict.text).toBe(
      'label 0: 25 % of its rows look planted, by limits those that lose less of their margin: they come from more labels',
    );
  });

  it('stay where the bounds tell the parts no further apart, or hardly a row', async () => {
    const one = await stageOne(8);
    for (const drop of [
      // Next to nothing.
      (row: number) => (isPlanted(row) ? 0.3 : 0),
      // Nine rows, far off.
      (row: number) => (row < 9 ? 5 : 0),
      // Other rows than those that were pressed.
      (row: number) => (row < 100 ? 2 : 0),
      // Far fewer of them.
      (row: number) => (row >= 720 && row < ROWS ? 2 : 0),
    ]) {
      const found = await again(one, boundedBy(drop).bounded);
      expect(found.suspects).toEqual(one.found.suspects);
      expect(found.labels).toEqual(one.found.labels);
      expect(found.purified).toEqual(one.found.purified);
    }
  });

  it('stay where the parts overlap by the bounds as well, or two explain them hardly better than one', async () => {
    // Stage 1 that saw next to nothing: whatever the bounds say is further apart.
    const { scores, found } = await stageOne(4.5);
    const one = { scores, found: { ...found, labels: found.labels.map((label) => ({ ...label, separation: 0.1 })) } };
    const moves = async (apart: number, { wide = 0, verdictGain = 0 } = {}) => {
      const random = new Random(11);
      const { bounded } = boundedBy((row) => (isPlanted(row) ? apart + wide * random.normal() : 0));
      const { labels } = await again(one, bounded, { verdictGain });
      return labels[0]?.rejudged;
    };
    // A wide part over a narrow one: two explain the scores far better, at D = 0.6 · √2 / √(0.1² + 0.51²) = 1.6.
    expect(await moves(0.6, { wide: 0.5 })).toBeUndefined();
    const wide = await moves(1.2, { wide: 0.5 });
    expect(wide?.gain).toBeGreaterThan(0.2);
    const near = await moves(0.27);
    expect(near?.separation).toBeGreaterThan(2);
    expect(near?.separation).toBeLessThan(4);
    // A fifth of the verdict's gain.
    const gain = near?.gain as number;
    expect(await moves(0.27, { verdictGain: 5 * gain * 0.99 })).toEqual(near);
    expect(await moves(0.27, { verdictGain: 5 * gain * 1.01 })).toBeUndefined();
  });

  it('are scored in the arithmetic of stage 1', async () => {
    const one = await stageOne(4.5);
    const { bounded, precisions } = boundedBy((row) => (isPlanted(row) ? 2 : 0));
    const stage1 = scoringPrecision({ victim: bounded, evaluation: {} });
    await again(one, bounded);
    await again(one, bounded, { evaluation: { precision: 'bf16' } });
    await again(one, bounded, { purifier: 'clip-drop' });
    await again(one, bounded, { purifier: 'clip-drop', evaluation: { precision: 'fp32' } });
    expect(precisions).toEqual([stage1, 'bf16', undefined, 'fp32']);
    expect(stage1).not.toBeUndefined();
  });

  it('stay where fewer than a hundred were pressed: bounds may have learnt those', async () => {
    const one = await stageOne(8);
    const { bounded, scored } = boundedBy((row) => (isPlanted(row) ? 5 : 0));
    const few = { ...one.found, suspects: one.found.suspects.slice(0, 99) };
    expect((await again({ ...one, found: few }, bounded)).suspects).toEqual(few.suspects);
    expect(scored).toEqual([]);
  });

  it('are not worse than those of an earlier turn', async () => {
    const one = await stageOne(4.5);
    const good = await again(one, boundedBy((row) => (isPlanted(row) ? 2 : 0)).bounded);
    // Further apart than stage 1 has them, and less than the first turn.
    const third = await again({ ...one, found: good }, boundedBy((row) => (row >= 580 && row < ROWS ? 1 : 0)).bounded);
    expect(third.suspects).toEqual(good.suspects);
    expect(third.labels).toEqual(good.labels);
  });

  it('stay where D_c would lose most rows of the label, unless it comes from elsewhere', async () => {
    const one = await stageOne(4.5);
    const own = Array.from(one.found.purified).filter((row) => row < ROWS);
    expect(own.length).toBeGreaterThan(90);
    const some = (count: number) => new Set([...own.slice(0, count), ...PLANTED]);
    const by = (rows: ReadonlySet<number>) => boundedBy((row) => (rows.has(row) ? 2 : 0)).bounded;
    const most = await again(one, by(some(60)));
    expect(most.suspects).toEqual(one.found.suspects);
    expect(most.purified).toEqual(one.found.purified);
    const less = await again(one, by(some(40)));
    expect(rowsOf(less.suspects)).toEqual([...some(40)].sort((a, b) => a - b));
    expect(less.purified.length).toBeLessThan(one.found.purified.length - 30);
    const kept = await again(one, by(some(60)), { keepsPurified: true });
    expect(kept.suspects.length).toBeGreaterThan(150);
    expect(kept.purified).toEqual(one.found.purified);
  });

  it('are rows that the verdict is drawn from', async () => {
    const one = await stageOne(4.5);
    // Rows that the victim gets wrong are eligible under some purifiers, and not judged.
    const judged = one.scores.eligible.map((_, row) => (row % 4 === 0 ? 0 : 1));
    const { bounded } = boundedBy((row) => (isPlanted(row) ? 2 : 0));
    const found = await again({ ...one, scores: { ...one.scores, judged } }, bounded);
    expect(rowsOf(found.suspects)).toEqual(PLANTED.filter((row) => row % 4 !== 0));
  });

  it.each([
    [{}, true],
    [{ rejudge: 0 }, false],
    [{ purify: { purifier: 'sce' } }, false],
    [{ purify: { purifier: 'clip-drop' } }, true],
    [{ clip: { controller: 'mm-bm' } }, false],
    [{ clip: { mu: 0 } }, false],
    [{ preset: 'paper', rejudge: 2 }, false],
  ] as [PadFtOptions, boolean][])(
    'are looked for where bounds were fitted against suspects: %j',
    (options, expected) => {
      expect(rejudges(padFtSettings(options))).toBe(expected);
    },
  );

  it('keep the limits that the verdict stands on, in its words too', async () => {
    const one = await stageOne(4.5);
    const verdict = { ...one.found.verdict, limits: 'extrapolated' as const };
    const { bounded } = boundedBy((row) => (isPlanted(row) ? 2 : 0));
    const found = await again({ ...one, found: { ...one.found, verdict } }, bounded);
    expect(found.verdict).toEqual({
      ...{ attacked: [0], near: [], limits: 'extrapolated' },
      text: 'by extrapolated limits: label 0: 25 % of its rows look planted',
    });
  });
});

describe('turns of bounds and suspects', () => {
  interface Fake {
    readonly purification: { readonly suspects: readonly Suspect[] };
    readonly name: string;
  }
  const suspectsOf = (first: number, count: number) =>
    Array.from({ length: count }, (_, i) => ({ row: first + i, givenLabel: 0, posterior: 1, likelyLabel: 1 }));
  const make = (name: string, first: number, count: number): Fake => ({
    name,
    purification: { suspects: suspectsOf(first, count) },
  });

  async function run(
    found: readonly Fake[],
    turns: number,
    { costs = {}, tells = true }: { costs?: Readonly<Record<string, number | null>>; tells?: boolean | string } = {},
  ) {
    const log: string[] = [];
    let at = 0;
    let fitted = 0;
    const result = await inTurns<Fake, { readonly bounds: string }>(found[0] as Fake, turns, {
      bound: async ({ name }, turn) => {
        fitted++;
        log.push(`${turn}: bound ${name}`);
        return { bounds: `b${fitted}` };
      },
      tells: ({ bounds }) => (typeof tells === 'boolean' ? tells : tells !== bounds),
      findAgain: async (_, { bounds }) => {
        at++;
        log.push(`find by ${bounds}`);
        return found[at] as Fake;
      },
      cost: async ({ name }, { bounds }) => costs[`${name} ${bounds}`] ?? null,
      discard: ({ bounds }) => log.push(`discard ${bounds}`),
    });
    return { log, name: result.name, bounds: result.bounds };
  }

  it('end where hardly a suspect changes: the bounds are not fitted again', async () => {
    // 1 of 100 more is a change of 1 / 101, 2 more of 2 / 102.
    expect(await run([make('one', 0, 100), make('two', 0, 101)], 2)).toEqual({
      ...{ log: ['0: bound one', 'find by b1'], name: 'two', bounds: 'b1' },
    });
    expect(await run([make('one', 0, 100), make('two', 0, 102), make('three', 0, 102)], 2)).toEqual({
      log: ['0: bound one', 'find by b1', '1: bound two', 'discard b1', 'find by b2'],
      ...{ name: 'three', bounds: 'b2' },
    });
    // Other rows, as many as before.
    expect((await run([make('one', 0, 100), make('two', 50, 100), make('three', 50, 100)], 2)).bounds).toBe('b2');
  });

  it('are as many as asked for at most, and none without suspects or by bounds that bound nothing', async () => {
    const changing = [make('one', 0, 100), make('two', 50, 100), make('three', 0, 100), make('four', 50, 100)];
    expect((await run(changing, 0)).log).toEqual(['0: bound one']);
    expect((await run(changing, 1)).log).toEqual(['0: bound one', 'find by b1', '1: bound two', 'discard b1']);
    expect((await run(changing, 2)).log).toEqual([
      ...['0: bound one', 'find by b1', '1: bound two', 'discard b1', 'find by b2', '2: bound three', 'discard b2'],
    ]);
    expect((await run([make('one', 0, 0)], 2)).log).toEqual(['0: bound one']);
    expect((await run(changing, 2, { tells: false })).log).toEqual(['0: bound one']);
    // A later fit that bounds nothing does not take the place of one that does.
    expect(await run(changing, 2, { tells: 'b2' })).toEqual({
      ...{ log: ['0: bound one', 'find by b1', '1: bound two', 'discard b2'], name: 'two', bounds: 'b1' },
    });
  });

  it('keep the bounds that cost less with the later suspects, and end where the later ones do not', async () => {
    const found = [make('one', 0, 100), make('two', 50, 100), make('three', 50, 100)];
    const dearer = await run(found, 2, { costs: { 'two b1': 1, 'two b2': 2 } });
    expect(dearer).toEqual({
      ...{ log: ['0: bound one', 'find by b1', '1: bound two', 'discard b2'], name: 'two', bounds: 'b1' },
    });
    const bounds = async (before: number | null, now: number) =>
      (await run(found, 2, { costs: { 'two b1': before, 'two b2': now } })).bounds;
    expect([await bounds(2, 1), await bounds(1, 1), await bounds(null, 1)]).toEqual(['b2', 'b2', 'b2']);
  });
});
