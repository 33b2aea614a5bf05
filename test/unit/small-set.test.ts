import { describe, expect, it } from 'vitest';
import { smallSetWarnings, unjudgedWarnings } from '../../src/cli/small-set.js';
import { PRESETS } from '../../src/defenses/pad-ft/options.js';

/** The given labels of a set with so many rows of each. */
const labelsOf = (rows: readonly number[]) =>
  Int32Array.from(rows.flatMap((count, label) => new Array(count).fill(label)));
const warnings = (settings: Parameters<typeof smallSetWarnings>[0], rows: readonly number[]) =>
  smallSetWarnings(settings, labelsOf(rows), rows.length);

describe('a small training set', () => {
  it('is warned of where a label has too few rows to be judged', () => {
    const some = warnings(PRESETS.default, [112, ...new Array<number>(9).fill(54)]);
    expect(some).toEqual([
      expect.stringMatching(
        /^9 of 10 labels have fewer than the 100 rows .*a backdoor there goes unseen.*--always true/,
      ),
    ]);
    const all = warnings(PRESETS.default, [30, 30]);
    expect(all).toEqual([expect.stringMatching(/^2 of 2 labels have .*no backdoor can be found/)]);
    expect(warnings({ ...PRESETS.default, always: true }, [30, 30])).toEqual([]);
    // A detector repairs nothing, whatever it is told.
    expect(unjudgedWarnings(labelsOf([30, 30]), 2)).toEqual([
      expect.stringMatching(/no backdoor can be found\. More rows help$/),
    ]);
    expect(unjudgedWarnings(labelsOf([100, 100]), 2)).toEqual([]);
  });

  it('is warned of where n leaves nothing to purify, with an n that fits', () => {
    const whole = warnings(PRESETS.paper, new Array<number>(10).fill(60));
    expect(whole).toEqual([
      '--purify.count 3000 asks for 300 rows of each label, and 10 of 10 labels have no more than that: all of their rows are kept, planted ones too. Try --purify.count 75',
    ]);
    const fitting = { ...PRESETS.paper, purify: { ...PRESETS.paper.purify, count: 75 } };
    expect(warnings(fitting, new Array<number>(10).fill(60))).toEqual([]);
    expect(warnings(PRESETS.paper, [200, ...new Array<number>(9).fill(5000)])).toEqual([
      expect.stringContaining('1 of 10 labels has no more than that'),
    ]);
  });

  it('is not warned of at the sizes of CIFAR', () => {
    for (const preset of Object.values(PRESETS)) {
      expect(warnings(preset, new Array<number>(10).fill(5000))).toEqual([]);
      expect(warnings(preset, new Array<number>(100).fill(500))).toEqual([]);
    }
  });
});
