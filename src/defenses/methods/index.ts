import { choice, onlyKnown, withDefaults } from '../../options.js';
import { abl } from './abl.js';
import { anp } from './anp.js';
import { classifierOnly, none } from './controls.js';
import { dbd } from './dbd.js';
import { fp } from './fp.js';
import { ft } from './ft.js';
import { ftSam } from './ft-sam.js';
import type { Method } from './method.js';
import { mmBm } from './mm-bm.js';
import { nad } from './nad.js';

/** Every method that is compared with PAD-FT. Adding one is a file and a line here. */
export const METHODS = {
  none,
  'classifier-only': classifierOnly,
  'mm-bm': mmBm,
  ft,
  'ft-sam': ftSam,
  fp,
  nad,
  anp,
  abl,
  dbd,
} as const;

/** A method's name, as the command line and cards have it. */
export type MethodName = keyof typeof METHODS;

/** In the order in which they are listed. */
export const METHOD_NAMES = Object.keys(METHODS) as readonly MethodName[];

/** A method's settings, all of them. */
export type MethodSettings<Name extends MethodName> =
  (typeof METHODS)[Name] extends Method<infer Settings> ? Settings : never;

/** Settings to lay over a method's defaults: its own fields, or any where its name is known at run time alone. */
export type MethodOptions<Name extends string> = Name extends MethodName
  ? Partial<MethodSettings<Name>>
  : Readonly<Record<string, unknown>>;

/**
 * A method by its name, with complete, checked settings.
 *
 * @throws PadFtError ERR_OPTION for an unknown name or field, or a field out of range
 */
export function planMethod<Name extends MethodName | (string & {})>(
  name: Name,
  options: MethodOptions<Name> = {} as MethodOptions<Name>,
): PlannedMethod {
  const known = choice('method', name, METHOD_NAMES);
  // Each method checks its own settings at run time, so the table's common type may be the loose one.
  const method = METHODS[known] as unknown as Method<object>;
  onlyKnown(known, options, method.defaults);
  const settings = withDefaults(known, method.defaults, options);
  method.check(settings);
  return { name: known, method, settings };
}

/** A method with complete, checked settings, from `planMethod`. */
export interface PlannedMethod {
  readonly name: MethodName;
  readonly method: Method<object>;
  readonly settings: object;
}

export { DBD_SHORT } from './dbd.js';
export type { FitInput, Method, MethodInput, MethodOutcome } from './method.js';
export { checkMethodRequest, defendByMethod, type MethodRequest, type MethodResult } from './run.js';
