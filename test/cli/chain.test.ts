import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, inflateSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accuracy } from '../../src/metrics.js';
import { Model } from '../../src/model.js';
import { loadModel, saveModel } from '../../src/model-file.js';
import { loadTrainingData } from '../../src/poisoned-set-file.js';
import type { RunCard } from '../../src/report/card.js';
import { buildCli, jsonLines, lastLine, padFt, TINY_DATA, TINY_TRAINING, temporaryFolder } from './support.js';

const COMPUTE = ['--device', 'cpu', '--threads', '1'];
/** Without held-out rows the gate is off: the last stage, bounds and all, is what is written and read again. */
const QUICK = [
  ...['--purify.count', '60', '--purify.rowsPerLabel', '16', '--clip.steps', '20'],
  ...['--tune.epochs', '2', '--holdout', '0', '--always', 'true'],
];

const folder = temporaryFolder();
const inFolder = { cwd: folder.path };
const at = (...names: readonly string[]) => join(folder.path, ...names);
const contentsOf = (name: string) => readdirSync(at(name)).map((file) => [file, sha256(at(name, file))]);
const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

beforeAll(buildCli);
afterAll(() => folder[Symbol.dispose]());

describe('dataset', () => {
  it('describes what it loads, and draws it', async () => {
    const args = [
      'dataset',
      'synthetic',
      '--train-rows',
      '40',
      '--test-rows',
      '20',
      '--preview',
      'shapes.ppm',
      '--json',
    ];
    const { code, stdout } = await padFt(args, inFolder);
    expect(code).toBe(0);
    const { dataset } = lastLine(stdout) as unknown as { dataset: { train: { rows: number; perLabel: number[] } } };
    expect(dataset).toMatchObject({ name: 'synthetic', train: { rows: 40 }, test: { rows: 20 } });
    expect(dataset.train.perLabel).toEqual(new Array(10).fill(4));
    const picture = readFileSync(at('shapes.ppm'));
    const [, width, height] = /^P6\n(\d+) (\d+)\n255\n/.exec(picture.toString('latin1')) ?? [];
    expect(picture.length).toBe(Number(width) * Number(height) * 3 + `P6\n${width} ${height}\n255\n`.length);
  });
});

/** Reads a PNG as its specification says; by hand, since what wrote it must not judge it. */
function checkPng(bytes: Buffer): void {
  expect(bytes.subarray(0, 8)).toEqual(Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]));
  const chunks = new Map<string, Buffer>();
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const body = bytes.subarray(at + 4, at + 8 + length);
    expect(bytes.readUInt32BE(at + 8 + length)).toBe(crc32(body));
    chunks.set(body.subarray(0, 4).toString('latin1'), body.subarray(4));
    at += 12 + length;
  }
  expect([...chunks.keys()]).toEqual(['IHDR', 'IDAT', 'IEND']);
  const header = chunks.get('IHDR') as Buffer;
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  // Ten columns and two rows of 32 pixels, three times as large, two pixels apart; eight bits, RGB.
  expect([width, height, ...header.subarray(8)]).toEqual([10 * 98 + 2, 2 * 98 + 2, 8, 2, 0, 0, 0]);
  const lines = inflateSync(chunks.get('IDAT') as Buffer);
  expect(lines.length).toBe(height * (3 * width + 1));
  const line = (y: number) => lines.subarray(y * (3 * width + 1), (y + 1) * (3 * width + 1));
  for (let y = 0; y < height; y++) expect(line(y)[0]).toBe(0);
  // White above, and the trigger alone tells the lower row of pictures from the upper one.
  expect(
    line(0)
      .subarray(1)
      .every((value) => value === 255),
  ).toBe(true);
  expect(line(2).equals(line(100))).toBe(true);
  expect(line(2 + 95).equals(line(100 + 95))).toBe(false);
}

// One after the other: each step works on what the one before wrote.
describe('poison, train, defend, evaluate', () => {
  it('poison writes a set', async () => {
    const { code, stdout } = await padFt(
      ['poison', ...TINY_DATA, ...COMPUTE, '--out', 'set', '--preview', 'p.png', '--json'],
      inFolder,
    );
    expect(code).toBe(0);
    expect(lastLine(stdout)).toMatchObject({ type: 'result', folder: 'set', manifest: { counts: { poisoned: 40 } } });
    expect(readdirSync(at('set')).sort()).toEqual([
      'manifest.json',
      'test.safetensors',
      'train.safetensors',
      'truth.safetensors',
    ]);
    checkPng(readFileSync(at('p.png')));
  });

  it('train writes a victim and how it was made', async () => {
    const args = ['train', '--data', 'set', '--out', 'victim', '--epochs', '4', ...TINY_TRAINING, '--json'];
    const { code, stdout } = await padFt(args, inFolder);
    expect(code).toBe(0);
    const lines = jsonLines(stdout);
    expect(lines[0]).toMatchObject({ type: 'start', schema: 1, argv: args });
    expect(lines.filter(({ type }) => type === 'epoch')).toHaveLength(4);
    expect(lines.filter(({ type }) => type === 'result')).toEqual([lines.at(-1)]);
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_, i) => i));
    for (const { time } of lines) expect(new Date(time).toISOString()).toBe(time);
    expect(readdirSync(at('victim')).sort()).toEqual(['training.json', 'victim.safetensors']);
    expect(JSON.parse(readFileSync(at('victim', 'training.json'), 'utf8'))).toMatchObject({
      kind: 'pad-ft-training',
      settings: { width: 8, epochs: 4 },
      data: { folder: 'set', poison: { attack: { name: 'badnets' } } },
      files: [{ path: 'victim.safetensors', sha256: sha256(at('victim', 'victim.safetensors')) }],
    });
  });

  it('train leaves a finished training as it was when a setting is wrong', async () => {
    const before = contentsOf('victim');
    writeFileSync(at('victim', 'checkpoint.safetensors'), 'of a training that was stopped');
    const again = ['train', '--data', 'set', '--out', 'victim', '--overwrite', ...TINY_TRAINING];
    for (const [wrong, told] of [
      [['--epochs', '0'], '--epochs: expected an integer in [1, 1000000], got 0'],
      [['--batch-size', '401'], '--batch-size: expected at most the 400 rows of the data set, got 401'],
      [['--precision', 'tf32'], '--precision: expected auto, fp32 or bf16 on the CPU'],
    ] as const) {
      const { code, stderr } = await padFt([...again, ...wrong], inFolder);
      expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining(told) });
    }
    expect(readFileSync(at('victim', 'checkpoint.safetensors'), 'utf8')).toContain('was stopped');
    rmSync(at('victim', 'checkpoint.safetensors'));
    expect(contentsOf('victim')).toEqual(before);
  });

  const defend = ['defend', '--model', 'victim/victim.safetensors', '--data', 'set', ...QUICK, ...COMPUTE];

  it('defend writes a model, suspects and a card, judged by the ground truth', async () => {
    const { code, stdout, stderr } = await padFt([...defend, '--out', 'repaired'], inFolder);
    expect(stderr).toContain('judge by the ground truth');
    expect(code).toBe(0);
    for (const column of ['ACC', 'ASR', 'RA', 'DER']) expect(stdout).toContain(column);
    expect(readdirSync(at('repaired')).sort()).toEqual([
      'card.json',
      'defended.safetensors',
      'scores.csv',
      'suspects.csv',
    ]);
    const card = JSON.parse(readFileSync(at('repaired', 'card.json'), 'utf8')) as RunCard;
    expect(card.config.defenses[0]?.settings).toMatchObject({
      purify: { count: 60 },
      tune: { epochs: 2 },
      always: true,
    });
    expect(card.rows[0]?.figures?.evaluations.victim).toEqual(card.victim.evaluation);
    for (const { path, sha256: expected } of card.files) expect(sha256(at('repaired', path))).toBe(expected);
    const [head, ...suspects] = readFileSync(at('repaired', 'suspects.csv'), 'utf8').trimEnd().split('\n');
    expect(head).toBe('row,given,likely,posterior');
    expect(suspects).toHaveLength(card.rows[0]?.suspects ?? -1);
    const [scoreHead, ...scores] = readFileSync(at('repaired', 'scores.csv'), 'utf8').trimEnd().split('\n');
    expect(scoreHead).toBe('row,score,correct');
    expect(scores.map((line) => Number(line.split(',')[0]))).toEqual(Array.from({ length: 400 }, (_, row) => row));
    // Suspects are taken from the largest scores of a label, of rows that may be judged.
    for (const line of suspects) expect(scores[Number(line.split(',')[0])]).toMatch(/,1$/);
  });

  it('poison, train and defend replace nothing that is finished unless they are told to', async () => {
    const folders = ['set', 'victim', 'repaired'];
    const before = folders.map(contentsOf);
    for (const [args, told] of [
      [['poison', ...TINY_DATA, '--out', 'set'], 'set/manifest.json is there from an earlier run'],
      [
        ['train', '--data', 'set', '--out', 'victim', ...TINY_TRAINING],
        'victim/training.json is there from an earlier',
      ],
      [[...defend, '--out', 'repaired'], 'repaired/card.json is there from an earlier run'],
    ] as const) {
      const { code, stdout, stderr } = await padFt([...args, '--json'], inFolder);
      expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining(told) });
      expect(stderr).toContain('name another folder, or add --overwrite');
      expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_OPTION', details: { path: '--out' } });
    }
    expect(folders.map(contentsOf)).toEqual(before);
  });

  it('defend --overwrite replaces a result by its own', async () => {
    cpSync(at('repaired'), at('again'), { recursive: true });
    const { code } = await padFt([...defend, '--seed', '1', '--out', 'again', '--overwrite'], inFolder);
    expect(code).toBe(0);
    expect(readdirSync(at('again')).sort()).toEqual([
      'card.json',
      'defended.safetensors',
      'scores.csv',
      'suspects.csv',
    ]);
    const card = JSON.parse(readFileSync(at('again', 'card.json'), 'utf8')) as RunCard;
    expect(card.seeds.defenses).toEqual([1]);
    for (const { path, sha256: expected } of card.files) expect(sha256(at('again', path))).toBe(expected);
  });

  it('a defence that fails leaves no older result to be taken for its own', async () => {
    // A network that learnt nothing calls everything alike: purification has nothing to go by.
    const idle = ['--epochs', '1', ...TINY_TRAINING, '--learning-rate', '0'];
    await padFt(['train', '--data', 'set', '--out', 'idle', ...idle], inFolder);
    const args = [...defend, '--model', 'idle/victim.safetensors', '--out', 'again', '--overwrite', '--json'];
    // What does not fit is refused while the older result is still whole.
    const unfit = await padFt([...args, '--data', 'nowhere'], inFolder);
    expect(unfit.code).toBe(1);
    expect(existsSync(at('again', 'card.json'))).toBe(true);
    const { code, stdout } = await padFt(args, inFolder);
    expect(code).toBe(1);
    expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_DATA' });
    expect(readdirSync(at('again'))).toEqual([]);
  });

  it('defend and train name a folder that cannot be made', async () => {
    const train = ['train', '--data', 'set', '--epochs', '1', ...TINY_TRAINING];
    for (const args of [defend, train]) {
      const { code, stderr } = await padFt([...args, '--out', 'set/manifest.json/x'], inFolder);
      expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('(ENOTDIR)') });
    }
  });

  it('evaluate on its folder gives the figures of its card again, and on that of a training says what to do', async () => {
    const { code, stdout } = await padFt(['evaluate', 'repaired', ...COMPUTE, '--json'], inFolder);
    expect({ code, stdout }).toMatchObject({ code: 0 });
    const card = JSON.parse(readFileSync(at('repaired', 'card.json'), 'utf8')) as RunCard;
    const [row] = card.rows;
    const figures = row?.figures?.evaluations['pad-ft'];
    expect(figures).not.toBeNull();
    expect(lastLine(stdout)).toMatchObject({
      same: true,
      tolerance: 0,
      rows: [{ name: 'default', stage: 'pad-ft', card: figures, now: figures, same: true }],
    });
    const elsewhere = await padFt(['evaluate', 'repaired', '--path', 'victim', ...COMPUTE], inFolder);
    expect(elsewhere).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('not in victim: say where it lies now'),
    });
    const training = await padFt(['evaluate', 'victim'], inFolder);
    expect(training).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('pad-ft evaluate --model victim/victim.safetensors --data'),
    });
  });

  it('defend --method repairs by another method, and evaluate checks it', async () => {
    const clean = ['poison', ...TINY_DATA, '--data-seed', '9', '--rate', '0', ...COMPUTE, '--out', 'clean'];
    expect((await padFt(clean, inFolder)).code).toBe(0);
    const method = ['--method', 'ft', '--clean', 'clean', '--ft.epochs', '2', '--ft.batchSize', '50'];
    const args = ['defend', '--model', 'victim/victim.safetensors', '--data', 'set', ...method, ...COMPUTE];
    const { code, stdout } = await padFt([...args, '--out', 'ft', '--json'], inFolder);
    expect({ code, stdout }).toMatchObject({ code: 0 });
    expect(readdirSync(at('ft')).sort()).toEqual(['card.json', 'defended.safetensors']);
    const card = JSON.parse(readFileSync(at('ft', 'card.json'), 'utf8')) as RunCard;
    expect(card.rows).toEqual([]);
    expect(card.methods).toMatchObject([
      { name: 'ft', given: { training: null, clean: 400 }, figures: { der: expect.any(Number) } },
    ]);
    expect(card.config.methods).toMatchObject([
      {
        name: 'ft',
        settings: { epochs: 2, batchSize: 50, momentum: 0.9 },
        flip: true,
        clean: { folder: 'clean', sha256: sha256(at('clean', 'train.safetensors')) },
      },
    ]);
    const again = await padFt(['evaluate', 'ft', ...COMPUTE, '--json'], inFolder);
    expect(again.code).toBe(0);
    expect(lastLine(again.stdout)).toMatchObject({ same: true, rows: [{ name: 'ft', stage: 'method', same: true }] });
    const table = await padFt([...args, '--out', 'ft', '--overwrite'], inFolder);
    expect(table.stdout).toMatch(/ft ◀ .*\n/);
    expect(table.stdout).toContain(
      'ft: every weight trained on 400 clean images for 2 epochs; given the victim, 400 clean images',
    );
    const suspected = [...args.map((arg) => (arg === 'clean' ? 'set' : arg)), '--out', 'none-such'];
    expect(await padFt(suspected, inFolder)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(
        '--clean: expected images known to be clean, other than those of the suspected set set',
      ),
    });
    const other = ['poison', ...TINY_DATA, '--data-seed', '9', '--rate', '0.1', ...COMPUTE, '--out', 'unclean'];
    expect((await padFt(other, inFolder)).code).toBe(0);
    const unclean = [...args.map((arg) => (arg === 'clean' ? 'unclean' : arg)), '--out', 'none-such'];
    expect(await padFt(unclean, inFolder)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(
        '--clean: expected images known to be clean, got "unclean, of whose 400 rows 40 are poisoned, as its own truth.safetensors says"',
      ),
    });
    expect(existsSync(at('none-such'))).toBe(false);
  });

  it('inspect asks a model alone: a bar a class, and a verdict for programs', async () => {
    const five = ['train', '--dataset', 'synthetic', '--train-rows', '100', '--test-rows', '20', '--classes', '5'];
    const made = await padFt([...five, '--epochs', '1', '--out', 'five', ...TINY_TRAINING], inFolder);
    expect(made).toMatchObject({ code: 0 });
    const args = ['inspect', 'five/victim.safetensors', '--images', '4', '--steps', '5', ...COMPUTE];
    const { code, stdout } = await padFt(args, inFolder);
    expect(code).toBe(0);
    const bars = stdout.split('\n').filter((line) => /^ *[0-4] .*█/.test(line));
    expect(bars).not.toEqual([]);
    // The largest margin has the longest bar.
    expect(Math.max(...bars.map((line) => line.split('█').length - 1))).toBe(40);
    const told = lastLine((await padFt([...args, '--json'], inFolder)).stdout);
    expect(told).toMatchObject({ type: 'result', model: 'five/victim.safetensors', pValue: expect.any(Number) });
    expect(told).toMatchObject({ labels: [0, 1, 2, 3, 4].map((label) => expect.objectContaining({ label })) });
    expect(stdout).toContain((told as unknown as { text: string }).text);
  });

  it('defends alike without the ground truth, which it never reads', async () => {
    rmSync(at('set', 'truth.safetensors'));
    const { code, stdout } = await padFt([...defend, '--out', 'blind'], inFolder);
    expect(code).toBe(0);
    expect(stdout.match(/no ground truth/g)).toHaveLength(1);
    expect(stdout).toContain('held-out ACC %');
    for (const file of ['defended.safetensors', 'suspects.csv']) {
      expect(sha256(at('blind', file)), file).toBe(sha256(at('repaired', file)));
    }
    const card = JSON.parse(readFileSync(at('blind', 'card.json'), 'utf8')) as RunCard;
    expect(card.rows[0]?.figures).toBeNull();
    expect(card.config.poison).toBeNull();
    const model = ['evaluate', '--model', 'victim/victim.safetensors', ...COMPUTE, '--json', '--data'];
    const lost = await padFt([...model, 'set'], inFolder);
    expect({ ...lost, last: lastLine(lost.stdout) }).toMatchObject({ code: 1, last: { code: 'ERR_FILE_MISSING' } });
    // What can be measured of a folder of images alone: how many get the label that they have.
    cpSync(at('set', 'train.safetensors'), at('images', 'train.safetensors'));
    const manifest = JSON.parse(readFileSync(at('set', 'manifest.json'), 'utf8')) as { files: { path: string }[] };
    const files = manifest.files.filter(({ path }) => path === 'train.safetensors');
    writeFileSync(at('images', 'manifest.json'), JSON.stringify({ ...manifest, files }));
    const alone = await padFt([...model, 'images'], inFolder);
    using data = await loadTrainingData(at('images'), { device: 'cpu' });
    const { mean, std, classNames } = data;
    const { model: victim } = await loadModel(at('victim', 'victim.safetensors'), { device: 'cpu' });
    const acc = accuracy(await victim.predict(data.train), data.train.labels());
    victim.dispose();
    expect(lastLine(alone.stdout)).toMatchObject({ evaluation: { acc, asr: null, ra: null } });
    expect(jsonLines(alone.stdout)).toContainEqual(
      expect.objectContaining({
        type: 'warning',
        message: expect.stringMatching(/^images holds no ground truth: ACC/),
      }),
    );
    const other = await padFt([...model, 'images', '--mean', '0.1,0.2,0.3'], inFolder);
    expect(jsonLines(other.stdout)).toContainEqual(
      expect.objectContaining({
        type: 'warning',
        message: expect.stringMatching(/^victim\/victim\.safetensors was saved with mean .* leave mean out/),
      }),
    );
    // A network that was never trained calls everything one class, and leaves the others without a row: why is said.
    using untrained = Model.create({ classes: classNames.length, width: 4, mean, std, device: 'cpu' });
    await saveModel(untrained, at('untrained.safetensors'));
    const blind = [
      'defend',
      '--model',
      'untrained.safetensors',
      '--data',
      'set',
      ...QUICK,
      ...COMPUTE,
      '--out',
      'none',
    ];
    const { code: failed, stderr } = await padFt(blind, inFolder);
    expect(failed).toBe(1);
    const [warned, ended] = [stderr.indexOf('warning: the model gives only'), stderr.indexOf('error ERR_DATA')];
    expect(warned).toBeGreaterThan(0);
    expect(ended).toBeGreaterThan(warned);
    await padFt(['poison', ...TINY_DATA, ...COMPUTE, '--out', 'set', '--overwrite'], inFolder);
  });

  it('evaluate measures what the card says', async () => {
    const args = ['evaluate', '--model', 'repaired/defended.safetensors', '--data', 'set', ...COMPUTE, '--json'];
    const { code, stdout } = await padFt(args, inFolder);
    expect(code).toBe(0);
    const { rows } = JSON.parse(readFileSync(at('repaired', 'card.json'), 'utf8')) as RunCard;
    const row = rows[0];
    expect(lastLine(stdout).evaluation).toEqual(row?.figures?.evaluations[row.returned]);
  });

  it('evaluate takes a clean data set too, and then knows no attack', async () => {
    const args = ['evaluate', '--model', 'victim/victim.safetensors', ...TINY_DATA, ...COMPUTE, '--json'];
    const { code, stdout } = await padFt(args, inFolder);
    expect(code).toBe(0);
    expect(lastLine(stdout).evaluation).toMatchObject({ acc: expect.any(Number), asr: null, ra: null });
  });

  it('a changed training set is refused', async () => {
    const path = at('set', 'train.safetensors');
    const bytes = readFileSync(path);
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
    writeFileSync(path, bytes);
    const { code, stdout } = await padFt([...defend, '--out', 'changed', '--json'], inFolder);
    expect(code).toBe(1);
    expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_CHECKSUM' });
    expect(readdirSync(folder.path)).not.toContain('changed');
  });
});

describe('demo', () => {
  it('runs it all, ends in one table, and evaluate finds the same', async () => {
    const args = ['demo', ...TINY_DATA, '--epochs', '4', ...TINY_TRAINING, '--preset', 'default', '--out', 'demo'];
    const run = await padFt(args, inFolder);
    expect(run.stderr).toContain('epoch 4/4');
    expect(run.code).toBe(0);
    for (const row of ['victim', 'default:', 'everything is in demo']) expect(run.stdout).toContain(row);
    const again = await padFt(['evaluate', 'demo', ...COMPUTE, '--json'], inFolder);
    expect(again.code).toBe(0);
    expect(lastLine(again.stdout)).toMatchObject({ type: 'result', same: true, tolerance: 0 });
  });

  it('replaces a finished run only when told to, and has nothing to resume in it', async () => {
    const before = contentsOf('demo');
    const args = ['demo', ...TINY_DATA, ...TINY_TRAINING, '--out', 'demo'];
    const again = await padFt(args, inFolder);
    expect(again).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('demo/card.json is there from an earlier'),
    });
    const resumed = await padFt([...args, '--resume'], inFolder);
    expect(resumed).toMatchObject({ code: 2, stderr: expect.stringContaining('is finished (demo/card.json)') });
    expect(contentsOf('demo')).toEqual(before);
  });

  it('may be repeated in its own folder, but takes no other run there for its own', async () => {
    const path = at('pad-ft-demo', 'card.json');
    mkdirSync(at('pad-ft-demo'));
    for (const name of ['card.json', 'truth.safetensors']) cpSync(at('demo', name), at('pad-ft-demo', name));
    // Far enough to see what it makes of the folder: no machine has this device.
    const args = ['demo', '--device', 'cuda:99'];
    const repeated = await padFt(args, inFolder);
    expect(repeated).toMatchObject({ code: 3, stderr: expect.stringContaining('pad-ft-demo holds is replaced') });
    writeFileSync(path, readFileSync(path, 'utf8').replace('"name": "synthetic"', '"name": "cifar10"'));
    const refused = await padFt(args, inFolder);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('pad-ft-demo/card.json is there from') });
  });

  it('evaluate exits with 1 when a figure differs from the card', async () => {
    const path = at('demo', 'card.json');
    const card = JSON.parse(readFileSync(path, 'utf8')) as { victim: { evaluation: { acc: number } } };
    card.victim.evaluation.acc = card.victim.evaluation.acc > 0.5 ? 0 : 1;
    writeFileSync(path, JSON.stringify(card));
    const { code, stdout } = await padFt(['evaluate', 'demo', ...COMPUTE], inFolder);
    expect(code).toBe(1);
    expect(stdout).toContain('DIFFERS');
  });
});
