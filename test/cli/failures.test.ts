import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildCli, jsonLines, lastLine, padFt, temporaryFolder } from './support.js';

const NO_ADDON = { PAD_FT_ADDON: '/nowhere/padft.node' };

beforeAll(buildCli);

describe('wrong usage exits with 2, before anything is loaded', () => {
  const cases: readonly [what: string, args: readonly string[], told: string][] = [
    ['a misspelt command', ['doctr'], 'Did you mean doctor?'],
    ['help of a misspelt command', ['help', 'doctr'], 'Did you mean doctor?'],
    ['a misspelt option', ['train', '--epoch', '3', '--out', 'x'], 'Did you mean --epochs?'],
    ['a missing option', ['poison', '--dataset', 'synthetic'], '--out <folder>'],
    ['a missing argument', ['dataset'], "missing required argument 'name'"],
    ['a word that is none of the choices', ['dataset', 'mnist'], 'cifar10, cifar100, synthetic'],
    ['a number that is none', ['train', '--data', 's', '--out', 'x', '--epochs', 'ten'], 'Expected a number.'],
    ['an empty number', ['train', '--data', 's', '--out', 'x', '--epochs', ''], 'Expected a number.'],
    ['a boolean that is none', ['train', '--data', 's', '--out', 'x', '--flip', 'yes'], 'Expected true or false.'],
    ['a device that is none', ['train', '--data', 's', '--out', 'x', '--device', 'gpu'], 'auto, cpu, cuda or cuda:N'],
    ['no data', ['train', '--out', 'x'], '--data: expected the folder of a training set'],
    ['two data sets', ['train', '--data', 's', '--dataset', 'synthetic', '--out', 'x'], "'--dataset <name>'"],
    [
      'a flag of another data set',
      ['dataset', 'synthetic', '--path', 'x'],
      '--path: the data set synthetic has no such option',
    ],
    [
      'an option of another attack',
      ['poison', '--dataset', 'synthetic', '--out', 'x', '--blended.alpha', '0.1'],
      '--blended.alpha: the attack is badnets',
    ],
    [
      'a setting out of range, named by its flag',
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--purify.count', '0'],
      '--purify.count: expected an integer ≥ 1, got 0',
    ],
    [
      'output over the input',
      ['defend', '--model', 'x/defended.safetensors', '--data', 's', '--out', 'x'],
      'is the model to be defended',
    ],
    [
      'a training flag for a victim that is given',
      ['demo', '--victim', 'v.safetensors', '--batch-size', '32'],
      '--batch-size: the victim v.safetensors is not trained here',
    ],
    [
      '--resume for one',
      ['demo', '--victim', 'v.safetensors', '--resume'],
      '--resume: the victim v.safetensors is not',
    ],
    [
      'the same setting twice, in two ways',
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--rounds', '2', '--purify.rounds', '3'],
      '--rounds 2 and --purify.rounds 3 say the same',
    ],
    [
      'a short form out of range',
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--rounds', '0'],
      '--purify.rounds: expected an integer in [1, 100], got 0',
    ],
    ['a setting of training', ['train', '--data', 's', '--out', 'x', '--batch-size', '1'], '--batch-size: expected'],
    ['a setting of poisoning', ['poison', '--dataset', 'synthetic', '--out', 'x', '--rate', '2'], '--rate: expected'],
    ['a setting of detection', ['inspect', 'm', '--steps', '0'], '--steps: expected an integer'],
    [
      'a picture in a format it cannot write',
      ['poison', '--dataset', 'synthetic', '--out', 'x', '--preview', 'p.gif'],
      '--preview: expected a name that ends in .png or .ppm, got p.gif',
    ],
    [
      'a picture in a folder that is not there',
      ['dataset', 'synthetic', '--preview', 'nowhere/p.png'],
      'nowhere does not exist: create it first',
    ],
    [
      'a method that needs clean images without any',
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--method', 'ft'],
      '--clean: ft needs images known to be clean',
    ],
    [
      'clean images for one that takes none',
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--clean', 'c'],
      '--clean: pad-ft takes no clean images',
    ],
    [
      "PAD-FT's own setting for another method",
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--method', 'none', '--purify.count', '3'],
      '--purify.count: the method is none; leave it out, or use --method pad-ft',
    ],
    [
      'its preset for another method',
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--method', 'none', '--preset', 'paper'],
      '--preset: the method is none, which does not read it',
    ],
    [
      'a setting of another purifier',
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--rounds', '5'],
      '--purify.rounds: the purifier is cross-label, which does not read it',
    ],
    [
      'a setting of the whole defence that another controller reads',
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--preset', 'paper', '--rejudge', '3'],
      '--rejudge: the controller is mm-bm, which does not read it',
    ],
    [
      'a setting of another controller',
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--preset', 'paper', '--clip.mu', '0.2'],
      '--clip.mu: the controller is mm-bm, which does not read it',
    ],
    [
      "another method's setting",
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--ft.epochs', '3'],
      '--ft.epochs: the method is pad-ft; leave it out, or use --method ft',
    ],
    [
      "a method's setting out of range",
      ['defend', '--model', 'm', '--data', 's', '--out', 'x', '--method', 'ft', '--clean', 'c', '--ft.epochs', '0'],
      '--ft.epochs: expected an integer',
    ],
    ['neither a run nor a model', ['evaluate'], 'expected either the folder of a finished run'],
    ['another data set than the run has', ['evaluate', 'run', '--data', 'set'], '--data: a finished run is measured'],
    ['another one by name', ['evaluate', 'run', '--dataset', 'cifar10'], '--dataset: a finished run is measured'],
    ['other sizes than the run has', ['evaluate', 'run', '--train-rows', '9'], '--train-rows: a finished run'],
    ['another normalisation', ['evaluate', 'run', '--mean', '0,0,0'], '--mean: a finished run is measured'],
  ];

  it.each(cases)('%s', async (_, args, told) => {
    const { code, stdout, stderr } = await padFt(args, { env: NO_ADDON });
    expect(stderr).toContain(told);
    expect(stdout).toBe('');
    expect(code).toBe(2);
    const json = await padFt([...args, '--json'], { env: NO_ADDON });
    expect(json.code).toBe(2);
    const lines = jsonLines(json.stdout);
    expect(lines.filter(({ type }) => type === 'error' || type === 'result')).toEqual([lines.at(-1)]);
    expect(lines.at(-1)).toMatchObject({ type: 'error', code: 'ERR_OPTION' });
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_line, i) => i));
  });

  it('no command at all prints the help, to standard error', async () => {
    const { code, stdout, stderr } = await padFt([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('Usage: pad-ft');
  });
});

describe('a machine that lacks something exits with 3', () => {
  it('without the addon, and says what to run', async () => {
    const args = ['train', '--dataset', 'synthetic', '--out', 'x', '--json'];
    const { code, stdout, stderr } = await padFt(args, { env: NO_ADDON });
    expect(code).toBe(3);
    expect(stderr).toContain('npm run setup');
    expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_ADDON' });
  });

  it('without the device asked for, and never computes elsewhere instead', async () => {
    using folder = temporaryFolder();
    const args = ['train', '--dataset', 'synthetic', '--out', 'x', '--device', 'cuda', '--json'];
    const { code, stdout } = await padFt(args, { cwd: folder.path, env: { CUDA_VISIBLE_DEVICES: '' } });
    expect(code).toBe(3);
    expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_DEVICE', details: { device: 'cuda' } });
    expect(existsSync(join(folder.path, 'x'))).toBe(false);
  });
});

describe('a run that fails exits with 1', () => {
  it('for data that are not there', async () => {
    const { code, stdout, stderr } = await padFt(['dataset', 'cifar10', '--path', '/nowhere', '--json']);
    expect(code).toBe(1);
    expect(stderr).toContain('/nowhere');
    expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_FILE_MISSING', details: { path: '/nowhere' } });
  });

  it.each([
    ['demo', ['--train-rows', '40', '--test-rows', '20']],
    ['poison', ['--dataset', 'synthetic', '--train-rows', '40', '--test-rows', '20']],
    ['train', ['--dataset', 'synthetic', '--train-rows', '40', '--test-rows', '20', '--batch-size', '8']],
    ['reproduce', ['table1', '--scale', 'smoke']],
  ])('%s, for a folder that cannot be made', async (command, args) => {
    const { code, stdout } = await padFt([command, ...args, '--device', 'cpu', '--out', '/dev/null/x', '--json']);
    expect(code).toBe(1);
    expect(lastLine(stdout)).toMatchObject({
      type: 'error',
      code: 'ERR_FILE_WRITE',
      message: expect.stringMatching(/^\/dev\/null\/x.* could not be made: a part of the path is a file.*ENOTDIR/),
    });
  });

  it('leaves what another command finished alone, whatever is said about replacing it', async () => {
    using folder = temporaryFolder();
    mkdirSync(join(folder.path, 'set'));
    writeFileSync(join(folder.path, 'set', 'manifest.json'), '{}');
    for (const args of [
      ['demo', '--out', 'set', '--overwrite'],
      ['train', '--dataset', 'synthetic', '--out', 'set', '--overwrite'],
      ['defend', '--model', 'm', '--data', 'set', '--out', 'set'],
    ]) {
      const { code, stderr } = await padFt(args, { cwd: folder.path, env: NO_ADDON });
      expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('holds a training set') });
    }
    expect(readdirSync(join(folder.path, 'set'))).toEqual(['manifest.json']);
  });

  it.each([
    [['defend', '--model', 'm', '--data', 's', '--out', 'x'], 'give a .safetensors file'],
    [['defend', '--model', '.', '--data', 's', '--out', 'x'], 'give the model in it, a .safetensors file'],
    [['train', '--data', 's', '--out', 'x'], 'one of your own or of `pad-ft poison --dataset NAME --out FOLDER`'],
    [['evaluate', 's'], 'it is written last: that run was stopped or failed, or the folder is not of a run'],
  ])('for what is not there, and says what to do: %j', async (args, told) => {
    using folder = temporaryFolder();
    const { code, stdout, stderr } = await padFt([...args, '--device', 'cpu', '--json'], { cwd: folder.path });
    expect(stderr).toContain(told);
    expect(code).toBe(1);
    expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_FILE_MISSING' });
    expect(existsSync(join(folder.path, 'x'))).toBe(false);
  });

  it('for a model that is not there, and for one that is something else', async () => {
    using folder = temporaryFolder();
    const model = join(folder.path, 'model.safetensors');
    const args = ['evaluate', '--model', model, '--dataset', 'synthetic', '--device', 'cpu', '--json'];
    const missing = await padFt(args);
    expect(missing.code).toBe(1);
    expect(lastLine(missing.stdout)).toMatchObject({ type: 'error', code: 'ERR_FILE_MISSING' });
    writeFileSync(model, 'not a model \u001b[31m');
    const wrong = await padFt(args);
    expect(wrong.code).toBe(1);
    expect(lastLine(wrong.stdout)).toMatchObject({ type: 'error', code: 'ERR_FILE_FORMAT' });
    expect(wrong.stderr).not.toContain('\u001b');
  });
});

describe('what does not fit together exits with 1, and is named', () => {
  const folder = temporaryFolder();
  const inFolder = { cwd: folder.path };
  const quick = ['--train-rows', '64', '--test-rows', '16', '--dataset', 'synthetic'];
  const compute = ['--device', 'cpu', '--threads', '1'];
  const training = ['train', '--width', '4', '--epochs', '1', '--batch-size', '16', ...compute];
  afterAll(() => folder[Symbol.dispose]());

  it('a model and the data of other classes, by their paths', async () => {
    await padFt(['poison', ...quick, '--classes', '4', ...compute, '--out', 'four'], inFolder);
    await padFt([...training, ...quick, '--classes', '3', '--out', 'three'], inFolder);
    const model = ['--model', 'three/victim.safetensors'];
    for (const [args, source] of [
      [['defend', ...model, '--data', 'four', '--out', 'x'], 'four'],
      [['evaluate', ...model, '--data', 'four'], 'four'],
      [['evaluate', ...model, '--dataset', 'synthetic', '--train-rows', '64', '--test-rows', '16'], 'synthetic'],
      [['demo', '--victim', 'three/victim.safetensors', ...quick, '--out', 'x'], 'synthetic'],
    ] as const) {
      const { code, stdout, stderr } = await padFt([...args, ...compute, '--json'], inFolder);
      expect({ code, stderr }).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(`three/victim\\.safetensors was made for 3 classes.* ${source} has`),
      });
      expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_MODEL', details: { source } });
    }
    expect(existsSync(join(folder.path, 'x', 'card.json'))).toBe(false);
  });

  it('a learning rate at which the loss is no number any more', async () => {
    const wild = [...training, ...quick, '--epochs', '4', '--learning-rate', '1000000', '--out', 'wild', '--json'];
    const { code, stdout } = await padFt(wild, inFolder);
    expect(code).toBe(1);
    expect(lastLine(stdout)).toMatchObject({ type: 'error', code: 'ERR_NUMERIC' });
    expect(existsSync(join(folder.path, 'wild', 'training.json'))).toBe(false);
  });

  it('a model with weights that are no numbers is warned of', async () => {
    const path = join(folder.path, 'three', 'victim.safetensors');
    const bytes = readFileSync(path);
    // The last tensor of the file: four bytes of all ones are a NaN.
    bytes.fill(0xff, bytes.length - 4);
    writeFileSync(path, bytes);
    const args = ['evaluate', '--model', path, ...quick, '--classes', '3', ...compute, '--quiet'];
    const { stderr } = await padFt(args, inFolder);
    expect(stderr).toMatch(/^warning: .*victim\.safetensors: \S+ hold NaN or infinity/);
  });
});

describe('standard output', () => {
  it('may be closed early', async () => {
    const { code, signal, stderr } = await padFt(['list', 'presets', '--json'], {
      onOutput: (_, child) => child.stdout?.destroy(),
    });
    expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
  });

  it.skipIf(!existsSync('/dev/full'))(
    'that cannot be written fails the command (skipped where there is no /dev/full)',
    () => {
      const full = openSync('/dev/full', 'w');
      try {
        const cli = process.env.PAD_FT_TEST_CLI ?? join(import.meta.dirname, '../../dist/cli/main.js');
        const ended = spawnSync(process.execPath, [cli, 'list', 'presets'], {
          stdio: ['ignore', full, 'pipe'],
          encoding: 'utf8',
        });
        expect(ended.status).toBe(1);
        expect(ended.stderr).toContain('standard output could not be written');
      } finally {
        closeSync(full);
      }
    },
  );

  it('is never coloured; standard error is when asked, and not with --no-color', async () => {
    const args = ['dataset', 'synthetic', '--train-rows', '20', '--test-rows', '20'];
    const coloured = await padFt(args, { env: { FORCE_COLOR: '1', TERM: 'xterm' } });
    expect(coloured.stderr).toContain('\u001b[');
    expect(coloured.stdout).not.toContain('\u001b');
    const plain = await padFt([...args, '--no-color'], { env: { FORCE_COLOR: '1', TERM: 'xterm' } });
    expect(plain.stderr).not.toContain('\u001b');
  });

  it('stays the same with --quiet, and standard error is silent', async () => {
    const args = ['dataset', 'synthetic', '--train-rows', '20', '--test-rows', '20'];
    const loud = await padFt(args);
    const quiet = await padFt([...args, '--quiet']);
    expect(quiet).toEqual({ ...loud, stderr: '' });
    expect(loud.stderr).not.toBe('');
  });
});
