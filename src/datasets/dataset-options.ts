import { invalidOption } from '../errors.js';

/** Reads a data set's options one by one; `done` refuses whatever nobody asked for. */
export class DatasetOptionReader {
  readonly #path: string;
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #known: string[] = [];

  /** `path` opens every message, e.g. `dataset.cifar10`. */
  constructor(path: string, values: unknown) {
    if (typeof values !== 'object' || values === null || Array.isArray(values)) {
      throw invalidOption(path, 'an object of options', values);
    }
    this.#path = path;
    this.#values = values as Readonly<Record<string, unknown>>;
  }

  integer(name: string, fallback: number, low: number, high: number): number {
    const value = this.#take(name) ?? fallback;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < low || value > high) {
      throw invalidOption(`${this.#path}.${name}`, `an integer in [${low}, ${high}]`, value);
    }
    return value;
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.#take(name) ?? fallback;
    if (typeof value !== 'boolean') throw invalidOption(`${this.#path}.${name}`, 'true or false', value);
    return value;
  }

  /** A path of a file or folder; undefined when it was not given. */
  filePath(name: string): string | undefined {
    const value = this.#take(name);
    if (value === undefined) return undefined;
    if (typeof value !== 'string' || value === '' || value.includes('\0')) {
      throw invalidOption(`${this.#path}.${name}`, 'the path of a file or folder', value);
    }
    return value;
  }

  /** A nested object of options, empty when it was not given. */
  group(name: string): DatasetOptionReader {
    return new DatasetOptionReader(`${this.#path}.${name}`, this.#take(name) ?? {});
  }

  /** Refuses options that no call above has asked for. */
  done(): void {
    for (const name of Object.keys(this.#values)) {
      if (!this.#known.includes(name)) {
        throw invalidOption(
          `${this.#path}.${name}`,
          `one of the options ${this.#known.join(', ')}`,
          this.#values[name],
        );
      }
    }
  }

  #take(name: string): unknown {
    this.#known.push(name);
    return Object.hasOwn(this.#values, name) ? this.#values[name] : undefined;
  }
}
