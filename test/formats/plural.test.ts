import { expect, it } from 'vitest';
import { counted } from '../../src/formats/plural.js';

it('a number and its noun agree', () => {
  expect([0, 1, 2].map((count) => counted(count, 'thread'))).toEqual(['0 threads', '1 thread', '2 threads']);
  expect([1, 3].map((count) => counted(count, 'class', 'classes'))).toEqual(['1 class', '3 classes']);
});
