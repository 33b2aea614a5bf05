import { describe, expect, it } from 'vitest';
import type { Dataset } from '../../src/dataset.js';
import { type Channel, normBefore, prunedState, pruneWithin, requireNorms } from '../../src/defenses/methods/prune.js';
import type { Model } from '../../src/model.js';
import type { StateEntry } from '../../src/native/contract.js';

const CHANNELS = 16;

function entry(name: string, values: readonly number[]): StateEntry {
  return {
    name,
    dtype: 'F32',
    shape: [values.length],
    data: new Uint8Array(Float32Array.from(values).buffer),
  };
}

function valuesOf(state: readonly StateEntry[], name: string): readonly number[] {
  const found = state.find((candidate) => candidate.name === name);
  return [...new Float32Array(new Uint8Array(found?.data ?? []).buffer)];
}

/** No value twice, and none zero: what is zero was pruned, and what moved shows. */
function original(): readonly StateEntry[] {
  const from = (first: number) => Array.from({ length: CHANNELS }, (_, i) => first + i);
  return [
    entry('conv.weight', from(1)),
    entry('bn1.weight', from(101)),
    entry('bn1.bias', from(201)),
    entry('bn1.running_mean', from(301)),
    entry('bn2.weight', from(401)),
    entry('bn2.bias', from(501)),
    {
      name: 'bn2.num_batches_tracked',
      dtype: 'I64',
      shape: [],
      data: new Uint8Array(new BigInt64Array([7n]).buffer),
    },
  ];
}

function copyOf(state: readonly StateEntry[]): readonly StateEntry[] {
  return state.map((own) => ({ ...own, data: new Uint8Array(own.data) }));
}

/** The first so many channels of bn1. */
function first(count: number): readonly Channel[] {
  return Array.from({ length: count }, (_, index) => ({ norm: 'bn1', index }));
}

/** How many channels of bn1 have no scale. */
function prunedIn(state: readonly StateEntry[]): number {
  return valuesOf(state, 'bn1.weight').filter((value) => value === 0).length;
}

/** A model that gets as many of its eight images right as `rights` says of so many pruned channels. */
class Scripted {
  loaded: readonly StateEntry[] = original();
  /** How many channels were pruned at each look, in order. */
  readonly looks: number[] = [];
  readonly #rights: Readonly<Record<number, number>>;

  constructor(rights: Readonly<Record<number, number>>) {
    this.#rights = rights;
  }

  async state(): Promise<readonly StateEntry[]> {
    return copyOf(this.loaded);
  }

  async loadState(entries: readonly StateEntry[]): Promise<void> {
    this.loaded = copyOf(entries);
  }

  async predict(): Promise<Int32Array> {
    const pruned = prunedIn(this.loaded);
    this.looks.push(pruned);
    const right = this.#rights[pruned];
    if (right === undefined) throw new Error(`nobody expected a look at ${pruned} pruned channels`);
    return Int32Array.from({ length: 8 }, (_, row) => (row < right ? 0 : 1));
  }
}

/** Eight images of class 0: accuracies are eighths, exact in binary. */
const CLEAN = { labels: () => new Int32Array(8) } as unknown as Dataset;

async function prune(
  rights: Readonly<Record<number, number>>,
  portions: readonly (readonly Channel[])[],
  maxAccDrop: number,
  kinds: readonly ('weight' | 'bias')[] = ['weight'],
) {
  const model = new Scripted(rights);
  const pruning = await pruneWithin(model as unknown as Model, CLEAN, portions, { kinds, maxAccDrop }, {});
  return { pruning, looks: model.looks, state: model.loaded };
}

describe('pruning within an accuracy', () => {
  it('takes the last portion that holds, and puts the model back to it after a break', async () => {
    const portions = [first(1), first(2), first(4), first(8)];
    const { pruning, looks, state } = await prune({ 0: 8, 1: 8, 2: 7, 4: 5, 8: 4 }, portions, 0.25);
    expect(pruning).toEqual({ pruned: 2, portion: 2, before: 1, after: 0.875 });
    // What lies beyond the break is not looked at.
    expect(looks).toEqual([0, 1, 2, 4]);
    expect(state).toEqual(prunedState(original(), first(2), ['weight']));
    expect(prunedIn(state)).toBe(2);
  });

  it('takes all portions where all hold', async () => {
    const { pruning, state } = await prune({ 0: 8, 1: 8, 2: 8, 4: 7 }, [first(1), first(2), first(4)], 0.25);
    expect(pruning).toEqual({ pruned: 4, portion: 3, before: 1, after: 0.875 });
    expect(prunedIn(state)).toBe(4);
  });

  it('prunes nothing where the first portion costs too much', async () => {
    const { pruning, looks, state } = await prune({ 0: 8, 1: 4, 2: 8 }, [first(1), first(2)], 0.25);
    expect(pruning).toEqual({ pruned: 0, portion: 0, before: 1, after: 1 });
    expect(looks).toEqual([0, 1]);
    expect(state).toEqual(original());
  });

  it('does not take a later portion that would hold again', async () => {
    const portions = [first(1), first(2), first(4)];
    const { pruning, state } = await prune({ 0: 8, 1: 8, 2: 4, 4: 8 }, portions, 0.25);
    expect(pruning).toEqual({ pruned: 1, portion: 1, before: 1, after: 1 });
    expect(prunedIn(state)).toBe(1);
  });

  it('looks at portions of one size once, and takes the last of them', async () => {
    const portions = [[], [], first(2), first(2), first(2), first(4), first(4)];
    const { pruning, looks, state } = await prune({ 0: 8, 2: 7, 4: 5 }, portions, 0.25);
    expect(pruning).toEqual({ pruned: 2, portion: 5, before: 1, after: 0.875 });
    // Empty ones are what it is before.
    expect(looks).toEqual([0, 2, 4]);
    expect(prunedIn(state)).toBe(2);
  });

  it('keeps a portion that costs exactly what it may, of what the accuracy was and not of the portion before', async () => {
    const portions = [first(1), first(2), first(4)];
    // From 7 eighths: 5 are exactly two fewer; 4 are one fewer than those, and three than at first.
    const { pruning } = await prune({ 0: 7, 1: 6, 2: 5, 4: 4 }, portions, 0.25);
    expect(pruning).toEqual({ pruned: 2, portion: 2, before: 0.875, after: 0.625 });
    // In points: a quarter of 4 eighths is one, a quarter of all is two.
    expect((await prune({ 0: 4, 1: 2, 2: 1 }, [first(1), first(2)], 0.25)).pruning).toMatchObject({ portion: 1 });
    expect((await prune({ 0: 8, 1: 8, 2: 7 }, [first(1), first(2)], 0)).pruning).toMatchObject({ portion: 1 });
  });

  it('counts from the victim, where pruning makes it better for a while', async () => {
    const portions = [first(1), first(2), first(4)];
    const { pruning } = await prune({ 0: 6, 1: 8, 2: 5, 4: 3 }, portions, 0.25);
    expect(pruning).toEqual({ pruned: 2, portion: 2, before: 0.75, after: 0.625 });
  });

  it('prunes the kinds it was asked to', async () => {
    const { state } = await prune({ 0: 8, 2: 8 }, [first(2)], 0, ['weight', 'bias']);
    expect(state).toEqual(prunedState(original(), first(2), ['weight', 'bias']));
    expect(valuesOf(state, 'bn1.bias').slice(0, 3)).toEqual([0, 0, 203]);
    const alone = await prune({ 0: 8, 2: 8 }, [first(2)], 0, ['weight']);
    expect(valuesOf(alone.state, 'bn1.bias')).toEqual(valuesOf(original(), 'bn1.bias'));
  });
});

describe('a pruned state', () => {
  const channels = [
    { norm: 'bn1', index: 2 },
    { norm: 'bn2', index: 0 },
    { norm: 'bn1', index: 15 },
  ];
  /** The original, but for zeros at these places. */
  const withZeros = (zeros: Readonly<Record<string, readonly number[]>>) =>
    original().map((own) => {
      const indices = zeros[own.name];
      if (indices === undefined) return own;
      return entry(
        own.name,
        valuesOf([own], own.name).map((value, i) => (indices.includes(i) ? 0 : value)),
      );
    });

  it('has zeros at the channels of their own norm, in the kinds named, and nowhere else', () => {
    expect(prunedState(original(), channels, ['weight'])).toEqual(
      withZeros({ 'bn1.weight': [2, 15], 'bn2.weight': [0] }),
    );
    expect(prunedState(original(), channels, ['weight', 'bias'])).toEqual(
      withZeros({ 'bn1.weight': [2, 15], 'bn1.bias': [2, 15], 'bn2.weight': [0], 'bn2.bias': [0] }),
    );
    expect(prunedState(original(), [], ['weight', 'bias'])).toEqual(original());
  });

  it('leaves the state that it was made of as it was', () => {
    const state = original();
    prunedState(state, channels, ['weight', 'bias']);
    expect(state).toEqual(original());
  });

  it('is refused for a norm that the state does not have', () => {
    expect(() => prunedState(original(), [...channels, { norm: 'bn3', index: 0 }], ['weight', 'bias'])).toThrow(
      expect.objectContaining({ code: 'ERR_MODEL', message: expect.stringContaining('the model has no bn3.weight') }),
    );
    // A norm without a shift.
    const bare = original().filter(({ name }) => name !== 'bn1.bias');
    expect(() => prunedState(bare, first(1), ['weight', 'bias'])).toThrow(
      expect.objectContaining({ code: 'ERR_MODEL', message: expect.stringContaining('the model has no bn1.bias') }),
    );
    expect(valuesOf(prunedState(bare, first(1), ['weight']), 'bn1.weight').slice(0, 2)).toEqual([0, 102]);
  });
});

describe('the batch norm before a site', () => {
  const victim = { name: 'another' };

  it('is numbered as its ReLU', () => {
    expect(normBefore('fp', victim, 'layer4.1.relu2')).toBe('layer4.1.bn2');
    expect(normBefore('fp', victim, 'layer1.0.relu1')).toBe('layer1.0.bn1');
    expect(normBefore('fp', victim, 'relu1')).toBe('bn1');
    expect(normBefore('fp', victim, 'stage.relu12')).toBe('stage.bn12');
  });

  it.each([
    ['features.relu', 'before features.relu'],
    ['relu1.conv', 'before relu1.conv'],
    ['layer1.act1', 'before layer1.act1'],
    [undefined, 'before a ReLU'],
  ])('is not known of %s', (site, told) => {
    expect(() => normBefore('anp', victim, site)).toThrow(
      expect.objectContaining({
        code: 'ERR_MODEL',
        message: expect.stringContaining(`anp: another has no batch norm`),
      }),
    );
    expect(() => normBefore('anp', victim, site)).toThrow(told);
  });

  it('is required of every site, and of one at least', () => {
    const site = (name: string) => ({ name, channels: 8 });
    const refused = (...names: string[]) =>
      expect(() => requireNorms('fp', { name: 'another', sites: names.map(site) }));
    refused('relu1', 'layer1.0.relu2').not.toThrow();
    refused('relu1', 'layer1.0.act').toThrow('before layer1.0.act');
    refused('layer1.0.act', 'relu1').toThrow('before layer1.0.act');
    refused().toThrow('before a ReLU');
  });
});
