import { beforeAll, describe, expect, it } from 'vitest';
import { SYNTHETIC_DEFAULTS } from '../../src/datasets/synthetic.js';
import { PRESETS } from '../../src/defenses/pad-ft/options.js';
import { DEMO } from '../../src/demo.js';
import { TRAIN_DEFAULTS } from '../../src/train.js';
import { VERSION } from '../../src/version.js';
import { buildCli, lastLine, padFt } from './support.js';

const COMMANDS = ['demo', 'doctor', 'dataset', 'poison', 'train', 'defend', 'inspect', 'evaluate', 'reproduce', 'list'];

/** Nothing here may need the addon. */
const NO_ADDON = { PAD_FT_ADDON: '/nowhere/padft.node' };

beforeAll(buildCli);

describe('doctor', () => {
  it('says in JSON what is there', async () => {
    const { code, stdout } = await padFt(['doctor', '--json']);
    expect(code).toBe(0);
    expect(lastLine(stdout)).toMatchObject({
      type: 'result',
      ok: true,
      addon: { error: null },
      runtime: { torch: expect.stringMatching(/^\d+\.\d+/) },
      devices: expect.arrayContaining([expect.objectContaining({ device: 'cpu', error: null })]),
    });
  });

  it('exits with 3 when the addon is not there, and says what to run', async () => {
    const { code, stdout } = await padFt(['doctor'], { env: NO_ADDON });
    expect(code).toBe(3);
    expect(stdout).toContain('npm run');
  });
});

describe('help', () => {
  it('lists every command, and needs no addon', async () => {
    const { code, stdout, stderr } = await padFt(['--help'], { env: NO_ADDON });
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
    expect(stdout).toContain('Exit codes:');
  });

  it('prints the version', async () => {
    expect(await padFt(['--version'], { env: NO_ADDON })).toMatchObject({
      code: 0,
      stdout: `${VERSION}\n`,
      stderr: '',
    });
  });

  it.each(COMMANDS)('%s explains itself with examples', async (command) => {
    const { code, stdout } = await padFt([command, '--help'], { env: NO_ADDON });
    expect(code).toBe(0);
    expect(stdout).toContain('Examples:');
    expect(stdout).toContain('--json');
    expect((await padFt(['help', command], { env: NO_ADDON })).stdout).toBe(stdout);
  });

  it('defend has a flag for every setting, with the default of both presets', async () => {
    const { stdout } = await padFt(['help', 'defend'], { env: NO_ADDON });
    const text = stdout.replace(/\s+/g, ' ');
    for (const stage of ['purify', 'clip', 'tune'] as const) {
      for (const [name, value] of Object.entries(PRESETS.default[stage])) {
        const flag = text.indexOf(`--${stage}.${name} `);
        expect(flag, `--${stage}.${name}`).toBeGreaterThan(-1);
        const paper: unknown = Reflect.get(PRESETS.paper[stage], name);
        // The one default that is the data set's and not the preset's.
        const own = name === 'flip' ? 'as the data set says' : value;
        const shown = paper === own ? `(default: ${own})` : `(default: ${own}, paper: ${paper})`;
        expect(text.indexOf(shown, flag), `${shown} of --${stage}.${name}`).toBeGreaterThan(flag);
      }
    }
  });

  it('defend shows the flags of the method that is named, and of no other', async () => {
    const helpOf = async (...flags: readonly string[]) =>
      (await padFt(['defend', ...flags, '--help'], { env: NO_ADDON })).stdout;
    const flagsOf = (text: string) => new Set(text.match(/(?<=^ {2})--[\w-]+(?=[ .])/gm));
    const own = flagsOf(await helpOf());
    for (const flag of ['--preset', '--holdout', '--purify', '--clip', '--tune']) expect(own).toContain(flag);
    for (const flag of ['--ft', '--nad', '--mm-bm']) expect(own).not.toContain(flag);
    const ft = flagsOf(await helpOf('--method', 'ft'));
    for (const flag of ['--ft', '--clean', '--model']) expect(ft).toContain(flag);
    for (const flag of ['--preset', '--holdout', '--purify', '--tune', '--nad']) expect(ft).not.toContain(flag);
    const strip = flagsOf(await helpOf('--method', 'strip'));
    expect(strip).toContain('--purify');
    expect(strip).not.toContain('--ft');
    // Within 100 columns where it is no terminal, but for a word that is longer.
    for (const line of (await helpOf()).split('\n').filter((it) => it.startsWith('  --'))) {
      expect(line.length).toBeLessThanOrEqual(100);
    }
  });

  it('train shows the defaults of the library', async () => {
    const text = (await padFt(['help', 'train'], { env: NO_ADDON })).stdout.replace(/\s+/g, ' ');
    for (const name of ['width', 'epochs', 'schedule', 'momentum'] as const) {
      const flag = text.indexOf(`--${name} <`);
      expect(text.indexOf(`(default: ${TRAIN_DEFAULTS[name]})`, flag)).toBeGreaterThan(flag);
    }
  });
});

describe('help of demo', () => {
  it('shows one default for each flag, the one that the demonstration has', async () => {
    const text = (await padFt(['help', 'demo'], { env: NO_ADDON })).stdout.replace(/\s+/g, ' ');
    const { train, test } = DEMO.datasetOptions as { readonly train: number; readonly test: number };
    expect(text).toContain(`--train-rows <count> training images (default: all; synthetic: ${train})`);
    expect(text).toContain(`--test-rows <count> test images (default: all; synthetic: ${test})`);
    expect(text).toContain('which data set (default: synthetic)');
    expect(text).toContain(`(default: ${DEMO.train?.flip}; other data: as the data set says)`);
    for (const flag of text.split(/ (?=--[\w.-]+ )/)) {
      expect(flag.match(/\(default: /g)?.length ?? 0, flag).toBeLessThan(2);
    }
    expect((await padFt(['help', 'train'], { env: NO_ADDON })).stdout).toContain(
      `synthetic: ${SYNTHETIC_DEFAULTS.train}`,
    );
  });
});

describe('list', () => {
  it.each(['datasets', 'attacks', 'defenses', 'presets'])('%s, for a person and for a program', async (kind) => {
    const text = await padFt(['list', kind], { env: NO_ADDON });
    expect(text).toMatchObject({ code: 0, stderr: '' });
    const json = await padFt(['list', kind, '--json'], { env: NO_ADDON });
    const { type, list, items } = lastLine(json.stdout);
    expect({ type, list }).toEqual({ type: 'result', list: kind });
    for (const { name } of items as readonly { readonly name: string }[]) expect(text.stdout).toContain(name);
  });

  it('gives the presets as the library has them', async () => {
    const { stdout } = await padFt(['list', 'presets', '--json'], { env: NO_ADDON });
    expect(lastLine(stdout).items).toEqual(Object.entries(PRESETS).map(([name, settings]) => ({ name, settings })));
  });

  it('models come from the core', async () => {
    const { code, stdout } = await padFt(['list', 'models']);
    expect(code).toBe(0);
    expect(stdout).toContain('preact-resnet18');
  });
});
