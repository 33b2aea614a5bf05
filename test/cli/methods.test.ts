import { appendFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PURIFIERS } from '../../src/defenses/pad-ft/options.js';
import { loadPoisonedSet, type MethodName } from '../../src/index.js';
import type { RunCard } from '../../src/report/card.js';
import { auroc } from '../../src/statistics.js';
import { buildCli, lastLine, padFt, TINY_DATA, TINY_TRAINING, temporaryFolder } from './support.js';

const COMPUTE = ['--device', 'cpu', '--threads', '1'];

/** Every method at a size at which its figures mean nothing and its path is gone to the end. */
const SMALL = {
  none: {},
  'classifier-only': { epochs: 1, batchSize: 32, draws: 1 },
  'mm-bm': { sites: 'every', steps: 2, batchSize: 20, perLabel: 5 },
  ft: { epochs: 1, batchSize: 20 },
  'ft-sam': { epochs: 1, batchSize: 20, radius: 1 },
  fp: { epochs: 1, batchSize: 20, maxAccDrop: 0.25 },
  nad: { epochs: 1, teacherEpochs: 1, batchSize: 20 },
  // So large a step that masks fall below the threshold: something is pruned.
  anp: { steps: 5, batchSize: 20, learningRate: 10, maxAccDrop: 1 },
  abl: { isolationEpochs: 1, epochs: 1, unlearningEpochs: 1, isolationShare: 0.25 },
  dbd: {
    ...{ contrastiveEpochs: 1, contrastiveBatchSize: 40, warmUpEpochs: 1 },
    ...{ semiEpochs: 2, semiSteps: 1, semiBatchSize: 8 },
  },
} as const satisfies Record<MethodName, Readonly<Record<string, number | string>>>;
/** What each is given of 400 suspected rows and 60 clean images. */
interface Given {
  readonly training: 400 | null;
  readonly clean: 60 | null;
}
const NOTHING: Given = { training: null, clean: null };
const SET: Given = { training: 400, clean: null };
const IMAGES: Given = { training: null, clean: 60 };
const GIVEN: Readonly<Record<MethodName, Given>> = {
  ...{ none: NOTHING, 'classifier-only': SET, abl: SET, dbd: SET },
  ...{ 'mm-bm': IMAGES, ft: IMAGES, 'ft-sam': IMAGES, fp: IMAGES, nad: IMAGES, anp: IMAGES },
};

const NAMES = Object.keys(SMALL) as readonly MethodName[];
const folder = temporaryFolder();
const inFolder = { cwd: folder.path };
const at = (...names: readonly string[]) => join(folder.path, ...names);

beforeAll(async () => {
  await buildCli();
  const few = TINY_DATA.map((arg) => (arg === '400' ? '60' : arg));
  for (const args of [
    ['poison', ...TINY_DATA, ...COMPUTE, '--out', 'set'],
    ['poison', ...few, '--data-seed', '9', '--rate', '0', ...COMPUTE, '--out', 'clean'],
    ['train', '--data', 'set', '--out', 'victim', '--epochs', '4', ...TINY_TRAINING],
  ]) {
    const { code, stderr } = await padFt(args, inFolder);
    expect({ code, stderr }).toMatchObject({ code: 0 });
  }
});
afterAll(() => folder[Symbol.dispose]());

describe('defend --method', () => {
  it('is tried here by every name that there is', async () => {
    const { stdout } = await padFt(['list', 'methods', '--json'], inFolder);
    const { items } = lastLine(stdout) as unknown as {
      items: readonly { readonly name: MethodName; readonly needs: Readonly<Record<'training' | 'clean', boolean>> }[];
    };
    expect(items.map(({ name }) => name).sort()).toEqual([...NAMES].sort());
    for (const { name, needs } of items) {
      const { training, clean } = GIVEN[name];
      expect(needs, name).toMatchObject({ training: training !== null, clean: clean !== null });
    }
  });

  it.each(NAMES)('%s writes a model and a card, and evaluate finds the same', async (name) => {
    const given = GIVEN[name];
    const images = given.clean === null ? [] : ['--clean', 'clean'];
    const settings = Object.entries(SMALL[name]).flatMap(([option, value]) => [`--${name}.${option}`, `${value}`]);
    const args = ['defend', '--model', 'victim/victim.safetensors', '--data', 'set', '--method', name, ...images];
    const { code, stdout, stderr } = await padFt([...args, ...settings, ...COMPUTE, '--out', name, '--json'], inFolder);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(readdirSync(at(name)).sort()).toEqual(['card.json', 'defended.safetensors']);
    const card = JSON.parse(readFileSync(at(name, 'card.json'), 'utf8')) as RunCard;
    const [row] = card.methods ?? [];
    expect(lastLine(stdout)).toMatchObject({ type: 'result', row });
    expect(card.methods).toMatchObject([
      { name, given, said: expect.any(String), figures: { der: expect.any(Number), evaluation: expect.any(Object) } },
    ]);
    // Each setting as it was asked for, and where the clean images came from.
    expect(card.config.methods).toMatchObject([
      { name, settings: SMALL[name], clean: given.clean === null ? null : { folder: 'clean' } },
    ]);
    expect(row?.costs).toMatchObject([{ stage: name, seconds: expect.any(Number) }]);
    const again = await padFt(['evaluate', name, ...COMPUTE, '--json'], inFolder);
    expect(again).toMatchObject({ code: 0 });
    expect(lastLine(again.stdout)).toMatchObject({
      ...{ same: true, tolerance: 0 },
      rows: [{ name, stage: 'method', card: row?.figures?.evaluation, now: row?.figures?.evaluation, same: true }],
    });
    // A model of its own: what the victim was only where nothing is done.
    const [own, victim] = [at(name, 'defended.safetensors'), at('victim', 'victim.safetensors')].map(weightsIn);
    expect(own?.equals(victim as Buffer)).toBe(name === 'none');
  });

  it.each(PURIFIERS)('%s scores every row, and repairs nothing', async (name) => {
    const plain = name === 'cross-label' ? ['--purify.sharpen', 'false'] : [];
    const few = name === 'strip' ? ['--purify.overlays', '2'] : [];
    const bounds = name === 'clip-drop' ? ['--rounds', '1', '--clip.steps', '5', '--clip.batchSize', '20'] : [];
    const args = ['defend', '--model', 'victim/victim.safetensors', '--data', 'set', '--method', name];
    const { code, stdout, stderr } = await padFt(
      [...args, ...plain, ...few, ...bounds, ...COMPUTE, '--out', name, '--json'],
      inFolder,
    );
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(readdirSync(at(name)).sort()).toEqual(['card.json', 'scores.csv', 'suspects.csv']);
    const card = JSON.parse(readFileSync(at(name, 'card.json'), 'utf8')) as RunCard;
    expect(lastLine(stdout)).toMatchObject({ type: 'result', row: card.detections?.[0] });
    expect(card.detections).toMatchObject([
      {
        ...{ name, purifier: name, given: { victim: 'weights', training: 400, clean: null } },
        ...{ verdict: { text: expect.any(String) }, costs: [{ stage: 'purify', seconds: expect.any(Number) }] },
        figures: { auroc: { overall: expect.any(Number) }, tprAt: { fpr1: expect.any(Number) } },
      },
    ]);
    expect(card.config.detectors).toMatchObject([
      {
        name,
        settings: {
          purify: {
            purifier: name,
            ...(name === 'cross-label' && { sharpen: false }),
            ...(name === 'strip' && { overlays: 2 }),
          },
        },
      },
    ]);
    // The card's AUROC, from the file: of rows that the victim classifies as labelled, without self-labelled poison.
    const rows = readFileSync(at(name, 'scores.csv'), 'utf8').trimEnd().split('\n').slice(1);
    const [scores, correct] = [1, 2].map((column) => rows.map((line) => Number(line.split(',')[column]))) as [
      number[],
      number[],
    ];
    using set = await loadPoisonedSet(at('set'), { device: 'cpu' });
    const { poisoned, originalLabels } = set.truth;
    const labels = set.train.labels();
    const own = new Set(poisoned.filter((row, i) => originalLabels[i] === labels[row]));
    const ranked = Array.from(labels.keys()).filter((row) => correct[row] === 1 && !own.has(row));
    const planted = new Set(poisoned);
    const found = auroc(
      ranked.map((row) => scores[row] as number),
      ranked.map((row) => planted.has(row)),
    );
    expect(found).toBeCloseTo(card.detections?.[0]?.figures?.auroc.overall ?? Number.NaN, 9);
    const { code: refused, stderr: told } = await padFt(['evaluate', name, ...COMPUTE], inFolder);
    expect({ refused, told }).toMatchObject({ refused: 1, told: expect.stringContaining('nothing was repaired') });
    // Its files are compared first.
    appendFileSync(at(name, 'scores.csv'), '400,1,1\n');
    const changed = await padFt(['evaluate', name, ...COMPUTE], inFolder);
    expect(changed).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_CHECKSUM') });
  });

  it('mm-bd reads the model alone, a set beside it judges', async () => {
    const four = TINY_DATA.map((arg) => (arg === '3' ? '4' : arg));
    for (const args of [
      ['poison', ...four, ...COMPUTE, '--out', 'set4'],
      ['train', '--data', 'set4', '--out', 'victim4', '--epochs', '1', ...TINY_TRAINING],
    ]) {
      expect(await padFt(args, inFolder)).toMatchObject({ code: 0 });
    }
    const args = ['defend', '--model', 'victim4/victim.safetensors', '--data', 'set4', '--method', 'mm-bd'];
    expect(await padFt([...args, ...COMPUTE, '--out', 'mm-bd'], inFolder)).toMatchObject({ code: 0 });
    expect(readdirSync(at('mm-bd'))).toEqual(['card.json']);
    const card = JSON.parse(readFileSync(at('mm-bd', 'card.json'), 'utf8')) as RunCard;
    expect(card.inspections).toMatchObject([
      {
        name: 'mm-bd',
        given: { training: null, clean: null },
        costs: [{ stage: 'inspect' }],
        pValue: expect.any(Number),
      },
    ]);
    expect(card.inspections?.[0]?.labels).toHaveLength(4);
    const { code, stderr } = await padFt(['evaluate', 'mm-bd', ...COMPUTE], inFolder);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('nothing was repaired') });
  });

  it('refuses settings that a detector would not look at', async () => {
    const args = ['defend', '--model', 'victim/victim.safetensors', '--data', 'set', ...COMPUTE, '--out', 'nowhere'];
    for (const [flags, told] of [
      [['--method', 'strip', '--tune.epochs', '3'], '--tune.epochs: the method is strip'],
      [['--method', 'strip', '--clip.steps', '3'], '--clip.steps: the method is strip'],
      [['--method', 'strip', '--purify.purifier', 'sce'], '--purify.purifier: --method strip says which'],
      [['--method', 'mm-bd', '--purify.count', '3'], '--purify.count: the method is mm-bd'],
      [['--method', 'strip', '--purify.quantile', '0.9'], '--purify.quantile: the method is strip'],
      [['--method', 'clip-drop', '--clip.learningRate', '0.5'], '--clip.learningRate: the method is clip-drop'],
      [['--method', 'clip-drop', '--rounds', '1', '--purify.rounds', '2'], '--rounds 1 and --purify.rounds 2'],
      [['--method', 'mm-bd', '--rounds', '2'], '--rounds: the method is mm-bd'],
      [['--method', 'sce', '--purify.sharpen', 'false'], '--purify.sharpen: the method is sce'],
      [['--method', 'sce', '--preset', 'paper'], '--preset: the method is sce'],
      [['--method', 'sce', '--clean', 'clean'], '--clean: sce takes no clean images'],
      [['--method', 'ft', '--rounds', '2', '--clean', 'clean'], '--rounds: the method is ft'],
    ] as const) {
      const { code, stderr } = await padFt([...args, ...flags], inFolder);
      expect({ code, stderr }, told).toMatchObject({ code: 2, stderr: expect.stringContaining(told) });
    }
    expect(existsSync(at('nowhere'))).toBe(false);
  });

  it('what is refused leaves an earlier result alone', async () => {
    const args = ['--data', 'set', ...COMPUTE, '--out', 'ft', '--overwrite'];
    const before = readFileSync(at('ft', 'card.json'));
    const few = ['--model', 'victim/victim.safetensors', '--method', 'mm-bd'];
    const own = ['--model', 'ft/defended.safetensors', '--method', 'strip'];
    for (const [flags, exit, told] of [
      [few, 1, 'at least 4 classes; this one has 3'],
      [own, 2, 'is the model to be defended'],
    ] as const) {
      const { code, stderr } = await padFt(['defend', ...args, ...flags], inFolder);
      expect({ code, stderr }).toMatchObject({ code: exit, stderr: expect.stringContaining(told) });
      expect(existsSync(at('ft', 'defended.safetensors'))).toBe(true);
    }
    for (const flags of [[], ['--method', 'cross-label'], ['--method', 'ft', '--clean', 'clean']]) {
      const clipped = ['--model', 'mm-bm/defended.safetensors', ...flags];
      const { code, stderr } = await padFt(['defend', ...args, ...clipped], inFolder);
      expect({ code, stderr }).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/clipped already|clipping bounds already/),
      });
      expect(readFileSync(at('ft', 'card.json')).equals(before)).toBe(true);
    }
  });

  it('refuses clean images that a method would not look at, and to go without where it needs some', async () => {
    const args = ['defend', '--model', 'victim/victim.safetensors', '--data', 'set', ...COMPUTE, '--out', 'nowhere'];
    for (const name of NAMES) {
      const takes = GIVEN[name].clean !== null;
      const { code, stderr } = await padFt(
        [...args, '--method', name, ...(takes ? [] : ['--clean', 'clean'])],
        inFolder,
      );
      const told = takes ? `--clean: ${name} needs images known to be clean` : `--clean: ${name} takes no clean images`;
      expect({ code, stderr }, name).toMatchObject({ code: 2, stderr: expect.stringContaining(told) });
    }
    expect(existsSync(at('nowhere'))).toBe(false);
  });

  it('refuses the settings of another method, and does not pass over them', async () => {
    const args = ['defend', '--model', 'victim/victim.safetensors', '--data', 'set', '--method', 'none', ...COMPUTE];
    for (const name of NAMES.filter((other) => other !== 'none')) {
      const [[option, value] = []] = Object.entries(SMALL[name]);
      const flag = `--${name}.${option}`;
      const { code, stderr } = await padFt([...args, flag, `${value}`, '--out', 'nowhere'], inFolder);
      expect({ code, stderr }, name).toMatchObject({
        code: 2,
        stderr: expect.stringContaining(`${flag}: the method is none`),
      });
    }
    expect(existsSync(at('nowhere'))).toBe(false);
  });
});

/** The tensors of a safetensors file, without what is written over them. */
function weightsIn(path: string): Buffer {
  const bytes = readFileSync(path);
  return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)));
}
