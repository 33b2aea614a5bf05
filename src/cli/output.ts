import { styleText } from 'node:util';
import type { Failure } from './exit-code.js';

/** Raised when a line of `--json` changes its meaning. */
const SCHEMA_VERSION = 1;

/** How the program speaks, read from the raw command line: a command line that does not parse must be answered too. */
export interface OutputMode {
  readonly json: boolean;
  readonly quiet: boolean;
  /** Colours on standard error; results are never coloured. */
  readonly colour: boolean;
}

export function outputMode(argv: readonly string[], env: NodeJS.ProcessEnv, isTerminal: boolean): OutputMode {
  const end = argv.indexOf('--');
  const flags = new Set(end === -1 ? argv : argv.slice(0, end));
  const refused = flags.has('--no-color') || Boolean(env.NO_COLOR) || env.TERM === 'dumb';
  const forced = Boolean(env.FORCE_COLOR) && env.FORCE_COLOR !== '0';
  return {
    json: flags.has('--json'),
    quiet: flags.has('--quiet') || flags.has('-q'),
    colour: !refused && (forced || isTerminal),
  };
}

/**
 * Standard output holds results and nothing else. With `--json` it is one JSON object a line, each with `type`, `seq`
 * and `time`; the last, and only the last, is a `result` or an `error`. Everything for people goes to standard error.
 */
export class Output {
  readonly mode: OutputMode;
  readonly #out: NodeJS.WritableStream;
  readonly #err: NodeJS.WritableStream;
  #seq = 0;
  #closed = false;

  constructor(
    mode: OutputMode,
    out: NodeJS.WritableStream = process.stdout,
    err: NodeJS.WritableStream = process.stderr,
  ) {
    this.mode = mode;
    this.#out = out;
    this.#err = err;
  }

  /** The first line of `--json`. */
  start(version: string, argv: readonly string[]): void {
    this.event('start', { schema: SCHEMA_VERSION, version, argv });
  }

  /** A line of `--json`; nothing otherwise. */
  event(type: string, fields: object): void {
    if (!this.mode.json || this.#closed) return;
    const line = { type, seq: this.#seq++, time: new Date().toISOString(), ...fields };
    this.#out.write(`${JSON.stringify(line)}\n`);
  }

  /** What the command was asked for: `text` for a person, `fields` for a program. Once, at the end. */
  result(fields: object, text: string): void {
    if (this.mode.json) this.event('result', fields);
    else this.#out.write(text.endsWith('\n') ? text : `${text}\n`);
    this.#closed = true;
  }

  /** The end of a command that failed. `told`: standard error has the message already. */
  fail(failure: Failure, told = false): void {
    const { code, message, details, stack } = failure;
    if (stack !== null) this.log(stack);
    if (!told) this.log(`${this.paint('red', 'error')} ${code}: ${message}`);
    this.event('error', { code, message, details });
    this.#closed = true;
  }

  /** A line on standard error. */
  log(text: string): void {
    this.#err.write(`${text}\n`);
  }

  paint(style: 'red' | 'yellow' | 'bold' | 'dim', text: string): string {
    return this.mode.colour ? styleText(style, text) : text;
  }
}
