import { createHash } from 'node:crypto';
import { readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type ExperimentEvent, runExperiment } from '../../src/experiment.js';
import { reevaluate } from '../../src/reevaluate.js';
import { CARD_FILE, type RunCard, readCard } from '../../src/report/card.js';
import { formatMarkdown, formatTable } from '../../src/report/table.js';
import { madeFolder, tinyExperiment } from './made.js';

/** What a card says that does not depend on the clock. */
function figures(card: RunCard) {
  const { created: _, costs: __, ...rest } = card;
  return {
    ...rest,
    victim: { ...card.victim, history: card.victim.history.map(({ loss, evaluation }) => ({ loss, evaluation })) },
    rows: card.rows.map(({ costs: _, ...row }) => row),
  };
}

test('a run from data to card: files, events, table, and the same again', async () => {
  const folder = await madeFolder();
  const events: ExperimentEvent[] = [];
  const { card } = await runExperiment(tinyExperiment(folder), { onEvent: (event) => events.push(event) });

  expect((await readdir(folder)).sort()).toEqual([
    'card.json',
    'default.pad-ft.safetensors',
    'default.pad.safetensors',
    'default.suspects.csv',
    'paper.pad-ft.safetensors',
    'paper.pad.safetensors',
    'paper.suspects.csv',
    'truth.safetensors',
    'victim.safetensors',
  ]);
  expect(card.files.map(({ path }) => path).sort()).toEqual(
    (await readdir(folder)).filter((name) => name !== CARD_FILE).sort(),
  );
  expect(await readCard(join(folder, CARD_FILE))).toEqual(card);

  expect(card.seeds).toEqual({ root: 3, poison: 3, train: 3, defenses: [3, 3] });
  expect(card.config.poison?.counts.poisoned).toBe(60);
  expect(card.config.train).toMatchObject({ width: 8, epochs: 6, momentum: 0.9, flip: true });
  expect(card.victim.history).toHaveLength(6);
  expect(card.rows.map(({ name, preset, purifier }) => [name, preset, purifier])).toEqual([
    ['default', 'default', 'cross-label'],
    ['paper', 'paper', 'sce'],
  ]);
  for (const row of card.rows) {
    expect(row.figures?.targetLabel).toBe(1);
    expect(row.figures?.purity.overall.rows).toBe(row.purified);
    expect(row.figures?.evaluations.victim).toEqual(card.victim.evaluation);
    expect(row.figures?.der.pad).toBeGreaterThanOrEqual(0);
    expect(row.figures?.suspects.positives).toBe(card.config.poison?.counts.relabelled);
    expect(row.costs.map(({ stage }) => stage)).toEqual(['purify', 'clip', 'fine-tune']);
  }
  expect(card.rows[0]?.assumptions).toEqual([]);
  expect(card.rows[1]?.assumptions.length).toBeGreaterThan(3);
  expect(await readFile(join(folder, 'default.suspects.csv'), 'utf8')).toMatch(/^row,given,likely,posterior\n/);

  const kinds = new Set(events.map(({ type }) => type));
  for (const kind of ['stage', 'progress', 'epoch', 'defense', 'row']) expect(kinds).toContain(kind);

  const table = formatTable(card);
  for (const text of ['victim', 'default: PAD-FT', 'paper: PAD', 'ASR %', '◀', 'target class 1'])
    expect(table).toContain(text);
  expect(formatMarkdown(card)).toMatch(/\| default: PAD |\*\*default: PAD/);

  // Where nothing was judged, the stages as the gate saw them and no columns of dashes.
  const unjudged = { ...card, victim: { ...card.victim, evaluation: null } };
  const blind = formatTable({ ...unjudged, rows: card.rows.map((row) => ({ ...row, figures: null })) });
  const [first] = card.rows;
  expect(blind).not.toContain('ASR %');
  expect(blind).toContain('suspects that keep their label %');
  for (const { heldOutAccuracy } of first?.views ?? [])
    expect(blind).toContain((100 * Number(heldOutAccuracy)).toFixed(2));
  expect(blind.split('\n').filter((line) => line.includes('◀'))).toHaveLength(2);

  const again = await reevaluate(folder, { device: 'cpu' });
  expect(again.rows.map(({ name, stage, same }) => [name, stage, same])).toEqual([
    ['victim', 'victim', true],
    ['default', 'pad', true],
    ['default', 'pad-ft', true],
    ['paper', 'pad', true],
    ['paper', 'pad-ft', true],
  ]);
  expect(again.same).toBe(true);

  // A second run of the same request gives the same models, byte for byte, and the same numbers.
  const second = await runExperiment(tinyExperiment(await madeFolder()));
  expect(figures(second.card)).toEqual(figures(card));
});

test('a given victim, controls, and a clean set', async () => {
  const folder = await madeFolder();
  const { defenses: _, train, ...options } = tinyExperiment(folder);
  const clip = { steps: 10, batchSize: 50 };
  const tune = { epochs: 1, batchSize: 50 };
  const control = { preset: 'paper' as const, purify: { count: 100 }, clip, tune };
  await runExperiment({ ...options, train, defenses: [] });
  const { card } = await runExperiment({
    ...options,
    victim: join(folder, 'victim.safetensors'),
    folder: join(folder, 'second'),
    defenses: [
      { name: 'oracle', options: control, control: 'oracle' },
      { name: 'random', options: control, control: 'random' },
    ],
  });
  expect(card.config.train).toBeNull();
  expect(card.rows.map((row) => row.control)).toEqual(['oracle', 'random']);
  expect(card.rows[0]?.figures?.purity.overall).toMatchObject({ rows: 100, poisoned: 0, purity: 1 });
  expect(formatTable(card)).toContain('victim (given)');
  expect(formatTable(card)).toContain('known to be clean');

  // A victim that cannot be defended leaves what is there alone.
  const clipped = { ...options, victim: join(folder, 'second', 'oracle.pad.safetensors'), folder };
  const before = await readFile(join(folder, 'card.json'), 'utf8');
  await expect(runExperiment(clipped)).rejects.toMatchObject({
    code: 'ERR_MODEL',
    message: expect.stringMatching(/clipped already/),
  });
  expect(await readFile(join(folder, 'card.json'), 'utf8')).toBe(before);

  const clean = await runExperiment({
    ...options,
    folder: join(folder, 'clean'),
    poison: { rate: 0 },
    victim: join(folder, 'victim.safetensors'),
    defenses: [{ name: 'default', options: { purify: { count: 100, rowsPerLabel: 20 }, clip, tune, holdout: 40 } }],
  });
  expect(clean.card.victim.evaluation).toMatchObject({ asr: null, ra: null });
  expect(clean.card.rows[0]?.figures?.der).toEqual({ pad: null, 'pad-ft': null });
  expect((await reevaluate(join(folder, 'clean'))).same).toBe(true);
});

test('an aborted run leaves a checkpoint and no card, and resumes to the same bytes', async () => {
  const whole = await runExperiment({ ...tinyExperiment(await madeFolder()), defenses: [] });
  const folder = await madeFolder();
  const options = { ...tinyExperiment(folder), defenses: [] };
  const stop = new AbortController();
  const running = runExperiment(options, {
    signal: stop.signal,
    onEvent: (event) => {
      if (event.type === 'epoch') stop.abort();
    },
  });
  await expect(running).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  const left = await readdir(folder);
  expect(left).toContain('checkpoint.safetensors');
  expect(left).not.toContain(CARD_FILE);

  const { card } = await runExperiment({ ...options, resume: true });
  expect(card.files).toEqual(whole.card.files);
  expect(await readdir(folder)).not.toContain('checkpoint.safetensors');
});

test('what is wrong with a request is said before anything is trained', async () => {
  const folder = await madeFolder();
  const options = tinyExperiment(folder);
  const run = (change: object) => runExperiment({ ...options, ...change });
  await expect(run({ defenses: [{ name: '../x', options: {} }] })).rejects.toMatchObject({ code: 'ERR_OPTION' });
  await expect(
    run({
      defenses: [
        { name: 'a', options: {} },
        { name: 'a', options: {} },
      ],
    }),
  ).rejects.toThrow(/name of its own/);
  await expect(run({ defenses: [{ name: 'a', options: { purify: { count: 0 } } }] })).rejects.toThrow(/purify\.count/);
  await expect(run({ dataset: 'mnist' })).rejects.toThrow(/one of cifar10/);
  await expect(run({ seed: -1 })).rejects.toThrow(/seed/);
  await expect(run({ victim: join(folder, 'none'), train: undefined })).rejects.toMatchObject({
    code: 'ERR_FILE_MISSING',
  });
});

test('a finished run stays as it was when the next request is wrong', async () => {
  const folder = await madeFolder();
  const { defenses: _, ...options } = tinyExperiment(folder);
  const clip = { steps: 5, batchSize: 50 };
  const tune = { epochs: 1, batchSize: 50 };
  const quick = { always: true, holdout: 0, purify: { count: 60, rowsPerLabel: 20 }, clip, tune };
  await runExperiment({ ...options, defenses: [{ name: 'first', options: quick }] });
  await writeFile(join(folder, 'checkpoint.safetensors'), 'of a training that was stopped');
  const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  const contents = async () =>
    Promise.all((await readdir(folder)).map(async (name) => [name, hash(await readFile(join(folder, name)))]));
  const before = await contents();
  const given = (victim: string) => ({ victim, train: undefined });
  const wrong: readonly [change: object, told: RegExp][] = [
    [{ train: { epochs: 0 } }, /train\.epochs/],
    [{ train: { flip: 'yes' } }, /train\.flip/],
    [{ train: { precision: 'tf32' } }, /precision/],
    [{ train: { batchSize: 601 } }, /train\.batchSize/],
    [{ train: { dropLast: false, batchSize: 599 } }, /train\.batchSize/],
    [{ poison: { rate: 2 } }, /attack\.rate/],
    [{ poison: { attackOptions: { patchSize: 0 } } }, /badnets\.patchSize/],
    [{ poison: { attackOptions: { patchSize: 64 } } }, /badnets\.patchSize/],
    [{ poison: { target: 4 } }, /attack\.target/],
    [{ poison: { attack: 'wanet', rate: 0.02 }, train: { batchSize: 32 } }, /train\.batchSize: at poison rate 0\.02/],
    [{ poisoning: 'never' }, /poisoning/],
    [{ datasetOptions: { train: 0 } }, /train/],
    [{ defenses: [{ name: 'a', options: { tune: { epochs: 0 } } }] }, /tune\.epochs/],
    [{ victim: 'none' }, /^train\.width: the victim none is not trained here; leave it out, or victim$/],
    [{ ...given('none'), poisoning: 'stored' }, /^poisoning: the victim none is not trained/],
    [{ ...given('none'), resume: true }, /^resume: the victim none is not trained/],
    [{ ...given(join(folder, 'none')), resume: false }, /none: expected a readable/],
    [given(join(folder, 'truth.safetensors')), /truth\.safetensors: tensor \S+: expected F32/],
    [given(join(folder, 'first.pad.safetensors')), /does not replace/],
    [{ defences: [] }, /experiment\.defences: expected one of the options dataset,/],
  ];
  for (const [change, told] of wrong) {
    await expect(runExperiment({ ...options, ...change }), String(told)).rejects.toThrow(told);
    expect(await contents(), String(told)).toEqual(before);
  }

  // The next run takes the files of the earlier defences away, and what a killed write left an hour ago.
  const [old, young] = ['.default.pad.safetensors.0123456789ab.tmp', '.victim.safetensors.0123456789ab.tmp'];
  for (const name of [old, young]) await writeFile(join(folder, name), 'half');
  const earlier = new Date(Date.now() - 2 * 60 * 60 * 1000);
  await utimes(join(folder, old), earlier, earlier);
  const { card } = await runExperiment({ ...options, defenses: [{ name: 'default', options: quick }] });
  const named = card.files.map(({ path }) => path);
  expect((await readdir(folder)).sort()).toEqual([young, CARD_FILE, ...named].sort());
});

test('a card is refused at its first wrong field, and changed files are noticed', async () => {
  const folder = await madeFolder();
  const { card } = await runExperiment({ ...tinyExperiment(folder), defenses: [] });
  const path = join(folder, CARD_FILE);
  const withChange = async (change: (card: Record<string, unknown>) => void) => {
    const changed: Record<string, unknown> = JSON.parse(JSON.stringify(card));
    change(changed);
    await writeFile(path, JSON.stringify(changed));
    return readCard(path);
  };
  await expect(withChange((it) => Object.assign(it, { version: 2 }))).rejects.toThrow(
    /version: expected one of 1, got 2/,
  );
  await expect(withChange((it) => Object.assign(it, { extra: 1 }))).rejects.toMatchObject({ code: 'ERR_FILE_FORMAT' });
  await expect(withChange((it) => Object.assign(it, { rows: [{}] }))).rejects.toThrow(
    /rows\[0\]\.name: expected a string/,
  );
  const outside = [{ path: '../secret', bytes: 1, sha256: '0'.repeat(64) }];
  await expect(withChange((it) => Object.assign(it, { files: outside }))).rejects.toThrow(/beside the card/);
  await expect(withChange((it) => Reflect.deleteProperty(it, 'seeds'))).rejects.toThrow(
    /seeds: expected an object, got nothing/,
  );

  await writeFile(path, JSON.stringify(card));
  const victim = join(folder, 'victim.safetensors');
  const bytes = await readFile(victim);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  await writeFile(victim, bytes);
  await expect(reevaluate(folder)).rejects.toMatchObject({ code: 'ERR_CHECKSUM' });
});
