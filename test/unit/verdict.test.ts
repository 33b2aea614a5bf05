import { describe, expect, it } from 'vitest';
import { PRESETS } from '../../src/defenses/pad-ft/options.js';
import { type RowScores, selectRows } from '../../src/defenses/pad-ft/purify.js';
import { judge } from '../../src/defenses/pad-ft/verdict.js';
import { Random } from '../../src/random.js';

const SETTINGS = PRESETS.default.purify;

/** How many rows a label has in its bulk (scores about 0), and how many planted ones (about `at`). */
interface Group {
  readonly clean: number;
  readonly planted?: number;
  readonly at?: number;
  /** Standard deviation of the planted ones' scores. */
  readonly width?: number;
}

/** Scores as a purifier gives them; every row eligible unless `wrong` rows of a label are misclassified. */
function madeScores(groups: readonly Group[], { wrong = 0, seed = 1 } = {}) {
  const random = new Random(seed);
  // Sum of twelve uniform numbers: a Gaussian but for tails nobody has seen.
  const normal = () => Array.from({ length: 12 }, () => random.uniform()).reduce((sum, x) => sum + x, -6);
  const rows = groups.flatMap(({ clean, planted = 0, at = 8, width = 1 }, label) => [
    ...Array.from({ length: clean }, (_, i) => ({ label, score: normal(), planted: false, eligible: i >= wrong })),
    ...Array.from({ length: planted }, () => ({ label, score: at + width * normal(), planted: true, eligible: true })),
  ]);
  const labels = Int32Array.from(rows, ({ label }) => label);
  const eligible = Uint8Array.from(rows, (row) => (row.eligible ? 1 : 0));
  const score = Float32Array.from(rows, (row) => row.score);
  const scores: RowScores = {
    score,
    eligible,
    judged: eligible,
    alternative: labels.map((label) => (label + 1) % groups.length),
    victim: {
      ...{ sce: score, logOdds: score.map((x) => -x), alternative: labels },
      predicted: labels.map((label, row) => (eligible[row] === 1 ? label : (label + 1) % groups.length)),
    },
  };
  return { scores, labels, classes: groups.length, planted: rows.map((row) => row.planted) };
}

async function judged(groups: readonly Group[], made: Parameters<typeof madeScores>[1] = {}) {
  const { scores, labels, classes, planted } = madeScores(groups, made);
  return { ...(await judge(scores, labels, classes, SETTINGS)), scores, planted };
}

const CLEAN: Group = { clean: 300 };

describe('the verdict', () => {
  it('calls labels attacked whose scores fall into two groups, and names the upper one row by row', async () => {
    const groups = [CLEAN, { clean: 300, planted: 60 }, CLEAN, { clean: 200, planted: 200 }];
    const { verdict, labels, suspects, probability, planted, scores } = await judged(groups);
    expect(verdict).toEqual({
      attacked: [1, 3],
      near: [],
      text: 'label 1: 17 % of its rows look planted; label 3: 50 % of its rows look planted',
    });
    expect(labels.map(({ attacked }) => attacked)).toEqual([false, true, false, true]);
    expect(labels[1]).toMatchObject({ rows: 360, eligible: 360, plantedShare: 60 / 360 });
    expect(labels[1]?.separation).toBeGreaterThan(5);
    expect(labels[1]?.gain).toBeGreaterThan(0.1);
    // Eight standard deviations apart the two groups do not overlap: exactly the planted rows.
    const expected = planted.flatMap((is, row) => (is ? [row] : []));
    expect(suspects.map(({ row }) => row).sort((a, b) => a - b)).toEqual(expected);
    for (const { row, givenLabel, posterior, likelyLabel } of suspects) {
      expect(posterior).toBeGreaterThanOrEqual(SETTINGS.suspectPosterior);
      expect(posterior).toBeLessThanOrEqual(1);
      expect(likelyLabel).toBe(scores.alternative[row]);
      expect(likelyLabel).toBe((givenLabel + 1) % 4);
    }
    const posteriors = suspects.map(({ posterior }) => posterior);
    expect(posteriors).toEqual([...posteriors].sort((a, b) => b - a));
    // Of the attacked labels' rows the planted ones are surely so and the others surely not; of other labels nothing is
    // said.
    probability.forEach((value, row) => {
      const own = (row >= 300 && row < 660) || row >= 960;
      expect(value).toBeCloseTo(own && planted[row] ? 1 : 0, 1);
      if (!own) expect(value).toBe(0);
    });
  });

  it('accuses no label of clean scores, whichever way they are drawn', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const { verdict, suspects, probability, labels } = await judged([CLEAN, CLEAN, CLEAN], { seed });
      expect(verdict).toEqual({ attacked: [], near: [], text: 'no evidence of a backdoor' });
      expect(suspects).toEqual([]);
      expect(probability.every((value) => value === 0)).toBe(true);
      expect(labels.map(({ plantedShare }) => plantedShare)).toEqual([0, 0, 0]);
    }
  });

  // Half the label planted near the rest: the label is twice as wide as any other, its groups hardly apart.
  const wide: Group = { clean: 300, planted: 300, at: 3.2 };

  it('takes a smaller gain where the label stands out among ten labels or more', async () => {
    const beside = (others: number) => judged([wide, ...new Array<Group>(others).fill(CLEAN)], { seed: 3 });
    const [few, many] = [await beside(8), await beside(9)];
    for (const found of [few, many]) {
      expect(found?.labels[0]?.separation).toBeGreaterThan(SETTINGS.verdictSeparation);
      expect(found?.labels[0]?.gain).toBeGreaterThan(SETTINGS.verdictGain / 5);
      expect(found?.labels[0]?.gain).toBeLessThan(SETTINGS.verdictGain);
      expect(found?.labels[0]?.z).toBeGreaterThan(10);
    }
    expect(many?.verdict.attacked).toEqual([0]);
    expect(many?.suspects.length).toBeGreaterThan(200);
    // Among nine labels no spread is called an outlier: the label only comes near.
    expect(few?.verdict.attacked).toEqual([]);
    expect(few?.suspects).toEqual([]);
    expect(few?.verdict.near).toEqual([0]);
    expect(few?.verdict.text).toMatch(
      /^no evidence of a backdoor; label 0 comes near it \(Ashman's D 3\.\d\d, gain 0\.1\d\d; asked for: above 2\.8 and 0\.25\)$/,
    );
  });

  // A wide planted part: the groups are told apart by a large gain, but they overlap.
  const blurred: Group = { clean: 900, planted: 100, at: 6.5, width: 4 };

  it('takes overlapping parts for a sign where a tenth of many labels is planted, and of one label for none', async () => {
    const alone = await judged([blurred, ...new Array<Group>(9).fill(CLEAN)], { seed: 3 });
    expect(alone.labels[0]?.separation).toBeGreaterThan(2);
    expect(alone.labels[0]?.separation).toBeLessThan(SETTINGS.verdictSeparation);
    expect(alone.labels[0]?.gain).toBeGreaterThan(2 * SETTINGS.verdictGain);
    expect(alone.labels[0]?.z).toBeLessThan(6);
    expect(alone.verdict.attacked).toEqual([]);
    const two = await judged([blurred, blurred, ...new Array<Group>(8).fill(CLEAN)], { seed: 3 });
    expect(two.verdict.attacked).toEqual([]);
    const many = await judged([blurred, blurred, blurred, ...new Array<Group>(7).fill(CLEAN)], { seed: 3 });
    expect(many.verdict.attacked).toEqual([0, 1, 2]);
    // Once three labels are so, a fourth is told by its gain, though its parts stand no further apart than 2.
    const flat: Group = { clean: 850, planted: 150, at: 5, width: 4 };
    const fourth = await judged([blurred, blurred, blurred, flat, ...new Array<Group>(6).fill(CLEAN)], { seed: 3 });
    expect(fourth.labels[3]?.separation).toBeLessThan(2);
    expect(fourth.labels[3]?.gain).toBeGreaterThan(2 * SETTINGS.verdictGain);
    expect(fourth.verdict.attacked).toEqual([0, 1, 2, 3]);
    const right = many.suspects.filter(({ row }) => many.planted[row]).length;
    expect(right / many.suspects.length).toBeGreaterThan(0.9);
    expect(right).toBeGreaterThan(200);
  });

  it('counts a label that its features tell apart among those that are alike, however much its scores gain', async () => {
    // Far apart, and a gain below twice the threshold.
    const few: Group = { clean: 1000, planted: 40, at: 6 };
    const made = madeScores([blurred, blurred, few, ...new Array<Group>(7).fill(CLEAN)], { seed: 3 });
    const told = (taken: boolean) => {
      const sharpened = new Map([[2, { separation: 6, gain: 0.4, agreement: 0.9, taken }]]);
      return judge({ ...made.scores, sharpened }, made.labels, made.classes, SETTINGS);
    };
    const plain = await told(false);
    expect(plain.labels[2]?.gain).toBeLessThan(2 * SETTINGS.verdictGain);
    expect(plain.verdict.attacked).toEqual([2]);
    expect((await told(true)).verdict.attacked).toEqual([0, 1, 2]);
  });

  it('says from how many labels the upper part comes, and draws no verdict from it', async () => {
    // `among` of ten labels in all: the labels that rows lose their own to, in turn.
    const found = (among: number, group = blurred) => {
      const made = madeScores([group, ...new Array<Group>(9).fill(CLEAN)], { seed: 3 });
      const alternative = made.labels.map((label, row) => (label + 1 + (row % among)) % made.classes);
      return judge({ ...made.scores, alternative }, made.labels, made.classes, SETTINGS);
    };
    for (const among of [1, 3, 6, 9]) {
      const { labels, verdict } = await found(among);
      expect(labels[0]?.origins).toBeCloseTo(among / 9, 1);
      expect(verdict.attacked).toEqual([]);
    }
    expect((await found(9, { clean: 300, planted: 200, at: 9 })).verdict.attacked).toEqual([0]);
  });

  describe('of which part is planted', () => {
    // The lower part falls to the nine other labels in turn, or to these; the upper one to one of them, or to these.
    const NINE = [0, 1, 2, 3, 4, 5, 6, 7, 8];
    const madeOf = (group: Group, { lower = NINE, upper = [0], others = [] as readonly Group[] } = {}) => {
      const groups = [group, ...others, ...new Array<Group>(9 - others.length).fill(CLEAN)];
      const made = madeScores(groups, { seed: 3 });
      const alternative = made.labels.map((label, row) => {
        const to = made.planted[row] ? upper : lower;
        return (label + 1 + (to[row % to.length] as number)) % made.classes;
      });
      return { ...made, scores: { ...made.scores, alternative } };
    };
    const rowsOf = (made: ReturnType<typeof madeOf>, planted: boolean) =>
      Array.from(made.labels.keys()).filter((row) => made.labels[row] === 0 && made.planted[row] === planted);
    const suspectsOf = async (made: ReturnType<typeof madeOf>, settings: typeof SETTINGS = SETTINGS) =>
      (await judge(made.scores, made.labels, made.classes, settings)).suspects
        .map(({ row }) => row)
        .filter((row) => made.labels[row] === 0)
        .sort((a, b) => a - b);
    const most: Group = { clean: 200, planted: 400 };

    it('takes the lower part where most rows fall to one label and it comes from many', async () => {
      const made = madeOf(most);
      const { scores, labels, classes } = made;
      const { labels: verdicts, suspects, probability, verdict } = await judge(scores, labels, classes, SETTINGS);
      expect(verdicts[0]).toMatchObject({ attacked: true, reversed: true, plantedShare: 200 / 600 });
      expect(verdicts[0]?.origins).toBeCloseTo(1 / 9, 6);
      expect(verdicts[0]?.lowerOrigins).toBeCloseTo(1, 2);
      expect(verdicts.slice(1).every(({ reversed }) => reversed === undefined)).toBe(true);
      expect(verdict.text).toBe(
        'label 0: 33 % of its rows look planted, those that lose less of their margin: they come from more labels',
      );
      expect(await suspectsOf(made)).toEqual(rowsOf(made, false));
      for (const { row, posterior } of suspects) expect(posterior).toBeCloseTo(probability[row] as number, 6);
      for (const row of rowsOf(made, true)) expect(probability[row]).toBeLessThan(0.1);
      // And keeps rows of the upper part, whose scores come first now; the scores that it was given stay as they are.
      const before = scores.score.slice();
      const found = await selectRows(scores, labels, classes, { ...SETTINGS, count: 1000, pool: 0 });
      const kept = Array.from(found.purified).filter((row) => labels[row] === 0);
      expect(kept.length).toBe(100);
      for (const row of kept) expect(made.planted[row]).toBe(true);
      const largest = Math.max(...rowsOf(made, true).map((row) => found.score[row] as number));
      const smallest = Math.min(...rowsOf(made, false).map((row) => found.score[row] as number));
      expect(largest).toBeLessThan(smallest);
      const place = new Map(Array.from(found.order, (row, at) => [row, at]));
      expect(place.get(rowsOf(made, true)[0] as number)).toBeLessThan(place.get(rowsOf(made, false)[0] as number) ?? 0);
      expect(scores.score).toEqual(before);
      expect(found.score.slice(600)).toEqual(before.slice(600));
    });

    it('takes the lower part where the upper one is a third of the rows', async () => {
      const made = madeOf({ clean: 390, planted: 210 });
      expect(await suspectsOf(made)).toEqual(rowsOf(made, false));
    });

    it('asks of the lower part twice as many labels', async () => {
      // Of 200 rows about three in five and two in five, and a few of a third label: 2.1 labels.
      const made = madeOf(most, { lower: [...new Array<number>(12).fill(0), ...new Array<number>(8).fill(1), 2] });
      const { labels } = await judge(made.scores, made.labels, made.classes, SETTINGS);
      expect((labels[0]?.lowerOrigins ?? 0) / (labels[0]?.origins ?? 1)).toBeGreaterThan(2);
      expect((labels[0]?.lowerOrigins ?? 0) / (labels[0]?.origins ?? 1)).toBeLessThan(2.6);
      expect(labels[0]?.reversed).toBe(true);
    });

    it.each([
      ['it is few rows, as of one source class', madeOf({ clean: 400, planted: 190 }), SETTINGS],
      // Perplexities: 0.6 and 0.4 make 1.96 labels.
      ['both come from few', madeOf(most, { lower: [0, 0, 0, 1, 1] }), SETTINGS],
      // As under SIG at 5 % of CIFAR-10.
      ['it comes from half of the labels', madeOf(most, { upper: [0, 1, 2, 3, 4] }), SETTINGS],
      ['many labels are attacked', madeOf(most, { others: [most, most] }), SETTINGS],
      ['the lower one is a handful of rows', madeOf({ clean: 9, planted: 400, at: 20 }), SETTINGS],
      ['rows of large loss are meant, as the paper has it', madeOf(most), { ...SETTINGS, purifier: 'sce' as const }],
    ])('takes the upper part where %s', async (_, made, settings) => {
      const suspects = await suspectsOf(made, settings);
      const { labels } = await judge(made.scores, made.labels, made.classes, settings);
      expect(labels[0]?.reversed).toBeUndefined();
      expect(labels[0]?.attacked).toBe(true);
      expect(suspects).toEqual(rowsOf(made, true));
    });
  });

  it('compares spreads with those of labels that can be judged', async () => {
    // Eleven labels of a handful of rows: their spreads, of 20 rows or none at all, are no measure.
    const tiny = Array.from({ length: 11 }, (_, i): Group => ({ clean: i % 2 === 0 ? 20 : 4 }));
    const found = await judged([wide, CLEAN, ...tiny], { seed: 3 });
    expect(found.verdict.attacked).toEqual([]);
    expect(found.labels.slice(2).every(({ z, separation }) => z === 0 && separation === null)).toBe(true);
  });

  it('calls no label near it once one is attacked, nor by the paper’s scores', async () => {
    expect((await judged([wide, CLEAN, CLEAN])).verdict.near).toEqual([0]);
    const beside = await judged([wide, CLEAN, { clean: 300, planted: 60 }]);
    expect(beside.verdict).toMatchObject({ attacked: [2], near: [] });
    expect(beside.verdict.text).not.toContain('near');
    const { scores, labels, classes } = madeScores([wide, CLEAN, CLEAN]);
    const byLoss = await judge(scores, labels, classes, PRESETS.paper.purify);
    expect(byLoss.verdict.near).toEqual([]);
    const accused = madeScores([CLEAN, CLEAN, { clean: 300, planted: 60 }]);
    const { verdict } = await judge(accused.scores, accused.labels, accused.classes, PRESETS.paper.purify);
    expect(verdict.text).toMatch(/^label 2: 17 % of its rows look planted; by the loss alone/);
    const few = madeScores([{ clean: 50 }, { clean: 50 }]);
    const unjudged = await judge(few.scores, few.labels, few.classes, PRESETS.paper.purify);
    expect(unjudged.verdict.text).not.toContain('loss');
    expect(byLoss.verdict.text).toMatch(/^no evidence of a backdoor; by the loss alone, .*may be the clean ones$/);
    // A handful of outliers is no group, however far away.
    expect((await judged([{ clean: 300, planted: 6 }, CLEAN, CLEAN])).verdict.near).toEqual([]);
  });

  it('needs both: parts that stand apart, and a gain by telling them apart', async () => {
    const { labels } = await judged([CLEAN, { clean: 300, planted: 100, at: 2 }]);
    // Two standard deviations: one skewed hump.
    expect(labels[1]?.attacked).toBe(false);
    const apart = madeScores([CLEAN, { clean: 300, planted: 60 }]);
    const demanding = { ...SETTINGS, verdictSeparation: 20 };
    expect((await judge(apart.scores, apart.labels, 2, demanding)).verdict.attacked).toEqual([]);
    expect((await judge(apart.scores, apart.labels, 2, { ...SETTINGS, verdictGain: 10 })).verdict.attacked).toEqual([]);
  });

  it('does not judge a label by fewer than 100 rows, and says so', async () => {
    const few = await judged([CLEAN, { clean: 69, planted: 30 }]);
    expect(few.labels[1]).toMatchObject({ eligible: 99, separation: null, gain: null, attacked: false });
    expect(few.suspects).toEqual([]);
    expect(few.verdict.text).toBe(
      'no evidence of a backdoor; 1 of 2 labels (1) has too few correctly classified rows to judge, fewer than 100',
    );
    expect((await judged([CLEAN, { clean: 70, planted: 30 }])).verdict.attacked).toEqual([1]);
    // Rows the victim gets wrong do not count.
    const wrong = await judged([{ clean: 120, planted: 30 }, CLEAN], { wrong: 60 });
    expect(wrong.labels[0]).toMatchObject({ rows: 150, eligible: 90, separation: null });
    const mixed = await judged([{ clean: 300, planted: 60 }, { clean: 50 }, { clean: 50 }]);
    expect((await judged([{ clean: 99 }, { clean: 40 }])).verdict.text).toBe(
      'no verdict: nothing could be judged; 2 of 2 labels (0, 1) have too few correctly classified rows to judge, fewer than 100',
    );
    expect(mixed.verdict.text).toBe(
      'label 0: 17 % of its rows look planted; 2 of 3 labels (1, 2) have too few correctly classified rows to judge, fewer than 100',
    );
  });

  it('takes fewer than 10 planted rows for outliers', async () => {
    const nine = await judged([CLEAN, { clean: 110, planted: 9, at: 20 }]);
    expect(nine.labels[1]?.separation).toBeGreaterThan(SETTINGS.verdictSeparation);
    expect(nine.labels[1]?.gain).toBeGreaterThan(SETTINGS.verdictGain);
    expect(nine.labels[1]).toMatchObject({ attacked: false, plantedShare: 0 });
    expect(nine.suspects).toEqual([]);
    expect((await judged([CLEAN, { clean: 110, planted: 10, at: 20 }])).suspects).toHaveLength(10);
  });

  it('stops between labels when it is told to', async () => {
    const { scores, labels, classes } = madeScores([CLEAN, CLEAN]);
    await expect(judge(scores, labels, classes, SETTINGS, AbortSignal.abort())).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    });
  });

  it('is not given by scores that say nothing about planting', async () => {
    const { scores, labels } = madeScores([{ clean: 300, planted: 60 }, CLEAN]);
    const { verdict, labels: verdicts } = await judge({ ...scores, judged: null }, labels, 2, SETTINGS);
    expect(verdict).toEqual({
      attacked: [],
      near: [],
      text: 'no verdict: this purifier ranks the rows and accuses none',
    });
    expect(verdicts[0]).toMatchObject({ eligible: 360, separation: null });
  });
});

describe('the rows that are kept', () => {
  const countOf = (rows: Uint32Array, labels: Int32Array, label: number) =>
    rows.filter((row) => labels[row] === label).length;

  it('are the cleanest n / C eligible rows of each label that are no suspects', async () => {
    const { scores, labels, classes, planted } = madeScores([{ clean: 300, planted: 60 }, CLEAN], { wrong: 20 });
    const { purified, suspects, order } = await selectRows(scores, labels, classes, {
      ...SETTINGS,
      count: 100,
      pool: 0,
    });
    expect(suspects).toHaveLength(60);
    expect([0, 1].map((label) => countOf(purified, labels, label))).toEqual([50, 50]);
    for (const row of purified) expect([planted[row], scores.eligible[row]]).toEqual([false, 1]);
    const worst = Math.max(...Array.from(purified.subarray(0, 50), (row) => scores.score[row] ?? 0));
    const before = Array.from(scores.score.keys()).filter(
      (row) => labels[row] === 0 && scores.eligible[row] === 1 && (scores.score[row] ?? 0) < worst,
    );
    expect(before).toHaveLength(49);
    expect(order).toHaveLength(scores.eligible.filter((one) => one === 1).length);
  });

  it('are drawn at random from the cleanest share of each label, and never more than that share', async () => {
    const { scores, labels, classes, planted } = madeScores([{ clean: 300, planted: 60 }, CLEAN], { wrong: 20 });
    const draw = async (pool: number, count: number, seed = 0) =>
      (await selectRows(scores, labels, classes, { ...SETTINGS, count, pool }, { count: 0, seed })).purified;
    // Candidates: 300 − 20 a label; half of them are 140.
    const pool = [0, 1].map((label) =>
      Array.from(scores.score.keys())
        .filter((row) => labels[row] === label && scores.eligible[row] === 1 && !planted[row])
        .sort((a, b) => (scores.score[a] ?? 0) - (scores.score[b] ?? 0))
        .slice(0, 140),
    );
    const drawn = await draw(0.5, 100);
    expect([0, 1].map((label) => countOf(drawn, labels, label))).toEqual([50, 50]);
    for (const row of drawn) expect(pool[labels[row] as number]).toContain(row);
    // The very cleanest would be the first 50 of the pool.
    expect(pool[0]?.slice(0, 50).filter((row) => drawn.includes(row)).length).toBeLessThan(40);
    expect(await draw(0.5, 100)).toEqual(drawn);
    expect(await draw(0.5, 100, 1)).not.toEqual(drawn);
    const all = await draw(0.5, 10 * labels.length);
    expect([0, 1].map((label) => countOf(all, labels, label))).toEqual([140, 140]);
  });

  it('are chosen after random rows have been held out, which leave half of each label and hold nothing planted', async () => {
    const { scores, labels, classes, planted } = madeScores([{ clean: 301, planted: 60 }, { clean: 150 }, CLEAN], {
      wrong: 10,
    });
    const everything = { ...SETTINGS, count: 10 * labels.length, pool: 0 };
    const select = (count: number, seed = 0) => selectRows(scores, labels, classes, everything, { count, seed });
    const { purified, heldOut, suspects } = await select(10 * labels.length);
    expect(suspects).toHaveLength(60);
    // Candidates: 301 − 10, 150 − 10 and 300 − 10; suspects and misclassified rows are none.
    expect([0, 1, 2].map((label) => countOf(purified, labels, label))).toEqual([146, 70, 145]);
    const kept = new Set(purified);
    for (const row of heldOut) expect([planted[row], kept.has(row)]).toEqual([false, false]);
    // Misclassified rows are among them, in proportion and of the attacked label too: they stand for all rows.
    expect([1, 2].map((label) => countOf(heldOut, labels, label))).toEqual([75, 150]);
    const wrong = heldOut.filter((row) => scores.eligible[row] === 0);
    expect([0, 1, 2].map((label) => countOf(wrong, labels, label))).toEqual([5, 5, 5]);
    const none = await select(0);
    expect(none.heldOut).toHaveLength(0);
    expect([0, 1, 2].map((label) => countOf(none.purified, labels, label))).toEqual([291, 140, 290]);
    const some = await select(90);
    expect(some.heldOut).toHaveLength(90);
    expect(some.heldOut).toEqual((await select(90)).heldOut);
    expect(some.heldOut).not.toEqual((await select(90, 1)).heldOut);
  });

  it('hold little back that may be planted, of labels too that are not called attacked where many are', async () => {
    // Of label 0 it cannot be shown: the groups overlap.
    const hidden: Group = { clean: 300, planted: 40, at: 2.5 };
    const select = async (attacked: number) => {
      const made = madeScores([hidden, ...new Array<Group>(attacked).fill({ clean: 300, planted: 60 }), CLEAN]);
      const { scores, labels, classes, planted } = made;
      const found = await selectRows(scores, labels, classes, SETTINGS, { count: labels.length, seed: 0 });
      expect(found.verdict.attacked).toEqual(Array.from({ length: attacked }, (_, i) => i + 1));
      const own = found.heldOut.filter((row) => labels[row] === 0);
      return { planted: own.filter((row) => planted[row]).length, clean: own.filter((row) => !planted[row]).length };
    };
    const [two, three] = [await select(2), await select(3)];
    expect(two.planted).toBeGreaterThan(15);
    expect(three.planted).toBeLessThan(10);
    expect(three.clean).toBeGreaterThan(80);
  });

  it('hold rows of an attacked label back by how likely they are clean, and no suspect', async () => {
    const near: Group = { clean: 3000, planted: 1000, at: 4.5 };
    const { scores, labels, classes, planted } = madeScores([near, CLEAN], { seed: 2 });
    const { probability } = await judge(scores, labels, classes, SETTINGS);
    const found = await selectRows(scores, labels, classes, SETTINGS, { count: labels.length, seed: 0 });
    expect(found.verdict.attacked).toEqual([0]);
    const held = found.heldOut.filter((row) => labels[row] === 0);
    const doubtful = (rows: Iterable<number>) =>
      Array.from(rows).filter((row) => (probability[row] ?? 0) > 0.2 && (probability[row] ?? 0) < 0.8);
    const all = doubtful(labels.keys());
    expect(all.length).toBeGreaterThan(40);
    // Half of what is likely clean: of the doubtful ones about a quarter in all, and most of those are clean.
    const drawn = doubtful(held);
    expect(drawn.length / all.length).toBeGreaterThan(0.1);
    expect(drawn.length / all.length).toBeLessThan(0.45);
    const suspects = new Set(found.suspects.map(({ row }) => row));
    expect(held.some((row) => suspects.has(row))).toBe(false);
    expect(held.filter((row) => planted[row]).length / held.length).toBeLessThan(0.02);
  });

  it('hold rows of a label back that has too few to be judged, as they are', async () => {
    const attacked = new Array<Group>(3).fill({ clean: 300, planted: 60 });
    const { scores, labels, classes } = madeScores([...attacked, CLEAN, { clean: 60 }], { wrong: 10 });
    const { heldOut, verdict } = await selectRows(scores, labels, classes, SETTINGS, { count: labels.length, seed: 0 });
    expect(verdict.attacked).toEqual([0, 1, 2]);
    // Half of the 50 that the victim classifies so, and of the 10 that it does not.
    const small = heldOut.filter((row) => labels[row] === 4);
    expect([small.length, small.filter((row) => scores.eligible[row] === 0).length]).toEqual([30, 5]);
  });
});
