import { describe, expect, it } from 'vitest';
import { toFailure } from '../../src/cli/exit-code.js';
import { inFlags } from '../../src/cli/spelling.js';
import { invalidOption, isAbort, originalError, outOfMemory, PadFtError, withMemory } from '../../src/errors.js';
import { fromNative } from '../../src/native/job.js';

/** Arrays that no machine has room for: beyond what any address space holds, and beyond what a length may be. */
const TOO_LARGE: readonly (() => unknown)[] = [
  () => new ArrayBuffer(2 ** 52),
  () => new Uint8Array(2 ** 52),
  () => new Float32Array(2 ** 53 - 1),
];

function thrownBy(body: () => unknown): unknown {
  try {
    body();
  } catch (error) {
    return error;
  }
  throw new Error('expected an error');
}

describe('an array that finds no room', () => {
  it.each(TOO_LARGE)('is ERR_OOM that says what to do, wherever it is met (%s)', (make) => {
    const raw = thrownBy(make);
    expect(raw).toBeInstanceOf(RangeError);
    for (const error of [outOfMemory(raw), thrownBy(() => withMemory(make)), fromNative(raw)]) {
      expect(error).toBeInstanceOf(PadFtError);
      expect(error).toMatchObject({ code: 'ERR_OOM', cause: raw, message: expect.stringContaining('use fewer rows') });
    }
    expect(toFailure(raw)).toMatchObject({ code: 'ERR_OOM', exitCode: 1, stack: null });
    expect(toFailure(raw).message).not.toContain('bug');
  });

  it('is no other error', () => {
    for (const error of [thrownBy(() => 'x'.repeat(-1)), new Error('Array buffer allocation failed'), null]) {
      expect(outOfMemory(error)).toBeNull();
    }
    const other = thrownBy(() => (1).toFixed(1000));
    expect(toFailure(other).code).toBe('ERR_INTERNAL');
    expect(thrownBy(() => withMemory(() => (1).toFixed(1000)))).toBeInstanceOf(RangeError);
    expect(withMemory(() => 7)).toBe(7);
  });
});

describe('two errors in one', () => {
  it('is the error that came first when disposing failed after it', () => {
    const first = new PadFtError('ERR_DATA', 'what went wrong');
    // As TypeScript's helper makes it where the engine has none.
    const both = (suppressed: unknown) =>
      Object.assign(new Error('An error was suppressed during disposal.'), {
        name: 'SuppressedError',
        error: new PadFtError('ERR_BUSY', 'in use'),
        suppressed,
      });
    for (const thrown of [both(first), both(both(first))]) {
      expect(toFailure(thrown)).toMatchObject({ code: 'ERR_DATA', message: 'what went wrong' });
      expect(originalError(thrown)).toBe(first);
      expect(isAbort(thrown)).toBe(false);
    }
    // A stop is one, whatever could not be disposed of on the way: the exit code is Ctrl-C's then.
    const stop = new PadFtError('ERR_ABORTED', 'stopped');
    expect(isAbort(both(both(stop)))).toBe(true);
    expect(isAbort(both(new DOMException('stopped', 'AbortError')))).toBe(true);
    // What came second stays second.
    expect(isAbort(Object.assign(both(first), { error: stop }))).toBe(false);
  });
});

describe('an error about an option, in the words of the command line', () => {
  it.each([
    ['train.batchSize', '--batch-size'],
    ['attack.rate', '--rate'],
    ['attack', '--attack'],
    ['defend.maxAccDrop', '--max-acc-drop'],
    ['purify.count', '--purify.count'],
    ['badnets.patchSize', '--badnets.patchSize'],
    ['dataset.synthetic.train', '--train-rows'],
    ['dataset.cifar10.limit.test', '--test-rows'],
    ['dataset.cifar10.download', '--download'],
    ['precision', '--precision'],
    ['mixture.tolerance', 'mixture.tolerance'],
  ])('%s is %s', (path, flag) => {
    const failure = inFlags(toFailure(invalidOption(path, 'something else', 3)), () => true);
    expect(failure.message).toBe(`${flag}: expected something else, got 3`);
    expect(failure.details).toMatchObject({ path, ...(flag === path ? {} : { flag }) });
  });

  it('leaves every other error alone', () => {
    const failure = toFailure(
      new PadFtError('ERR_FILE_WRITE', 'attack.rate: full', { details: { path: 'attack.rate' } }),
    );
    expect(inFlags(failure, () => true)).toEqual(failure);
    const foreign = toFailure(invalidOption('attack.seed', 'an integer', -1));
    expect(inFlags(foreign, (flag) => flag === '--seeds')).toEqual(foreign);
  });
});
