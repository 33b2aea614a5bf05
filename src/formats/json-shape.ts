import { describe, PadFtError } from '../errors.js';
import { parseJson } from './json-text.js';
import { safeText } from './terminal.js';

/**
 * Checks for JSON that strangers may have written: each takes a value of unknown shape and gives it back typed, or
 * throws ERR_FILE_FORMAT with the path of what is wrong (`card.json: rows[2].name: expected a string, got 3`).
 */
export type Check<T> = (value: unknown, at: Place) => T;

/** The file, and where in it a value stands. */
export interface Place {
  readonly file: string;
  readonly path: string;
}

/** Checks a whole file's value. */
export function checkFile<T>(check: Check<T>, value: unknown, file: string): T {
  return check(value, { file, path: '' });
}

/** Checks JSON inside a file: a value of its metadata, named `path` in messages. */
export function checkJson<T>(check: Check<T>, json: string, { file, path }: Place): T {
  let value: unknown;
  try {
    value = parseJson(json);
  } catch {
    throw wrong({ file, path }, 'JSON', json);
  }
  return check(value, { file, path });
}

export const text: Check<string> = (value, at) => {
  if (typeof value !== 'string') throw wrong(at, 'a string', value);
  return value;
};

export const flag: Check<boolean> = (value, at) => {
  if (typeof value !== 'boolean') throw wrong(at, 'true or false', value);
  return value;
};

export const finite: Check<number> = (value, at) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong(at, 'a finite number', value);
  return value;
};

/** A finite number > 0. */
export const positive: Check<number> = (value, at) => {
  const number = finite(value, at);
  if (number <= 0) throw wrong(at, 'a number > 0', value);
  return number;
};

/** An integer ≥ 0. */
export const count: Check<number> = (value, at) => {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw wrong(at, 'an integer ≥ 0', value);
  return value;
};

/** A number in [0, 1]. */
export const fraction: Check<number> = (value, at) => {
  if (typeof value !== 'number' || !(value >= 0 && value <= 1)) throw wrong(at, 'a number in [0, 1]', value);
  return value;
};

/** A SHA-256 in lower-case hexadecimal. */
export const sha256: Check<string> = (value, at) => {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value)) throw wrong(at, 'a SHA-256 in hexadecimal', value);
  return value;
};

/** One of these strings or numbers, exactly. */
export function oneOf<const Words extends readonly (string | number)[]>(words: Words): Check<Words[number]> {
  return (value, at) => {
    const found = words.find((word) => word === value);
    if (found === undefined) throw wrong(at, `one of ${words.map((word) => JSON.stringify(word)).join(', ')}`, value);
    return found;
  };
}

/** A field that may be left out. */
export function optional<T>(check: Check<T>): Check<T | undefined> {
  return (value, at) => (value === undefined ? undefined : check(value, at));
}

export function nullable<T>(check: Check<T>): Check<T | null> {
  return (value, at) => (value === null ? null : check(value, at));
}

export function listOf<T>(check: Check<T>): Check<readonly T[]> {
  return (value, at) => {
    if (!Array.isArray(value)) throw wrong(at, 'an array', value);
    return value.map((item: unknown, i) => check(item, { ...at, path: `${at.path}[${i}]` }));
  };
}

/** An object with exactly these fields and no others. */
export function object<T extends object>(fields: { readonly [K in keyof T]-?: Check<T[K]> }): Check<T> {
  const checks = Object.entries<Check<unknown>>(fields);
  return (value, at) => {
    const given = record(value, at);
    for (const key of Object.keys(given)) {
      if (!Object.hasOwn(fields, key)) throw wrong(at, `only the fields ${Object.keys(fields).join(', ')}`, key);
    }
    const entries = checks.map(([key, check]): [string, unknown] => {
      const place = { ...at, path: at.path === '' ? key : `${at.path}.${key}` };
      return [key, check(Object.hasOwn(given, key) ? given[key] : undefined, place)];
    });
    // Sound: every field of T was checked by the check that the mapped type ties to it.
    return Object.fromEntries(entries.filter(([, field]) => field !== undefined)) as T;
  };
}

/** An object of any fields; its values are not looked at. */
export const record: Check<Readonly<Record<string, unknown>>> = (value, at) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(at, 'an object', value);
  return value as Readonly<Record<string, unknown>>;
};

/** The error for a value that is not what was expected. */
export function wrong(at: Place, expected: string, value: unknown): PadFtError {
  const got = value === undefined ? 'nothing' : describe(value);
  const where = at.path === '' ? at.file : `${at.file}: ${at.path}`;
  return new PadFtError('ERR_FILE_FORMAT', safeText(`${where}: expected ${expected}, got ${got}`), {
    details: { path: at.file, field: at.path, expected, got },
  });
}
