import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ResultFlags, type ResultKind, refuseEarlierResult } from '../../src/cli/earlier-result.js';
import { temporaryFolder } from './support/made-libtorch.js';

const FILES = { card: 'card.json', others: ['model.safetensors', 'scores.csv'], checkpoint: 'checkpoint.safetensors' };

/** What is said about a folder that holds these files; null when nothing is. */
function refusal(
  names: readonly string[],
  flags: Omit<ResultFlags, 'out'> = {},
  kind: ResultKind = 'run',
): string | null {
  const out = temporaryFolder();
  for (const name of names) writeFileSync(join(out, name), '');
  try {
    refuseEarlierResult({ ...flags, out }, kind, FILES);
    return null;
  } catch (error) {
    expect(error).toMatchObject({ name: 'PadFtError', code: 'ERR_OPTION' });
    return (error as Error).message.replaceAll(`${out}/`, '').replaceAll(out, 'OUT');
  }
}

describe('what an earlier run left in the folder', () => {
  it.each([
    ['nothing', [], {}, null],
    ['something else', ['notes.txt'], {}, null],
    ['a finished run', ['card.json', 'model.safetensors'], {}, '--out: card.json is there from an earlier run'],
    ['a model without its card', ['model.safetensors'], {}, '--out: model.safetensors is there'],
    ['scores without their card', ['scores.csv'], {}, '--out: scores.csv is there'],
    ['a training that was stopped', ['checkpoint.safetensors'], {}, 'was stopped or failed; continue it with --resume'],
    ['one to be continued', ['checkpoint.safetensors'], { resume: true }, null],
    ['one to be continued, its model written', ['checkpoint.safetensors', 'model.safetensors'], { resume: true }, null],
    ['a finished one to be continued', ['card.json'], { resume: true }, '--resume: OUT is finished (card.json)'],
    [
      'a training set',
      ['manifest.json'],
      {},
      '--out: OUT holds a training set (manifest.json), which this would spoil',
    ],
    ['a training, even to be replaced', ['training.json'], { overwrite: true }, '--out: OUT holds a training'],
    ['whatever is to be replaced', ['card.json', 'checkpoint.safetensors'], { overwrite: true }, null],
  ])('%s', (_what, names, flags, told) => {
    const said = refusal(names, flags);
    if (told === null) expect(said).toBeNull();
    else expect(said).toContain(told);
  });

  it.each<[kind: ResultKind, names: readonly string[], told: string | null]>([
    ['run', ['card.json', 'defended.safetensors'], 'OUT holds a finished defence (defended.safetensors)'],
    ['training', ['card.json', 'scores.csv'], 'OUT holds what a detector found (scores.csv)'],
    ['defense', ['card.json', 'scores.csv'], null],
    ['defense', ['card.json', 'truth.safetensors'], 'OUT holds a finished run (truth.safetensors)'],
    ['training', ['card.json', 'truth.safetensors'], 'OUT holds a finished run'],
    ['set', ['training.json'], 'OUT holds a training (training.json)'],
    ['run', ['card.json', 'truth.safetensors'], null],
    ['defense', ['card.json', 'defended.safetensors'], null],
  ])('a %s does not replace %j of another kind', (kind, names, told) => {
    const said = refusal(names, { overwrite: true }, kind);
    if (told === null) expect(said).toBeNull();
    else expect(said).toContain(told);
  });
});
