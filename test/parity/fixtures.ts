import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { readSafetensors, type SafetensorsTensor } from '../../src/formats/safetensors.js';

/** The fixtures that make_fixtures.py wrote: what PyTorch answered, and how close an answer has to come. */

const FOLDER = join(import.meta.dirname, 'fixtures');

interface IndexEntry {
  readonly file: string;
  readonly inputs: readonly string[];
  readonly model?: {
    readonly classes: number;
    readonly width: number;
    readonly mean: readonly number[];
    readonly std: readonly number[];
  };
  readonly state?: string;
  readonly options?: Readonly<Record<string, unknown>>;
  /** [absolute, relative] of each answer; [0, 0] demands equality. */
  readonly tolerance: Readonly<Record<string, readonly [number, number]>>;
}

export const INDEX: {
  readonly sites_w4: readonly (readonly [string, number])[];
  readonly fixtures: Readonly<Record<string, IndexEntry>>;
} = JSON.parse(readFileSync(join(FOLDER, 'index.json'), 'utf8'));

/** One fixture: inputs to compute from, and answers to be compared with. Notes which answers were looked at. */
export class Fixture {
  readonly entry: IndexEntry;
  readonly #name: string;
  readonly #tensors: ReadonlyMap<string, SafetensorsTensor>;
  readonly #checked = new Set<string>();

  private constructor(name: string, entry: IndexEntry, tensors: ReadonlyMap<string, SafetensorsTensor>) {
    this.#name = name;
    this.entry = entry;
    this.#tensors = tensors;
  }

  static async open(name: string): Promise<Fixture> {
    const entry = INDEX.fixtures[name];
    if (entry === undefined) throw new Error(`no fixture ${name}`);
    return new Fixture(name, entry, (await readSafetensors(join(FOLDER, entry.file))).tensors);
  }

  /** Path of the weights that the fixture starts from. */
  get statePath(): string {
    return join(FOLDER, this.entry.state ?? '');
  }

  number(option: string): number {
    const value = this.entry.options?.[option];
    if (typeof value !== 'number') throw new Error(`${this.#name}: no number ${option}`);
    return value;
  }

  shape(tensor: string): readonly number[] {
    return this.#tensor(tensor).shape;
  }

  floats(tensor: string): Float32Array {
    return new Float32Array(this.#bytes(tensor, 'F32').buffer);
  }

  integers(tensor: string): Int32Array {
    return new Int32Array(this.#bytes(tensor, 'I32').buffer);
  }

  bytes(tensor: string): Uint8Array {
    return this.#bytes(tensor, 'U8');
  }

  /** Compares with PyTorch's answer: |got − expected| ≤ absolute + relative · |expected|, everywhere. */
  expect(answer: string, got: ArrayLike<number>): void {
    const tolerance = this.entry.tolerance[answer];
    if (tolerance === undefined) throw new Error(`${this.#name}: no answer ${answer}`);
    this.#checked.add(answer);
    const [absolute, relative] = tolerance;
    const { dtype } = this.#tensor(answer);
    const expected =
      dtype === 'F32' ? this.floats(answer) : dtype === 'U8' ? this.bytes(answer) : this.integers(answer);
    expect(got.length, `${this.#name}/${answer}: length`).toBe(expected.length);
    let worst = 0;
    let at = -1;
    expected.forEach((value, i) => {
      const excess = Math.abs((got[i] ?? Number.NaN) - value) - (absolute + relative * Math.abs(value));
      if (!(excess <= worst)) [worst, at] = [excess, i];
    });
    expect(
      at,
      `${this.#name}/${answer}[${at}]: expected ${expected[at]}, got ${got[at]}, ${worst} beyond its tolerance`,
    ).toBe(-1);
  }

  /** Every answer of the fixture was compared, but for those named. */
  expectComplete(...elsewhere: readonly string[]): void {
    const left = Object.keys(this.entry.tolerance).filter(
      (answer) => !this.#checked.has(answer) && !elsewhere.includes(answer),
    );
    expect(left, `${this.#name}: answers that nothing was compared with`).toEqual([]);
  }

  #tensor(name: string): SafetensorsTensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new Error(`${this.#name}: no tensor ${name}`);
    return tensor;
  }

  #bytes(name: string, dtype: string): Uint8Array<ArrayBuffer> {
    const tensor = this.#tensor(name);
    if (tensor.dtype !== dtype) throw new Error(`${this.#name}: ${name} is ${tensor.dtype}, not ${dtype}`);
    return new Uint8Array(tensor.data);
  }
}
