import { describe, expect, it } from 'vitest';
import type { Dataset } from '../../src/dataset.js';
import { PRESETS, type PurifySettings } from '../../src/defenses/pad-ft/options.js';
import type { PurifyInput, RowScores } from '../../src/defenses/pad-ft/purify.js';
import { discriminate, sharpen } from '../../src/defenses/pad-ft/sharpen.js';
import { judge } from '../../src/defenses/pad-ft/verdict.js';
import type { EvaluationOptions, Model } from '../../src/model.js';
import { Random } from '../../src/random.js';
import { auroc, commonScale } from '../../src/statistics.js';

interface Made {
  readonly count?: number;
  readonly width?: number;
  /** Share of the rows that are planted: the last ones. */
  readonly planted?: number;
  /** How far those are from the others along every feature, in standard deviations. */
  readonly apart?: number;
  /** How much more of their margin they lose. */
  readonly loses?: number;
  /** And how widely that spreads. */
  readonly spread?: number;
  readonly seed?: number;
}

function makeRows({ count = 1000, width = 16, planted = 0.2, apart = 0.8, loses = 1, spread = 1, seed = 1 }: Made) {
  const random = new Random(seed);
  const isPlanted = Array.from({ length: count }, (_, row) => row >= count * (1 - planted));
  const values = Float32Array.from({ length: count * width }, (_, i) => {
    return random.normal() + (isPlanted[Math.floor(i / width)] ? apart : 0);
  });
  const start = Float64Array.from(isPlanted, (one) => (one ? loses + spread * random.normal() : random.normal()));
  return { values, width, start, isPlanted, random: new Random(seed + 100) };
}

describe('two parts of a label, by its features', () => {
  it('are told apart where the scores only hint at them', async () => {
    // 0.8 deviations along each of 16 features: 3.2 along the best direction.
    const made = makeRows({});
    expect(auroc(made.start, made.isPlanted)).toBeLessThan(0.8);
    const found = await discriminate(made);
    expect(auroc(found?.projected ?? [], made.isPlanted)).toBeGreaterThan(0.97);
    expect(found?.mixture.ashmanD).toBeGreaterThan(2.8);
    expect(found?.mixture.upper.weight).toBeCloseTo(0.2, 1);
    // The scores agree as much as they do with the truth.
    expect(found?.agreement).toBeGreaterThan(0.65);
    expect(found?.agreement).toBeLessThan(0.8);
  });

  it('may be most rows, or few', async () => {
    for (const planted of [0.05, 0.9]) {
      const made = makeRows({ planted, apart: 1.2, count: 2000 });
      const found = await discriminate(made);
      expect(auroc(found?.projected ?? [], made.isPlanted)).toBeGreaterThan(0.99);
      expect(found?.mixture.upper.weight).toBeCloseTo(planted, 1);
    }
  });

  it('start from the scores’ own parts where those stand apart', async () => {
    // A twentieth far off, which the upper half of all rows would hide among ten times as many others with features of
    // their own.
    const made = makeRows({ planted: 0.05, apart: 1.2, loses: 8 });
    const { values, width, isPlanted, start } = made;
    isPlanted.forEach((one, row) => {
      if (one || (start[row] as number) < 0) return;
      for (let k = 0; k < width; k++)
        values[row * width + k] = (values[row * width + k] as number) + (k % 2 ? 0.5 : -0.5);
    });
    const found = await discriminate(made);
    expect(auroc(found?.projected ?? [], isPlanted)).toBeGreaterThan(0.95);
    expect(found?.mixture.upper.weight).toBeLessThan(0.1);
    expect(found?.agreement).toBeGreaterThan(0.95);
  });

  it('are not made of noise: a row is projected by what other rows show', async () => {
    let told = 0;
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const made = makeRows({ planted: 0, count: 400, width: 50, seed });
      const found = await discriminate(made);
      // A part that runs empty is no part either.
      if (found === null) continue;
      told++;
      expect(found.mixture.bicGain / 400).toBeLessThan(0.1);
      // By its own rows the direction would follow the scores it starts from.
      expect(
        Math.abs(
          (auroc(
            made.start,
            found.projected.map((value) => Number(value > 0)),
          ) ?? 0) - 0.5,
        ),
      ).toBeLessThan(0.1);
    }
    expect(told).toBeGreaterThanOrEqual(3);
  });

  it('bring both halves to one scale, and are the same for the same draw', async () => {
    const found = await discriminate(makeRows({}));
    const { projected } = found ?? { projected: new Float64Array(1) };
    const mean = projected.reduce((sum, value) => sum + value, 0) / projected.length;
    expect(mean).toBeCloseTo(0, 10);
    expect(projected.reduce((sum, value) => sum + value * value, 0) / projected.length).toBeCloseTo(1, 10);
    expect((await discriminate(makeRows({})))?.projected).toEqual(projected);
  });

  it('are none of rows that do not vary, or too few', async () => {
    const made = makeRows({});
    expect(await discriminate({ ...made, values: new Float32Array(made.values.length) })).toBeNull();
    expect(await discriminate(makeRows({ count: 8 }))).toBeNull();
    expect(await discriminate({ ...made, values: new Float32Array(), start: new Float64Array() })).toBeNull();
  });

  it('stop when they are told to', async () => {
    await expect(discriminate({ ...makeRows({}), signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
  });
});

/**
 * Five labels of 1000 rows; of label 0 a fifth is planted, labels 1 and 2 have two kinds of pictures, label 4 is seldom
 * judged.
 */
const CLASSES = 5;
const ROWS = 1000;
const WIDTH = 16;

function makeSet({
  scale = 1,
  offset = 0,
  kindsApart = 1.1,
  ...change
}: Partial<PurifySettings> & { scale?: number; offset?: number; kindsApart?: number } = {}) {
  const labels = Int32Array.from({ length: CLASSES * ROWS }, (_, row) => Math.floor(row / ROWS));
  const kinds = [
    makeRows({ apart: 1, loses: 3, spread: 2 }),
    makeRows({ planted: 0.3, apart: 1.5, loses: 0, seed: 2 }),
    makeRows({ planted: 0.5, apart: kindsApart, loses: 0.8, seed: 4 }),
    makeRows({ planted: 0, seed: 3 }),
  ];
  const rowsOf = (label: number) => kinds[label] ?? (kinds[3] as ReturnType<typeof makeRows>);
  const score = Float32Array.from(labels, (label, row) => offset + scale * (rowsOf(label).start[row % ROWS] as number));
  const judged = Uint8Array.from(labels, (label, row) => Number(label < 4 || row % 20 === 0));
  const asked: { label: number; rows: number; precision: unknown }[] = [];
  const victim = {
    featureCount: WIDTH,
    whitenedFeatures: async ({ rows }: { readonly rows: Uint32Array }, { precision }: EvaluationOptions) => {
      asked.push({ label: labels[rows[0] as number] as number, rows: rows.length, precision });
      return Float32Array.from({ length: rows.length * WIDTH }, (_, i) => {
        const row = rows[Math.floor(i / WIDTH)] as number;
        return rowsOf(labels[row] as number).values[(row % ROWS) * WIDTH + (i % WIDTH)] as number;
      });
    },
  } as unknown as Model;
  const data = {
    count: labels.length,
    classes: CLASSES,
    labels: () => labels,
    subset: async (rows: Uint32Array) => ({ rows, [Symbol.dispose]() {} }),
  } as unknown as Dataset;
  const steps: [number, number][] = [];
  const settings = { ...PRESETS.default.purify, ...change };
  const input: PurifyInput = {
    ...{ victim, data, settings, clip: PRESETS.default.clip, seed: 0, holdout: 0 },
    evaluation: { precision: 'bf16', onProgress: (done, total) => steps.push([done, total]) },
  };
  const scores = { score, eligible: judged, judged, alternative: labels, victim: {} } as unknown as RowScores;
  return { input, scores, labels, asked, steps, settings };
}

describe('sharpened scores', () => {
  it('are those of labels whose parts stand apart and agree with the scores; all others keep theirs', async () => {
    const { input, scores, labels, asked, steps, settings } = makeSet();
    const found = await sharpen(scores, input);
    // Of 50 judged rows with 16 features nothing is asked.
    expect(asked).toEqual([0, 1, 2, 3].map((label) => ({ label, rows: ROWS, precision: 'bf16' })));
    expect(steps).toEqual([1, 2, 3, 4, 5].map((done) => [done, 5]));
    expect(found.sharpened?.get(0)).toMatchObject({ taken: true });
    expect(found.sharpened?.get(0)?.scoreGain).toBeGreaterThan(settings.verdictGain / 2);
    // Two kinds of pictures, of which neither loses more of its margin than the other.
    const kinds = found.sharpened?.get(1);
    expect(kinds?.separation).toBeGreaterThan(settings.verdictSeparation);
    expect(kinds?.gain).toBeGreaterThan(settings.verdictGain);
    expect(kinds?.agreement).toBeLessThan(0.6);
    expect(kinds?.taken).toBe(false);
    // Two kinds of which one loses a little more, as one of two may: the scores themselves show no two parts.
    const other = found.sharpened?.get(2);
    expect(other?.separation).toBeGreaterThan(settings.verdictSeparation);
    expect(other?.gain).toBeGreaterThan(settings.verdictGain);
    expect(other?.agreement).toBeGreaterThan(0.65);
    expect(other?.scoreGain).toBeLessThan(0.05);
    expect(other).toMatchObject({ taken: false, alone: true });
    expect(kinds?.alone).toBeUndefined();
    expect(found.sharpened?.get(3)?.taken ?? false).toBe(false);
    expect(found.sharpened?.has(4)).toBe(false);
    expect(found.score.slice(ROWS)).toEqual(scores.score.slice(ROWS));
    const planted = labels.slice(0, ROWS).map((_, row) => Number(row >= 800));
    expect(auroc(found.score.slice(0, ROWS), planted)).toBeGreaterThan(0.97);
    // What the scores alone hint at is no verdict; what they are now is.
    expect((await judge(scores, labels, CLASSES, settings)).verdict.attacked).toEqual([]);
    const judgement = await judge(found, labels, CLASSES, settings);
    expect(judgement.verdict.attacked).toEqual([0]);
    expect(judgement.labels.map(({ sharpened }) => sharpened?.taken)).toEqual([
      ...[true, kinds?.taken, other?.taken, found.sharpened?.get(3)?.taken, undefined],
    ]);
    expect(judgement.verdict.text).toMatch(
      /^label 0: \d+ % of its rows look planted; label 2: its features fall into two parts that its scores do not show/,
    );
    const right = judgement.suspects.filter(({ row }) => row >= 800).length;
    expect(right).toBeGreaterThan(160);
    expect(right / judgement.suspects.length).toBeGreaterThan(0.95);
    // The scores that it was given are as they were.
    expect(scores.sharpened).toBeUndefined();
  });

  it('are taken though the scores show no two parts where the gain by features is above 1, whatever a verdict asks', async () => {
    for (const [kindsApart, taken, verdictGain] of [
      [1.3, false, 0.25],
      [1.3, false, 0.01],
      [2, true, 0.25],
    ] as const) {
      const { input, scores } = makeSet({ kindsApart, verdictGain });
      const kinds = (await sharpen(scores, input)).sharpened?.get(2);
      expect(kinds?.scoreGain).toBeLessThan(0.125);
      expect((kinds?.gain ?? 0) > 1).toBe(taken);
      expect(kinds?.taken).toBe(taken);
    }
  });

  it.each([
    [1, 0],
    [0.2, 3],
  ])('lie among those of the other labels, whose scores are %d wide about %d', async (scale, offset) => {
    const { input, scores, labels } = makeSet({ scale, offset });
    const found = await sharpen(scores, input);
    expect(found.sharpened?.get(0)?.taken).toBe(true);
    const of = (label: number) => found.score.filter((_, row) => labels[row] === label);
    const clean = commonScale([found.score.slice(0, 800)]);
    const others = commonScale([1, 2, 3, 4].map(of));
    expect(Math.abs(clean.centre - others.centre)).toBeLessThan(0.3 * others.spread);
    expect(clean.spread / others.spread).toBeGreaterThan(0.8);
    expect(clean.spread / others.spread).toBeLessThan(1.25);
  });

  it('ask of the parts what a verdict asks', async () => {
    const { separation, gain } = await sharpen(...sharpenable()).then(({ sharpened }) => {
      const figures = sharpened?.get(0);
      if (figures === undefined) throw new Error('nothing found');
      return figures;
    });
    const taken = async (change: Partial<PurifySettings>) =>
      (await sharpen(...sharpenable(change))).sharpened?.get(0)?.taken;
    expect(await taken({ verdictSeparation: separation * 0.99, verdictGain: gain * 0.99 })).toBe(true);
    expect(await taken({ verdictSeparation: separation * 1.01 })).toBe(false);
    expect(await taken({ verdictGain: gain * 1.01 })).toBe(false);
  });

  it('are left out when they are switched off, or where nothing is judged', async () => {
    const off = makeSet({ sharpen: false });
    expect(await sharpen(off.scores, off.input)).toBe(off.scores);
    const { scores, input } = makeSet();
    const ranked = { ...scores, judged: null };
    expect(await sharpen(ranked, input)).toBe(ranked);
  });
});

function sharpenable(change: Partial<PurifySettings> = {}): [RowScores, PurifyInput] {
  const { scores, input } = makeSet(change);
  return [scores, input];
}
