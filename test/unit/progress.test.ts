import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Output } from '../../src/cli/output.js';
import { createProgress } from '../../src/cli/progress.js';

/** A stream that remembers, and says that it is a terminal when asked to. */
function screen(isTTY: boolean, columns = 60) {
  let text = '';
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  return { stream: Object.assign(stream, { isTTY, columns }) as unknown as NodeJS.WriteStream, text: () => text };
}

function progressOn(isTTY: boolean, columns?: number) {
  const { stream, text } = screen(isTTY, columns);
  const mode = { json: false, quiet: false, colour: false };
  return { progress: createProgress(new Output(mode, stream, stream), stream), text };
}

const REPORT = {
  ...{ epoch: 2, epochs: 12, learningRate: 0.1, loss: 0.5, trainAccuracy: 0.75, imagesPerSecond: 340, seconds: 4 },
  evaluation: null,
};
const CLEAR = '\r\u001b[K';

describe('progress', () => {
  it('draws a bar on a terminal, no wider than it, and leaves it clean for a line', () => {
    const { progress, text } = progressOn(true, 30);
    progress.update('train', 50, 100);
    expect(text()).toBe(`${CLEAR}${`  train      ${'█'.repeat(12)}${'░'.repeat(12)}`.slice(0, 29)}`);
    progress.epoch(REPORT);
    progress.end();
    expect(text().endsWith(`${CLEAR}  epoch  2/12  loss 0.500  train 75.0 %  340 images/s  4.0 s\n`)).toBe(true);
  });

  it.each(['stage', 'note', 'warning'] as const)('clears the bar before a %s, once', (kind) => {
    const { progress, text } = progressOn(true);
    progress.update('clip', 100, 100);
    const drawn = text();
    expect(drawn).toContain('100 %');
    progress[kind]('what happened');
    progress.end();
    const after = text().slice(drawn.length);
    expect(after.startsWith(CLEAR)).toBe(true);
    expect(after.split(CLEAR)).toHaveLength(2);
    expect(after).toContain('what happened\n');
  });

  it('writes lines and no bar elsewhere', () => {
    const { progress, text } = progressOn(false);
    progress.stage('train');
    progress.update('train', 50, 100);
    progress.epoch(REPORT);
    progress.end();
    expect(text().split('\n')).toHaveLength(3);
    expect(text()).not.toContain('\r');
  });
});
