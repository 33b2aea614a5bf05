import { EXIT } from './exit-code.js';
import type { Output } from './output.js';

/**
 * Ctrl-C and SIGTERM. The first asks the run to stop: it finishes its batch, leaves its checkpoint, and the process
 * ends with 130 or 143. The second ends the process at once. A reader that closes standard output (`| head`) stops the
 * run too: nobody would read the rest.
 */
export class Interruption {
  readonly #controller = new AbortController();
  readonly #output: Output;
  #exitCode: number | null = null;
  #outputLost = false;

  constructor(output: Output) {
    this.#output = output;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** What to exit with when the run ended because of this; null when nobody interrupted. */
  get exitCode(): number | null {
    return this.#exitCode;
  }

  /** Starts to listen. */
  listen(): void {
    process.on('SIGINT', () => this.#interrupt('SIGINT', EXIT.interrupted));
    process.on('SIGTERM', () => this.#interrupt('SIGTERM', EXIT.terminated));
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      const closed = error.code === 'EPIPE';
      this.#exitCode ??= closed ? EXIT.brokenPipe : EXIT.failed;
      this.#controller.abort(error);
      if (closed || this.#outputLost) return;
      this.#outputLost = true;
      this.#output.log(`error: standard output could not be written: ${error.message}`);
    });
    // The news may come after the command has already ended well.
    process.on('exit', () => {
      if (this.#outputLost) process.exitCode = EXIT.failed;
    });
    // Messages nobody reads: the run goes on.
    process.stderr.on('error', () => {});
  }

  #interrupt(name: NodeJS.Signals, exitCode: number): void {
    if (this.signal.aborted) dieBy(name, exitCode);
    this.#exitCode = exitCode;
    this.#output.log(`${name}: stopping after this batch; once more to stop at once`);
    this.#controller.abort(new Error(name));
  }
}

/** `process.exit` would wait for the running batch: the signal itself, without a handler, does not. */
function dieBy(name: NodeJS.Signals, exitCode: number): never {
  process.removeAllListeners(name);
  process.kill(process.pid, name);
  process.exit(exitCode);
}
