import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createReporter, silently, stepOf } from '../../scripts/lib/reporter.mjs';

/** What a reporter writes while a step of a build goes on for a while. */
async function written(options: { isTTY?: boolean; columns?: number; quiet?: boolean }): Promise<string> {
  let text = '';
  const { quiet = false, ...terminal } = options;
  const write = (more: string) => {
    text += more;
  };
  const stream = { ...terminal, write };
  const { say, longStep } = createReporter({ quiet, stream, lineMs: 20 });
  say('building the addon: a few minutes');
  const result = await longStep('building', async (step) => {
    step('3 of 31');
    await sleep(70);
    say('something else');
    return 7;
  });
  say('done');
  expect(result).toBe(7);
  return text;
}

describe('what takes long', () => {
  it('says now and then how far it is', async () => {
    const lines = (await written({})).trimEnd().split('\n');
    expect(lines[0]).toBe('setup: building the addon: a few minutes');
    expect(lines.filter((line) => line === 'setup: building, 3 of 31, 0 s').length).toBeGreaterThan(0);
    expect(lines.at(-1)).toBe('setup: done');
  });

  it('keeps to one line of a terminal, and leaves it clean', async () => {
    const text = await written({ isTTY: true, columns: 25 });
    expect(text).toContain('\r\u001b[Ksetup: building, 3 of 31');
    expect(text).not.toContain('31, 0 s');
    expect(text.split('\n')).toHaveLength(4);
    expect(text.endsWith('\r\u001b[Ksetup: something else\nsetup: done\n')).toBe(true);
  });

  it('says nothing when nothing is to be said', async () => {
    expect(await written({ quiet: true })).toBe('');
    expect(await silently('anything', async () => 3)).toBe(3);
  });

  it('ends with what went wrong', async () => {
    const { longStep } = createReporter({ stream: { write: () => {} } });
    await expect(longStep('building', () => Promise.reject(new Error('no compiler')))).rejects.toThrow('no compiler');
  });
});

it.each([
  ['[0/2] Re-checking globbed directories...\n[12/31] Building CXX object a.o\n', '12 of 31'],
  ['[  4%] Building CXX object a.o\n[ 40%] Building CXX object b.o\n', '40 %'],
  ['INFO CMD BUILD\n', null],
  ['the array [3/4] in a message', null],
])('how far %j is: %j', (output, at) => {
  expect(stepOf(output)).toBe(at);
  expect(stepOf(Buffer.from(output))).toBe(at);
});
