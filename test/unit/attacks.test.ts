import { describe, expect, it } from 'vitest';
import { rangeOf } from '../../src/attacks/attack.js';
import { ATTACK_NAMES, ATTACKS, findAttack } from '../../src/attacks/index.js';
import { LABEL_POLICIES } from '../../src/attacks/labels.js';
import { SYNTHETIC_TRIGGER_NAME, syntheticTrigger } from '../../src/attacks/synthetic-trigger.js';
import { applyTrigger, describeTrigger, imageSize, type Trigger } from '../../src/attacks/trigger.js';
import { warpGrid } from '../../src/attacks/warp-grid.js';
import { sha256Hex } from '../../src/formats/sha256.js';

const CIFAR = { channels: 3, height: 32, width: 32 };

describe.each(ATTACK_NAMES)('every attack: %s', (name) => {
  const attack = findAttack(name);

  it('states its paper, its policies and a help text and default for each option', () => {
    expect(attack.name).toBe(name);
    expect(attack.paper.title).not.toBe('');
    expect(attack.paper.venue).toMatch(/^arXiv \d{4}\.\d{5}$/);
    expect(attack.policies.length).toBeGreaterThan(0);
    for (const policy of attack.policies) expect(LABEL_POLICIES).toContain(policy);
    expect(attack.options.map((option) => option.name)).toEqual(Object.keys(attack.defaults));
    for (const option of attack.options) {
      expect(option.path).toBe(`${name}.${option.name}`);
      expect(option.help).not.toBe('');
      expect(Object.entries(attack.defaults)).toContainEqual([option.name, option.default]);
    }
  });

  it.each([CIFAR, { channels: 1, height: 16, width: 24 }])(
    'draws a trigger that fits %o, the same one each time',
    (shape) => {
      const built = attack.build({}, shape);
      expect(applyTrigger(new Uint8Array(imageSize(shape)), built.trigger, shape)).toHaveLength(imageSize(shape));
      expect(built.description).toEqual(describeTrigger(built.trigger, shape));
      expect(attack.build({}, shape)).toEqual(built);
      expect(JSON.parse(JSON.stringify(built.options))).toEqual(built.options);
    },
  );

  it('refuses an option it does not have, naming those it has', () => {
    expect(() => attack.build({ colour: 3 } as object, CIFAR)).toThrow(
      expect.objectContaining({ code: 'ERR_OPTION', message: expect.stringContaining(`${name}.colour`) }),
    );
  });
});

it('refuses an unknown attack, prototype names included', () => {
  expect(() => findAttack('wanet2')).toThrow('attack: expected one of badnets, blended, sig, wanet, got "wanet2"');
  expect(() => findAttack('constructor')).toThrow('attack: expected one of');
});

describe('BadNets', () => {
  it('turns rows and columns 29–31 of a 32×32 image white and leaves every other value alone', () => {
    const image = Uint8Array.from({ length: 3072 }, (_, i) => i % 251);
    const marked = applyTrigger(image, ATTACKS.badnets.build({}, CIFAR).trigger, CIFAR);
    for (let i = 0; i < 3072; i++) {
      const row = Math.floor((i % 1024) / 32);
      const inside = row >= 29 && i % 32 >= 29;
      expect(marked[i]).toBe(inside ? 255 : image[i]);
    }
  });

  it('keeps its margin on images that are not square', () => {
    const shape = { channels: 1, height: 4, width: 5 };
    const { trigger, triggerName, description } = ATTACKS.badnets.build({ patchSize: 2, margin: 1 }, shape);
    expect(triggerName).toBe('2×2 white square');
    expect(description).toMatchObject({ kind: 'replace', maskedValues: 4, height: 4, width: 5 });
    expect(Array.from(applyTrigger(new Uint8Array(20), trigger, shape))).toEqual([
      ...[0, 0, 0, 0, 0],
      ...[0, 0, 255, 255, 0],
      ...[0, 0, 255, 255, 0],
      ...[0, 0, 0, 0, 0],
    ]);
  });

  it('refuses a square that does not fit, and sizes that are no whole numbers', () => {
    expect(() => ATTACKS.badnets.build({ patchSize: 32, margin: 1 }, CIFAR)).toThrow(
      'badnets.patchSize: expected a square that fits 32×32 with margin 1, got 32',
    );
    expect(() => ATTACKS.badnets.build({ patchSize: 0 }, CIFAR)).toThrow(
      'badnets.patchSize: expected an integer ≥ 1, got 0',
    );
    expect(() => ATTACKS.badnets.build({ margin: 1.5 }, CIFAR)).toThrow(
      'badnets.margin: expected an integer ≥ 0, got 1.5',
    );
    expect(() => ATTACKS.badnets.build({ patchSize: Number.NaN }, CIFAR)).toThrow('got NaN');
  });

  it('takes an undefined option as one left out', () => {
    const flags: { patchSize?: number } = JSON.parse('{}');
    expect(ATTACKS.badnets.build({ ...flags, margin: 0 }, CIFAR).options).toEqual({ patchSize: 3, margin: 0 });
    expect(findAttack('badnets').build({ patchSize: undefined } as object, CIFAR).options).toEqual({
      patchSize: 3,
      margin: 0,
    });
  });
});

describe('Blended', () => {
  it('mixes 0.8 of the image with 0.2 of the picture, truncated', () => {
    const shape = { channels: 1, height: 1, width: 4 };
    const pattern = Uint8Array.of(255, 0, 255, 3);
    const { trigger, triggerName, options } = ATTACKS.blended.build({ pattern }, shape);
    // 0.8·255 + 0.2·255 = 255; 0.8·255 = 204; 0.2·255 = 51; 0.8·100 + 0.2·3 = 80.6 → 80
    expect(Array.from(applyTrigger(Uint8Array.of(255, 255, 0, 100), trigger, shape))).toEqual([255, 204, 51, 80]);
    expect(triggerName).toBe("user's image");
    expect(options).toEqual({ alpha: 0.2, pattern: { bytes: 4, sha256: sha256Hex(pattern) } });
  });

  it("keeps a copy of the user's picture", () => {
    const pattern = new Uint8Array(4).fill(9);
    const { trigger } = ATTACKS.blended.build({ pattern }, { channels: 1, height: 2, width: 2 });
    pattern.fill(0);
    expect(trigger).toEqual({ kind: 'blend', alpha: 0.2, pattern: new Uint8Array(4).fill(9) });
  });

  it('refuses a picture of another size and a share outside (0, 1]', () => {
    expect(() => ATTACKS.blended.build({ pattern: new Uint8Array(12) }, CIFAR)).toThrow(
      'blended.pattern: expected 3072 raw values (3×32×32), got Uint8Array of 12 bytes',
    );
    expect(() => ATTACKS.blended.build({ alpha: 0 }, CIFAR)).toThrow(
      'blended.alpha: expected a number in (0, 1], got 0',
    );
    expect(() => ATTACKS.blended.build({ alpha: 1.01 }, CIFAR)).toThrow('got 1.01');
    expect(() => findAttack('blended').build({ pattern: 'kitty.png' } as object, CIFAR)).toThrow(
      'blended.pattern: expected raw image values (Uint8Array, C×H×W) or null, got "kitty.png"',
    );
    const { help } = ATTACKS.blended.options.find((option) => option.name === 'pattern')!;
    expect(help).toContain(SYNTHETIC_TRIGGER_NAME);
  });
});

describe('SIG', () => {
  it('adds the same wave to every row and channel', () => {
    const shape = { channels: 2, height: 3, width: 8 };
    const { trigger, triggerName, options } = ATTACKS.sig.build({ amplitude: 10, frequency: 2 }, shape);
    expect({ triggerName, options }).toEqual({
      triggerName: 'wave of 2 periods, amplitude 10',
      options: { amplitude: 10, frequency: 2 },
    });
    // sin(2π · 2 · j / 8): 0, 1, 0, −1, …; the zeros are off by rounding, and truncation makes a whole level of that.
    const marked = applyTrigger(new Uint8Array(48).fill(100), trigger, shape);
    for (let start = 0; start < 48; start += 8) {
      const row = Array.from(marked.subarray(start, start + 8));
      expect(row.filter((_, j) => j % 2 === 1)).toEqual([110, 90, 110, 90]);
      for (const zero of [0, 2, 4, 6]) expect([99, 100]).toContain(row[zero]);
      expect(row).toEqual(Array.from(marked.subarray(0, 8)));
    }
  });

  it('keeps labels and has no other policy', () => {
    expect(ATTACKS.sig.policies).toEqual(['clean-label']);
  });

  it('refuses amplitudes outside (0, 255] and frequencies of 0', () => {
    expect(() => ATTACKS.sig.build({ amplitude: 0 }, CIFAR)).toThrow(
      'sig.amplitude: expected a number in (0, 255], got 0',
    );
    expect(() => ATTACKS.sig.build({ frequency: 0 }, CIFAR)).toThrow('sig.frequency: expected a number > 0, got 0');
  });
});

describe('WaNet', () => {
  const gridOf = (built: { readonly trigger: Trigger }) =>
    built.trigger.kind === 'warp' ? built.trigger.grid : new Float32Array(0);

  it('moves pixels by the strength in half pixels on average, edges included, and never outside', () => {
    const { trigger, triggerName, perBatch } = ATTACKS.wanet.build({}, CIFAR);
    expect({ triggerName, perBatch }).toEqual({
      triggerName: 'warp of 4×4 control points, strength 0.5',
      perBatch: { crossRatio: 2, rotation: 10 },
    });
    const grid = gridOf({ trigger });
    const moves = Array.from(grid, (value, i) => {
      const pixel = i % 2 === 0 ? (i / 2) % 32 : Math.floor(i / 64);
      return (Math.abs(value - ((2 * pixel) / 31 - 1)) * 31) / 2;
    });
    const mean = moves.reduce((sum, move) => sum + move, 0) / moves.length;
    expect(mean).toBeGreaterThan(0.1);
    expect(mean).toBeLessThan(0.4);
    expect(grid.every((value) => Math.abs(value) <= 1)).toBe(true);
  });

  it('draws its field from the seed', () => {
    const grid = (seed: number) => gridOf(ATTACKS.wanet.build({}, CIFAR, seed));
    expect(grid(3)).toEqual(grid(3));
    expect(grid(3)).not.toEqual(grid(4));
    expect(ATTACKS.badnets.build({}, CIFAR, 3)).toEqual(ATTACKS.badnets.build({}, CIFAR, 4));
  });

  it('interpolates between its control points, whose corners are the corners of the image', () => {
    // Displacements of mean size 1, all to the right: the field is constant, and so is its enlargement.
    const field = Float32Array.from({ length: 18 }, (_, i) => (i < 9 ? 4 : 0));
    const size = { height: 3, width: 5 };
    const grid = warpGrid(field, { strength: 0.5, rescale: 0.5 }, size);
    const moved = 0.5 * 2 * 0.2;
    [-1, -0.5, 0, 0.5, 1].forEach((x, j) => {
      expect(grid[2 * (5 + j)]).toBeCloseTo((x + moved) * 0.5, 6);
      expect(grid[2 * (5 + j) + 1]).toBeCloseTo(0, 6);
    });
    // At the control points themselves the field is what was given.
    const bumps = Float32Array.from({ length: 18 }, (_, i) => (i === 4 ? 18 : 0));
    const at = (y: number, x: number) =>
      warpGrid(bumps, { strength: 0.1, rescale: 1 }, { height: 9, width: 9 })[18 * y + 2 * x];
    expect(at(4, 4)).toBeCloseTo((0.1 * 18) / 9, 6);
    expect(at(0, 4)).toBeCloseTo(0, 6);
    expect(at(4, 8)).toBeCloseTo(1, 6);
  });

  it('refuses options out of range', () => {
    expect(() => ATTACKS.wanet.build({ gridSize: 1 }, CIFAR)).toThrow(
      'wanet.gridSize: expected an integer in [2, 256]',
    );
    expect(() => ATTACKS.wanet.build({ strength: 0 }, CIFAR)).toThrow('wanet.strength: expected a number > 0, got 0');
    expect(() => ATTACKS.wanet.build({ crossRatio: -1 }, CIFAR)).toThrow('wanet.crossRatio');
    expect(() => ATTACKS.wanet.build({ rotation: 181 }, CIFAR)).toThrow('wanet.rotation');
  });
});

describe('the synthetic trigger', () => {
  it.each([16, 32, 64, 96])('has means near (207, 190, 198) and deviations near 65, %i pixels wide', (size) => {
    const picture = syntheticTrigger({ channels: 3, height: size, width: size });
    [207, 190, 198].forEach((expected, c) => {
      const plane = picture.subarray(c * size * size, (c + 1) * size * size);
      const mean = plane.reduce((sum, value) => sum + value, 0) / plane.length;
      const variance = plane.reduce((sum, value) => sum + (value - mean) ** 2, 0) / plane.length;
      expect(Math.abs(mean - expected)).toBeLessThan(3);
      expect(Math.abs(Math.sqrt(variance) - 65)).toBeLessThan(16);
    });
  });

  it('is the same picture for ever: a change would make old results another attack', () => {
    expect(sha256Hex(syntheticTrigger(CIFAR))).toBe('a6f38316f58953e7afde1b44779131fe420fdce14e285e266bda20f282fb50e3');
    expect(sha256Hex(syntheticTrigger({ channels: 3, height: 64, width: 64 }))).toBe(
      '8ef093beae19677ee2d7f1f83193b34580f1e25b5580d902f34bf7aaf0267479',
    );
  });

  it('has edges: neighbours along a row differ by more than 100 in many places', () => {
    const picture = syntheticTrigger(CIFAR);
    const steps = Array.from({ length: 1023 }, (_, i) => Math.abs(picture[i + 1]! - picture[i]!));
    expect(steps.filter((step) => step > 100).length).toBeGreaterThan(30);
  });

  it('refuses images of two channels and says what to do', () => {
    expect(() => syntheticTrigger({ channels: 2, height: 8, width: 8 })).toThrow(
      expect.objectContaining({ code: 'ERR_DATA', message: expect.stringContaining('bring a pattern of your own') }),
    );
  });
});

describe('triggers', () => {
  const shape = { channels: 1, height: 1, width: 3 };

  it('add clamps and truncates', () => {
    const trigger: Trigger = { kind: 'add', pattern: Float32Array.of(40.5, -40, 0.75) };
    expect(Array.from(applyTrigger(Uint8Array.of(250, 3, 7), trigger, shape))).toEqual([255, 0, 7]);
    expect(describeTrigger(trigger, shape)).toEqual({
      kind: 'add',
      ...shape,
      patternSha256: sha256Hex(trigger.pattern),
    });
  });

  it('warp samples between pixels, truncates, and leaves what stays in place', () => {
    const two = { channels: 2, height: 1, width: 3 };
    const image = Uint8Array.of(10, 20, 31, 255, 0, 7);
    const warp = (...xs: number[]): Trigger => ({ kind: 'warp', grid: Float32Array.from(xs.flatMap((x) => [x, -1])) });
    expect(applyTrigger(image, warp(-1, 0, 1), two)).toEqual(image);
    // x = 0.5 is half-way from the second pixel to the third.
    expect(Array.from(applyTrigger(image, warp(0.5, -0.5, 1), two))).toEqual([25, 15, 31, 3, 127, 7]);
    expect(describeTrigger(warp(-1, 0, 1), two)).toEqual({
      kind: 'warp',
      ...two,
      patternSha256: sha256Hex(Float32Array.of(-1, -1, 0, -1, 1, -1)),
    });
  });

  it('hashes the bytes of a view, not of its buffer', () => {
    const buffer = Uint8Array.of(1, 2, 3, 4);
    expect(sha256Hex(buffer.subarray(1, 3))).toBe(sha256Hex(Uint8Array.of(2, 3)));
  });

  it.each<[string, Trigger]>([
    ['trigger.pattern: expected 3 values (1×1×3), got 2', { kind: 'add', pattern: new Float32Array(2) }],
    [
      'trigger.mask: expected 3 values (1×1×3), got 4',
      { kind: 'replace', mask: new Uint8Array(4), pattern: new Uint8Array(3) },
    ],
    [
      'trigger.mask: expected only values 0 and 1, got 2',
      { kind: 'replace', mask: Uint8Array.of(0, 1, 2), pattern: new Uint8Array(3) },
    ],
    [
      'trigger.alpha: expected a number in (0, 1], got NaN',
      { kind: 'blend', alpha: Number.NaN, pattern: new Uint8Array(3) },
    ],
    ['trigger.grid: expected 6 values (1×3×2), got 2', { kind: 'warp', grid: new Float32Array(2) }],
    ['trigger.grid: expected values in [-1, 1], got NaN', { kind: 'warp', grid: new Float32Array(6).fill(Number.NaN) }],
    ['trigger.pattern: expected finite values, got Infinity', { kind: 'add', pattern: Float32Array.of(0, 1 / 0, 0) }],
  ])('refuses: %s', (message, trigger) => {
    expect(() => describeTrigger(trigger, shape)).toThrow(expect.objectContaining({ code: 'ERR_DATA', message }));
  });

  it('refuses an image of another size', () => {
    expect(() => applyTrigger(new Uint8Array(2), { kind: 'add', pattern: new Float32Array(3) }, shape)).toThrow(
      'trigger: expected an image of 3 values (C×H×W), got 2',
    );
  });
});

it('words ranges for messages and help', () => {
  const option = { type: 'number', default: 1, help: '' } as const;
  expect(rangeOf({ ...option, integer: true, minimum: 1, maximum: 64 })).toBe('an integer in [1, 64]');
  expect(rangeOf({ ...option, integer: false, minimum: 0, exclusiveMinimum: true, maximum: 1 / 0 })).toBe(
    'a number > 0',
  );
});
