import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type RunCard, readCard } from '../../src/report/card.js';
import { formatTable } from '../../src/report/table.js';
import { paperGrid } from '../../src/reproduce/grid.js';
import { buildCli, jsonLines, lastLine, padFt, temporaryFolder } from './support.js';

const folder = temporaryFolder();
const inFolder = { cwd: folder.path };
const at = (...names: readonly string[]) => join(folder.path, ...names);
const COMPUTE = ['--device', 'cpu', '--threads', '1', '--json'];
const reproduce = (out: string, ...flags: readonly string[]) => {
  const what = flags.includes('--grid') ? ['all'] : ['table1', '--scale', 'smoke', '--attacks', 'badnets'];
  return ['reproduce', ...what, '--out', out, ...flags, ...COMPUTE];
};
const PRESETS = ['--defenses', 'default,paper'];

/** Every file below a folder and when it was written. */
function files(root: string): Record<string, number> {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Object.fromEntries(paths.sort().map((path) => [path, statSync(path).mtimeMs]));
}

/** What a card says that depends neither on the clock nor on the command line. */
function figures({ created: _, command: __, costs: ___, ...card }: RunCard) {
  const history = card.victim.history.map(({ loss, evaluation }) => ({ loss, evaluation }));
  return { ...card, victim: { ...card.victim, history }, rows: card.rows.map(({ costs: _, ...row }) => row) };
}

const cardsOf = (out: string) =>
  Promise.all(readdirSync(at(out, 'cards')).map((name) => readCard(at(out, 'cards', name))));

beforeAll(buildCli);
afterAll(() => folder[Symbol.dispose]());

it('data that are not there are told of before anything is trained', async () => {
  const cifar = ['reproduce', 'table1', '--scale', 'cpu', '--attacks', 'none', '--path', at('nowhere'), ...COMPUTE];
  const plan = await padFt([...cifar, '--dry-run'], inFolder);
  expect(plan.code).toBe(0);
  expect(lastLine(plan.stdout).problems).toEqual([expect.stringMatching(/^ERR_FILE_MISSING: .*nowhere: .*cifar10/)]);
  const { code, stdout } = await padFt(cifar, inFolder);
  expect(code).toBe(1);
  expect(lastLine(stdout)).toMatchObject({ code: 'ERR_FILE_MISSING' });
  expect(readdirSync(folder.path)).toEqual([]);
});

it('a dry run lists the cells and what they take, and writes nothing', async () => {
  const { code, stdout } = await padFt(reproduce('whole', '--dry-run'), inFolder);
  expect(code).toBe(0);
  const plan = lastLine(stdout);
  const states = (plan.cells as { name: string; state: string }[]).map(({ name, state }) => `${name} ${state}`);
  const columns = ['default', 'paper', 'oracle', 'random', 'mm-bm', 'dbd'];
  expect(states).toEqual(columns.map((name) => `smoke-synthetic-badnets-10pct-s0-${name} pending`));
  expect(plan.units).toBeGreaterThan(600 * 6 * 3);
  expect(plan.throughput).toMatchObject({ source: 'a calibration of 256 images' });
  expect(readdirSync(folder.path)).toEqual([]);
});

it('SIGINT ends with 130 and a checkpoint, and the same command goes on to the same cards', async () => {
  let sent = false;
  const onOutput = (stdout: string, child: ChildProcess) => {
    if (sent || !/"type":"epoch".*\n.*"type":"progress"/.test(stdout)) return;
    sent = true;
    child.kill('SIGINT');
  };
  const stopped = await padFt(reproduce('stopped', ...PRESETS), { ...inFolder, onOutput });
  expect(stopped.code).toBe(130);
  expect(lastLine(stopped.stdout)).toMatchObject({ type: 'error', code: 'ERR_ABORTED' });
  const [victim = ''] = readdirSync(at('stopped', 'victims'));
  expect(readdirSync(at('stopped', 'victims', victim)).sort()).toEqual(['checkpoint.safetensors', 'truth.safetensors']);
  const epochs = jsonLines(stopped.stdout).filter(({ type }) => type === 'epoch').length;
  const resumed = await padFt(reproduce('stopped', ...PRESETS), inFolder);
  expect(resumed.code).toBe(0);
  expect(jsonLines(resumed.stdout).filter(({ type }) => type === 'epoch')).toHaveLength(6 - epochs);
});

it('a table from nothing to its files', async () => {
  const { code, stdout } = await padFt(reproduce('whole', ...PRESETS), inFolder);
  expect(code).toBe(0);
  expect(lastLine(stdout)).toMatchObject({ type: 'result', done: 2, failed: 0, total: 2, skipped: 0, failures: [] });
  expect(
    jsonLines(stdout)
      .filter(({ type }) => type === 'grid')
      .at(-1),
  ).toMatchObject({ done: 2, total: 2 });
  expect(readdirSync(at('whole')).sort()).toEqual([
    ...['cards', 'defenses', 'table1.csv', 'table1.html', 'table1.md', 'victims'],
  ]);
  const [victim = ''] = readdirSync(at('whole', 'victims'));
  expect(readdirSync(at('whole', 'victims', victim)).sort()).toEqual([
    ...['judgement.safetensors', 'training.json', 'truth.safetensors', 'victim.safetensors'],
  ]);
  const cards = await cardsOf('whole');
  expect(cards.map(({ rows }) => rows.map(({ name }) => name))).toEqual([['default'], ['paper']]);
  for (const card of cards) expect(formatTable(card)).toContain('target class 0');
  const table = readFileSync(at('whole', 'table1.md'), 'utf8');
  expect(table).toMatch(/\| synthetic \| badnets 10 % \| default: PAD-FT/);
  expect(readFileSync(at('whole', 'table1.csv'), 'utf8').trimEnd().split('\r\n')).toHaveLength(1 + 2);
  const page = readFileSync(at('whole', 'table1.html'), 'utf8');
  expect(page).toContain('<svg');
  expect(page).not.toContain('<script');
  // The run that was stopped came to the same.
  expect((await cardsOf('stopped')).map(figures)).toEqual(cards.map(figures));
});

it('a cell is a folder that `evaluate` can check', async () => {
  const cells = readdirSync(at('whole', 'defenses'));
  const { code, stdout } = await padFt(['evaluate', at('whole', 'defenses', cells[0] ?? ''), ...COMPUTE], inFolder);
  expect(lastLine(stdout)).toMatchObject({ same: true });
  expect(code).toBe(0);
});

it('a second run does nothing', async () => {
  const before = files(at('whole'));
  const { code, stdout } = await padFt(reproduce('whole', ...PRESETS), inFolder);
  expect(code).toBe(0);
  expect(jsonLines(stdout).filter(({ type }) => type === 'stage')).toEqual([]);
  expect(files(at('whole'))).toEqual(before);
});

it('a further defence runs alone, on the victim and the judgement that are there', async () => {
  const before = files(at('whole'));
  const flags = ['--defenses', 'default,paper,random', '--keep-models', 'false'];
  const { code, stdout } = await padFt(reproduce('whole', ...flags), inFolder);
  expect(code).toBe(0);
  expect(jsonLines(stdout).filter(({ type }) => type === 'epoch')).toEqual([]);
  const after = files(at('whole'));
  const kept = (path: string) => /(?:training|card)\.json$|(?:victim|judgement|pad)\.safetensors$/.test(path);
  for (const path of Object.keys(before).filter(kept)) expect(after[path], path).toBe(before[path]);
  const fresh = Object.keys(after).filter((path) => !(path in before));
  expect(fresh.map((path) => path.slice(at('whole').length)).sort()).toEqual([
    '/cards/smoke-synthetic-badnets-10pct-s0-random.json',
    expect.stringMatching(/^\/defenses\/smoke-synthetic-badnets-10pct-s0-random-[0-9a-f]{12}\/card\.json$/),
  ]);
  const card = await readCard(at('whole', 'cards', 'smoke-synthetic-badnets-10pct-s0-random.json'));
  expect(card.files).toEqual([]);
});

it('a cell finished without its models is made again for them only when they are asked for', async () => {
  const pending = async (...flags: readonly string[]) => {
    const { stdout } = await padFt(reproduce('whole', '--defenses', 'paper,random', '--dry-run', ...flags), inFolder);
    const cells = lastLine(stdout).cells as { name: string; state: string }[];
    return cells.filter(({ state }) => state === 'pending').map(({ name }) => name);
  };
  expect(await pending()).toEqual([]);
  expect(await pending('--keep-models', 'true')).toEqual(['smoke-synthetic-badnets-10pct-s0-random']);
});

const NAME = 'smoke-synthetic-badnets-10pct-s0';
const rivals = (what: string, ...flags: readonly string[]) =>
  padFt(
    ['reproduce', what, '--scale', 'smoke', '--attacks', 'badnets', '--out', 'whole', ...flags, ...COMPUTE],
    inFolder,
  );

it('other methods run on the victim that is there; one that fails is a failed cell, and a second run does nothing', async () => {
  // MM-BD wants four classes, and these pictures have three.
  const page = readFileSync(at('whole', 'table1.html'), 'utf8');
  const { code, stdout } = await rivals('methods', '--defenses', 'mm-bd,ft,classifier-only,default');
  // Each table has files of its own.
  expect(readFileSync(at('whole', 'table1.html'), 'utf8')).toBe(page);
  expect(readFileSync(at('whole', 'methods.html'), 'utf8')).not.toBe(page);
  expect(code).toBe(1);
  expect(jsonLines(stdout).filter(({ type }) => type === 'epoch')).toEqual([]);
  expect(lastLine(stdout)).toMatchObject({ done: 3, failed: 1, total: 4, failures: [{ code: 'ERR_MODEL' }] });
  const card = await readCard(at('whole', 'cards', `${NAME}-ft.json`));
  const clean = { share: 0.05, draw: 'backdoorbench', seed: 0, added: [] };
  expect(card.config.methods).toMatchObject([{ name: 'ft', settings: { epochs: 2, batchSize: 16 }, seed: 0, clean }]);
  expect(card.methods).toMatchObject([
    { name: 'ft', given: { training: null, clean: 30 }, figures: { der: expect.any(Number) } },
  ]);
  expect(formatTable(card)).toContain('30 clean images (5 % of the training set before the poison');
  const table = readFileSync(at('whole', 'methods.md'), 'utf8');
  expect(table).toMatch(/\| ft \|.* \| victim, 30 clean images \|/);
  expect(table).toMatch(/\| mm-bd \|.*failed: ERR\\_MODEL/);
  expect(table).toContain('ft differs from its defaults: epochs 2 (100), batchSize 16 (256)');
  // What PAD-FT had made is in this table too, without being made again.
  expect(
    jsonLines(stdout)
      .filter(({ type }) => type === 'cell')
      .map(({ name }) => name),
  ).toEqual([...[`${NAME}-ft`, `${NAME}-classifier-only`]]);

  const before = files(at('whole'));
  const again = await rivals('methods', '--defenses', 'ft,classifier-only,default', '--dry-run');
  expect(lastLine(again.stdout)).toMatchObject({ groups: [], throughput: null });
  expect(files(at('whole'))).toEqual(before);
});

it('detectors score the rows and repair nothing', async () => {
  const { code, stdout } = await rivals('detectors', '--defenses', 'sce,strip');
  expect(code).toBe(0);
  expect(lastLine(stdout)).toMatchObject({ done: 2, failed: 0 });
  const card = await readCard(at('whole', 'cards', `${NAME}-strip.json`));
  expect(card.rows).toEqual([]);
  expect(card.detections).toMatchObject([
    { purifier: 'strip', figures: { targetLabel: 0, auroc: { overall: expect.any(Number) } } },
  ]);
  expect(card.files.map(({ path }) => path)).toEqual([
    'suspects.csv',
    'scores.csv',
    'truth.safetensors',
    'victim.safetensors',
  ]);
  // The same scores as those of the preset that purifies by them.
  const sce = await readCard(at('whole', 'cards', `${NAME}-sce.json`));
  const paper = await readCard(at('whole', 'cards', `${NAME}-paper.json`));
  expect(sce.detections?.[0]?.figures?.auroc).toEqual(paper.rows[0]?.figures?.auroc);
  expect(sce.detections?.[0]?.figures?.purity).toEqual(paper.rows[0]?.figures?.purity);
  const table = readFileSync(at('whole', 'detectors.md'), 'utf8');
  expect(table).toMatch(/\| strip \|.*no verdict: this purifier ranks the rows/);

  // One that was finished before scores were written lacks a file, and is made again.
  const pending = async () => {
    const { stdout: plan } = await rivals('detectors', '--defenses', 'sce,strip', '--keep-models', 'true', '--dry-run');
    return (lastLine(plan) as unknown as { groups: readonly unknown[] }).groups.length;
  };
  expect(await pending()).toBe(0);
  const folder = readdirSync(at('whole', 'defenses')).find((name) => name.startsWith(`${NAME}-strip-`)) ?? '';
  const path = at('whole', 'defenses', folder, 'card.json');
  const whole = readFileSync(path, 'utf8');
  const fewer = { ...card, files: card.files.filter((file) => file.path !== 'scores.csv') };
  writeFileSync(path, JSON.stringify(fewer));
  expect(await pending()).toBe(1);
  writeFileSync(path, whole);
});

it('`evaluate` checks the model of a method, and the victim of a detector', async () => {
  const stages = async (column: string) => {
    const cell = readdirSync(at('whole', 'defenses')).find((name) => name.startsWith(`${NAME}-${column}-`)) ?? '';
    const { code, stdout } = await padFt(['evaluate', at('whole', 'defenses', cell), ...COMPUTE], inFolder);
    expect(code).toBe(0);
    return (lastLine(stdout).rows as { stage: string; same: boolean }[]).map(({ stage, same }) => `${stage} ${same}`);
  };
  expect(await stages('ft')).toEqual(['victim true', 'method true']);
  expect(await stages('strip')).toEqual(['victim true']);
  // This one was finished without its models.
  const random = readdirSync(at('whole', 'defenses')).find((name) => name.startsWith(`${NAME}-random-`)) ?? '';
  const { code, stdout } = await padFt(['evaluate', at('whole', 'defenses', random), ...COMPUTE], inFolder);
  expect(code).toBe(1);
  expect(lastLine(stdout)).toMatchObject({ code: 'ERR_DATA', message: expect.stringContaining('--keep-models true') });
});

it('a victim trained elsewhere is taken over, in a process of its own', async () => {
  const flags = ['--defenses', 'oracle,random', '--victims', at('whole', 'victims'), '--jobs', '2'];
  const { code, stdout } = await padFt(reproduce('adopted', ...flags), inFolder);
  expect(code).toBe(0);
  expect(stdout).not.toContain('epoch 1/');
  const [victim = ''] = readdirSync(at('whole', 'victims'));
  const bytes = (out: string) => readFileSync(at(out, 'victims', victim, 'victim.safetensors'));
  expect(bytes('adopted').equals(bytes('whole'))).toBe(true);
  // Both score alike: the second says who scored.
  const cards = await cardsOf('adopted');
  const purify = cards.map(({ rows }) => rows[0]?.costs.find(({ stage }) => stage === 'purify'));
  expect(purify[0]?.measuredBy).toBeUndefined();
  expect(purify[1]).toEqual({ ...purify[0], measuredBy: 'smoke-synthetic-badnets-10pct-s0-oracle' });
  expect(formatTable(cards[1] as RunCard)).toContain('purify ran once, with smoke-synthetic-badnets-10pct-s0-oracle');
});

it('a cell that fails is recorded, an unknown attack skipped, the others run, and the exit code says so', async () => {
  const [table] = paperGrid('smoke').tables;
  const attacks = [{ attack: 'badnets', options: { patchSize: 64 } }, { attack: 'badnets' }, { attack: 'of-tomorrow' }];
  const grid = { ...paperGrid('smoke'), tables: [{ ...table, name: 'mine', attacks, defenses: ['paper'] }] };
  writeFileSync(at('grid.json'), JSON.stringify(grid));
  const { code, stdout } = await padFt(reproduce('whole', '--grid', 'grid.json'), inFolder);
  expect(code).toBe(1);
  expect(lastLine(stdout)).toMatchObject({ type: 'result', done: 1, failed: 1, total: 2, skipped: 1 });
  const mine = readFileSync(at('whole', 'mine.md'), 'utf8');
  expect(mine).toContain('failed: ERR\\_OPTION');
  expect(mine).toContain('not in this build');
  expect(existsSync(at('whole', 'table1.md'))).toBe(true);
});

it('wrong words end with 2 before anything is done', async () => {
  for (const flags of [
    ['--defenses', 'magic'],
    ['--scale', 'huge'],
    ['--keep-models', 'maybe'],
    ['--device', 'tpu'],
  ]) {
    expect(await padFt(reproduce('wrong', ...flags), inFolder)).toMatchObject({ code: 2 });
  }
  expect(existsSync(at('wrong'))).toBe(false);
});
