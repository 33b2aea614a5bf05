import { expect, test } from 'vitest';
import { parseStrictJson, type StrictJson, StrictJsonError, StrictNumber } from '../../src/formats/strict-json.js';

/** Back to what JSON.parse would have made of it. */
function plain(value: StrictJson): unknown {
  if (value instanceof StrictNumber) return Number(value.text);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
  return value;
}

test.each([
  '{}',
  '[]',
  ' {"a" : [1, -0, 2.5e-3, 1E9, 0.1] , "b":{"c":null,"d":true,"e":false}}\n',
  '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude42 é🙂"',
  '[[[[]]]]',
  '{"":""}',
])('agrees with JSON.parse on %s', (text) => {
  expect(plain(parseStrictJson(text))).toEqual(JSON.parse(text));
});

test.each([
  '',
  ' ',
  '{',
  '[1',
  '[1,]',
  '{"a":1,}',
  '{"a"}',
  '{a:1}',
  "{'a':1}",
  '{"a":1 "b":2}',
  '[1 2]',
  '01',
  '1.',
  '.5',
  '+1',
  '-',
  '1e',
  '0x1',
  'NaN',
  'Infinity',
  'nul',
  'truex',
  '{}{}',
  '"abc',
  '"a\nb"',
  '"\\x41"',
  '"\\u12g4"',
  '"\\u12"',
  '"\\',
  '// x\n1',
  '\u00a01',
  '\ufeff1',
])('refuses %j, as JSON.parse does', (text) => {
  expect(() => JSON.parse(text)).toThrow();
  expect(() => parseStrictJson(text)).toThrow(StrictJsonError);
});

test('refuses what JSON.parse would let through', () => {
  expect(() => parseStrictJson('{"a":1,"a":2}')).toThrow(/duplicate key "a" at character 7/);
  expect(() => parseStrictJson('{"a":1,"\\u0061":2}')).toThrow(/duplicate key/);
  expect(() => parseStrictJson('{"x":{"__proto__":1,"__proto__":2}}')).toThrow(/duplicate key/);
  expect(() => parseStrictJson('"\\ud800"')).toThrow(/lone surrogate/);
  expect(() => parseStrictJson('"\\ude42\\ud83d"')).toThrow(/lone surrogate/);
  expect(() => parseStrictJson('['.repeat(100_000))).toThrow(/nesting deeper/);
  expect(() => parseStrictJson('[[1]]', 1)).toThrow(/nesting deeper than 1/);
});

test('__proto__ and constructor are keys like any other', () => {
  const value = parseStrictJson('{"__proto__":{"x":1},"constructor":2}') as ReadonlyMap<string, StrictJson>;
  expect([...value.keys()]).toEqual(['__proto__', 'constructor']);
  expect(({} as Record<string, unknown>).x).toBeUndefined();
});

test.each([
  ['0', 0],
  ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ['9007199254740992', undefined],
  ['18446744073709551616', undefined],
  ['1.0', undefined],
  ['1e3', undefined],
  ['-1', undefined],
  ['-0', undefined],
])('the integer of %s is %s', (text, integer) => {
  expect(new StrictNumber(text).integer).toBe(integer);
});
