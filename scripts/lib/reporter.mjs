/** Where a line cannot be drawn again, a long step says this often that it goes on. */
const LINE_MS = 30_000;
const FRAME_MS = 1000;

/**
 * How the set-up speaks: lines, and for what takes long one that is drawn again and again on a terminal, or a further one
 * every half minute elsewhere. Types are in reporter.d.mts.
 */
export function createReporter({ quiet = false, stream = process.stderr, lineMs = LINE_MS } = {}) {
  if (quiet) return { say: () => {}, longStep: silently };
  const terminal = stream.isTTY === true;
  let drawn = false;
  const clear = () => {
    if (drawn) stream.write('\r\u001b[K');
    drawn = false;
  };
  const draw = (line) => {
    stream.write(`\r\u001b[K${`setup: ${line}`.slice(0, Math.max(1, (stream.columns || 80) - 1))}`);
    drawn = true;
  };
  const say = (line) => {
    clear();
    stream.write(`setup: ${line}\n`);
  };
  const longStep = async (what, work) => {
    const began = performance.now();
    let at = '';
    const line = () => `${what}${at === '' ? '' : `, ${at}`}, ${inMinutes((performance.now() - began) / 1000)}`;
    const timer = setInterval(() => (terminal ? draw : say)(line()), terminal ? FRAME_MS : lineMs);
    try {
      return await work((step) => {
        if (step === at) return;
        at = step;
        if (terminal) draw(line());
      });
    } finally {
      clearInterval(timer);
      clear();
    }
  };
  return { say, longStep };
}

/** For callers that show nothing. */
export const silently = (_what, work) => work(() => {});

/** How far a build is by what ninja (`[3/31] …`) or make (`[ 40%] …`) printed last; null when they did not say. */
export function stepOf(output) {
  const last = [...String(output).matchAll(/^\[\s*(\d+)(?:\/(\d+)|%)\]/gm)].at(-1);
  if (last === undefined) return null;
  const [, done, total] = last;
  return total === undefined ? `${done} %` : `${done} of ${total}`;
}

function inMinutes(seconds) {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
