import { describe, expect, test } from 'vitest';
import { CIFAR10_FORMAT } from '../../src/datasets/cifar10.js';
import { CIFAR100_FORMAT } from '../../src/datasets/cifar100.js';
import { checkImageSet, DATASETS, type ImageSet, isDatasetName, loadDatasetPair } from '../../src/datasets/index.js';

describe('the table', () => {
  test('every source has a name of its own, a summary and a credit', () => {
    expect(Object.keys(DATASETS)).toEqual(['cifar10', 'cifar100', 'synthetic']);
    for (const [key, source] of Object.entries(DATASETS)) {
      expect(source.name).toBe(key);
      expect(source.summary).not.toBe('');
      expect(source.paper).not.toBe('');
    }
    expect(isDatasetName('cifar10')).toBe(true);
    expect(isDatasetName('toString')).toBe(false);
  });

  test('an unknown name is refused with the known ones', async () => {
    const unknown = loadDatasetPair('mnist' as 'synthetic');
    await expect(unknown).rejects.toMatchObject({ code: 'ERR_OPTION' });
    await expect(loadDatasetPair('__proto__' as 'synthetic')).rejects.toThrow(/one of cifar10, cifar100, synthetic/);
  });

  test('options that are no object are refused', async () => {
    await expect(loadDatasetPair('synthetic', [] as object)).rejects.toMatchObject({ code: 'ERR_OPTION' });
    await expect(loadDatasetPair('cifar10', null as unknown as object)).rejects.toMatchObject({ code: 'ERR_OPTION' });
  });
});

test.each([CIFAR10_FORMAT, CIFAR100_FORMAT])('the pins of $name are complete', (format) => {
  const rows = (members: typeof format.train) => members.reduce((sum, member) => sum + member.rows, 0);
  expect(rows(format.train)).toBe(50_000);
  expect(rows(format.test)).toBe(10_000);
  expect(new Set(format.classNames).size).toBe(format.name === 'cifar10' ? 10 : 100);
  const pins = [format.archive, ...format.train, ...format.test].map((file) => file.sha256);
  for (const pin of pins) expect(pin).toMatch(/^[0-9a-f]{64}$/);
  expect(new Set(pins).size).toBe(pins.length);
});

describe('checkImageSet', () => {
  const shape = { count: 2, channels: 3, height: 4, width: 4, classes: 3 };
  const good: ImageSet = { images: new Uint8Array(96), labels: Int32Array.of(0, 2), shape };

  test('accepts a set that fits', () => {
    expect(() => checkImageSet(good, 'x')).not.toThrow();
  });

  test.each<[string, ImageSet, RegExp]>([
    ['no rows', { ...good, shape: { ...shape, count: 0 } }, /count ≥ 1, got 0/],
    ['a fraction', { ...good, shape: { ...shape, width: 4.5 } }, /width ≥ 1, got 4.5/],
    ['too few pixels', { ...good, images: new Uint8Array(95) }, /96 bytes of pixels \(2 × 3 × 4 × 4\), got 95/],
    ['too many labels', { ...good, labels: new Int32Array(3) }, /2 labels, one per image, got 3/],
    ['a negative label', { ...good, labels: Int32Array.of(0, -1) }, /labels from 0 to 2, got -1 in row 1/],
    ['a label too large', { ...good, labels: Int32Array.of(3, 0) }, /got 3 in row 0/],
  ])('refuses %s', (_, set, message) => {
    expect(() => checkImageSet(set, 'made up')).toThrow(message);
    expect(() => checkImageSet(set, 'made up')).toThrow(expect.objectContaining({ code: 'ERR_DATA' }));
    expect(() => checkImageSet(set, 'made up')).toThrow(/^made up: /);
  });
});
