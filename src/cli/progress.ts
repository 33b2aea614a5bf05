import type { EpochReport } from '../train.js';
import type { Output } from './output.js';

/** Where a run's news goes: a bar on a terminal, one line an epoch elsewhere, events with `--json`. */
export interface Progress {
  /** A part of the run begins. */
  stage(name: string): void;
  /** `done` of `total` rows, steps or bytes of a part. */
  update(stage: string, done: number, total: number): void;
  epoch(report: EpochReport): void;
  /** Something worth knowing, such as the device that was chosen. */
  note(text: string): void;
  /** Something worth acting on; shown even with `--quiet`. */
  warning(text: string): void;
  /** Leaves the terminal clean. */
  end(): void;
}

export function createProgress(output: Output, stream: NodeJS.WriteStream = process.stderr): Progress {
  if (output.mode.json) return new JsonProgress(output);
  if (output.mode.quiet) return new QuietProgress(output);
  return stream.isTTY ? new BarProgress(output, stream) : new LineProgress(output);
}

/** Lines of `--json` a second, at most, while something progresses. */
const EVENTS_PER_SECOND = 2;
const FRAMES_PER_SECOND = 10;
const BAR_CELLS = 24;

class JsonProgress implements Progress {
  readonly #output: Output;
  readonly #due = throttle(EVENTS_PER_SECOND);

  constructor(output: Output) {
    this.#output = output;
  }

  stage(name: string): void {
    this.#output.event('stage', { stage: name });
  }

  update(stage: string, done: number, total: number): void {
    if (this.#due(done >= total)) this.#output.event('progress', { stage, done, total });
  }

  epoch(report: EpochReport): void {
    this.#output.event('epoch', report);
  }

  note(message: string): void {
    this.#output.event('note', { message });
  }

  warning(message: string): void {
    this.#output.event('warning', { message });
  }

  end(): void {}
}

class QuietProgress implements Progress {
  protected readonly output: Output;

  constructor(output: Output) {
    this.output = output;
  }

  stage(_name: string): void {}
  update(_stage: string, _done: number, _total: number): void {}
  epoch(_report: EpochReport): void {}
  note(_text: string): void {}

  warning(text: string): void {
    this.output.log(`${this.output.paint('yellow', 'warning')}: ${text}`);
  }

  end(): void {}
}

class LineProgress extends QuietProgress {
  override stage(name: string): void {
    this.output.log(this.output.paint('bold', name));
  }

  override epoch(report: EpochReport): void {
    this.output.log(`  ${describeEpoch(report)}`);
  }

  override note(text: string): void {
    this.output.log(this.output.paint('dim', text));
  }
}

/** Lines as elsewhere, and below them one that is drawn again and again. */
class BarProgress extends LineProgress {
  readonly #stream: NodeJS.WriteStream;
  readonly #due = throttle(FRAMES_PER_SECOND);
  #part = '';
  #began = 0;
  #drawn = false;

  constructor(output: Output, stream: NodeJS.WriteStream) {
    super(output);
    this.#stream = stream;
  }

  override stage(name: string): void {
    this.end();
    super.stage(name);
  }

  override update(part: string, done: number, total: number): void {
    if (part !== this.#part || done === 0) {
      this.#part = part;
      this.#began = performance.now();
    }
    if (!this.#due(done >= total)) return;
    const share = total > 0 ? Math.min(1, done / total) : 0;
    const filled = Math.round(share * BAR_CELLS);
    const seconds = (performance.now() - this.#began) / 1000;
    const left = share > 0.02 && share < 1 ? `  ${formatSeconds((seconds * (1 - share)) / share)} left` : '';
    const percent = String(Math.floor(100 * share)).padStart(3);
    const bar = `${'█'.repeat(filled)}${'░'.repeat(BAR_CELLS - filled)}`;
    const line = `  ${part.padEnd(10)} ${bar} ${percent} %${left}`;
    this.#stream.write(`\r\u001b[K${line.slice(0, Math.max(1, (this.#stream.columns || 80) - 1))}`);
    this.#drawn = true;
  }

  override epoch(report: EpochReport): void {
    this.end();
    super.epoch(report);
  }

  override note(text: string): void {
    this.end();
    super.note(text);
  }

  override warning(text: string): void {
    this.end();
    super.warning(text);
  }

  override end(): void {
    if (this.#drawn) this.#stream.write('\r\u001b[K');
    this.#drawn = false;
    this.#part = '';
  }
}

/** One epoch in a line: `epoch 3/6  loss 0.812  train 74.1 %  ACC 71.20 %  ASR 99.10 %  330 images/s`. */
function describeEpoch(report: EpochReport): string {
  const { epoch, epochs, loss, trainAccuracy, evaluation, imagesPerSecond, seconds } = report;
  return [
    `epoch ${String(epoch).padStart(String(epochs).length)}/${epochs}`,
    `loss ${loss.toFixed(3)}`,
    `train ${(100 * trainAccuracy).toFixed(1)} %`,
    ...(evaluation === null ? [] : [`ACC ${percent(evaluation.acc)}`]),
    ...(evaluation?.asr == null ? [] : [`ASR ${percent(evaluation.asr)}`]),
    `${Math.round(imagesPerSecond)} images/s`,
    formatSeconds(seconds),
  ].join('  ');
}

/** A fraction as a percentage with two decimals; a dash where there is none. */
export function percent(share: number | null): string {
  return share === null ? '–' : `${(100 * share).toFixed(2)} %`;
}

export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Says yes at most so often a second, and always to what is `last`. */
function throttle(perSecond: number): (last: boolean) => boolean {
  let next = 0;
  return (last) => {
    const now = performance.now();
    if (!last && now < next) return false;
    next = now + 1000 / perSecond;
    return true;
  };
}
