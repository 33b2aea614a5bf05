import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  buildCli,
  type Ended,
  jsonLines,
  lastLine,
  padFt,
  TINY_DATA,
  TINY_TRAINING,
  temporaryFolder,
} from './support.js';

const folder = temporaryFolder();
const inFolder = { cwd: folder.path };
const at = (...names: readonly string[]) => join(folder.path, ...names);
const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
const training = (out: string) => ['train', '--data', 'set', '--epochs', '4', ...TINY_TRAINING, '--out', out];

/** Does something once, as soon as the output says so. */
function when(seen: (stdout: string) => boolean, act: (child: ChildProcess) => void) {
  let done = false;
  return (stdout: string, child: ChildProcess) => {
    if (done || !seen(stdout)) return;
    done = true;
    act(child);
  };
}

/** Some batches into the second epoch: its progress is reported after the first epoch's line. */
const inSecondEpoch = (stdout: string) => /"type":"epoch".*\n.*"type":"progress"/.test(stdout);

beforeAll(async () => {
  await buildCli();
  const { code, stderr } = await padFt(['poison', ...TINY_DATA, '--device', 'cpu', '--out', 'set'], inFolder);
  expect(stderr).not.toContain('error');
  expect(code).toBe(0);
});
afterAll(() => folder[Symbol.dispose]());

describe.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s', (signal, exitCode) => {
  const out = `stopped-by-${signal}`;
  let stopped: Ended;

  it('ends the run with its code and leaves the last whole epoch', async () => {
    const onOutput = when(inSecondEpoch, (child) => child.kill(signal));
    stopped = await padFt([...training(out), '--json'], { ...inFolder, onOutput });
    expect(stopped).toMatchObject({ code: exitCode, signal: null });
    expect(stopped.stderr).toContain('stopping after this batch');
    expect(stopped.stderr).toContain('--resume');
    expect(lastLine(stopped.stdout)).toMatchObject({ type: 'error', code: 'ERR_ABORTED' });
    expect(readdirSync(at(out))).toEqual(['checkpoint.safetensors']);
  });

  it('--resume continues to the very bytes of an undisturbed run', async () => {
    const epochs = jsonLines(stopped.stdout).filter(({ type }) => type === 'epoch').length;
    expect(epochs).toBeLessThan(4);
    const resumed = await padFt([...training(out), '--resume', '--json'], inFolder);
    expect(resumed.code).toBe(0);
    expect(jsonLines(resumed.stdout).filter(({ type }) => type === 'epoch')).toHaveLength(4 - epochs);
    if (!existsSync(at('whole'))) expect((await padFt(training('whole'), inFolder)).code).toBe(0);
    expect(sha256(at(out, 'victim.safetensors'))).toBe(sha256(at('whole', 'victim.safetensors')));
    expect(readdirSync(at(out)).sort()).toEqual(['training.json', 'victim.safetensors']);
  });

  it('--resume of a finished training is refused', async () => {
    const { code, stderr } = await padFt([...training(out), '--resume'], inFolder);
    expect(code).toBe(2);
    expect(stderr).toContain('is finished');
  });
});

it('a second Ctrl-C ends the process in the middle of a batch', async () => {
  // One batch of this takes many seconds on one thread.
  const slow = ['--width', '64', '--batch-size', '400', '--epochs', '2', '--device', 'cpu', '--threads', '1'];
  let pressed = 0;
  let last = 0;
  const press = (child: ChildProcess) => {
    pressed++;
    last = performance.now();
    child.kill('SIGINT');
  };
  const onOutput = when(
    (stdout) => stdout.includes('"stage":"train"'),
    (child) => {
      setTimeout(() => press(child), 500);
      setTimeout(() => press(child), 800);
    },
  );
  const ended = await padFt(['train', '--data', 'set', ...slow, '--out', 'twice', '--json'], { ...inFolder, onOutput });
  expect(pressed).toBe(2);
  // Killed by the signal itself, which a shell shows as 130.
  expect(ended.signal).toBe('SIGINT');
  expect(performance.now() - last).toBeLessThan(2000);
});

it('a reader that goes away stops the run', async () => {
  const onOutput = when(inSecondEpoch, (child) => child.stdout?.destroy());
  const ended = await padFt([...training('unread'), '--json'], { ...inFolder, onOutput });
  expect(ended).toMatchObject({ code: 141, signal: null });
  expect(readdirSync(at('unread'))).toEqual(['checkpoint.safetensors']);
});
