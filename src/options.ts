import { invalidOption } from './errors.js';

/** A check that returns its value: `number('train.momentum', value, 0, 1)`. Each throws ERR_OPTION with the path. */
export function number(path: string, value: number, low: number, high: number): number {
  if (typeof value !== 'number' || !(value >= low && value <= high)) {
    const range = high === Number.POSITIVE_INFINITY ? `a number ≥ ${low}` : `a number in [${low}, ${high}]`;
    throw invalidOption(path, range, value);
  }
  return value;
}

export function boolean(path: string, value: boolean): boolean {
  if (typeof value !== 'boolean') throw invalidOption(path, 'true or false', value);
  return value;
}

export function integer(path: string, value: number, low: number, high = Number.MAX_SAFE_INTEGER): number {
  if (!Number.isSafeInteger(value) || value < low || value > high) {
    const range = high === Number.MAX_SAFE_INTEGER ? `an integer ≥ ${low}` : `an integer in [${low}, ${high}]`;
    throw invalidOption(path, range, value);
  }
  return value;
}

export function choice<const Words extends readonly string[]>(
  path: string,
  value: string,
  words: Words,
): Words[number] {
  if (!words.includes(value)) throw invalidOption(path, `one of ${words.join(', ')}`, value);
  return value;
}

/** Refuses fields that are not in `known`: a misspelt option must not pass for its default. */
export function onlyKnown(path: string, given: object, known: object): void {
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(known, key)) {
      throw invalidOption(`${path}.${key}`, `one of the options ${Object.keys(known).join(', ')}`, key);
    }
  }
}

/** `defaults` with the fields of `given` that are not undefined laid over them. Refuses unknown fields. */
export function withDefaults<T extends object>(
  path: string,
  defaults: T,
  given: { readonly [K in keyof T]?: T[K] | undefined } = {},
): T {
  onlyKnown(path, given, defaults);
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...defaults, ...(Object.fromEntries(set) as Partial<T>) };
}
