import { createHash } from 'node:crypto';
import { PadFtError } from '../errors.js';

/**
 * JSON with one spelling a value: keys sorted, fields that are undefined left out, no white space. Numbers are spelt as
 * JavaScript spells them. ERR_INTERNAL for what has no JSON form.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype) {
    throw new PadFtError('ERR_INTERNAL', `a ${typeof value} has no canonical JSON form`);
  }
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`);
  return `{${fields.join(',')}}`;
}

/** SHA-256 (hex) of a value's canonical JSON: the same for equal values, whatever the order of their fields. */
export function contentKey(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}
