import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Device, Precision } from '../device.js';

/** Flags shared by commands, and flags made from a table of settings. */

const OUTPUT_GROUP = 'Output:';
const COMPUTE_GROUP = 'Computing:';

/** `--json`, `--quiet`, `--no-color`: read from the raw command line (see `outputMode`), declared here for the help. */
export function addOutputFlags(command: Command): Command {
  command.addOption(
    new Option('--json', 'one JSON object a line on standard output, the last one the result').helpGroup(OUTPUT_GROUP),
  );
  command.addOption(
    new Option('-q, --quiet', 'no progress; only warnings and errors on standard error').helpGroup(OUTPUT_GROUP),
  );
  command.addOption(new Option('--no-color', 'no colours; NO_COLOR does the same').helpGroup(OUTPUT_GROUP));
  return command;
}

/** What `addComputeFlags` parses to. */
export interface ComputeFlags {
  readonly device: Device;
  readonly precision: Precision;
  readonly threads?: number;
}

export function addComputeFlags(command: Command): Command {
  command.addOption(
    new Option('--device <device>', 'auto, cpu, cuda or cuda:N; auto takes the first CUDA device that answers')
      .argParser(parseDevice)
      .default('auto')
      .helpGroup(COMPUTE_GROUP),
  );
  command.addOption(
    new Option('--precision <precision>', 'arithmetic of convolutions')
      .choices(['auto', 'fp32', 'tf32', 'bf16'] satisfies Precision[])
      .default('auto')
      .helpGroup(COMPUTE_GROUP),
  );
  command.addOption(
    new Option('--threads <count>', "processor threads (default: libtorch's choice)")
      .argParser(parseInteger(1, 1024))
      .helpGroup(COMPUTE_GROUP),
  );
  return command;
}

export function addSeedFlag(command: Command, help: string): Command {
  return command.addOption(new Option('--seed <number>', help).argParser(parseInteger(0)).default(0));
}

export function parseDevice(text: string): Device {
  if (!/^(?:auto|cpu|cuda(?::\d+)?)$/.test(text)) throw new InvalidArgumentError('Expected auto, cpu, cuda or cuda:N.');
  return text as Device;
}

export function parseInteger(low: number, high = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = parseNumber(text);
    if (Number.isSafeInteger(value) && value >= low && value <= high) return value;
    const range = high === Number.MAX_SAFE_INTEGER ? `an integer ≥ ${low}` : `an integer from ${low} to ${high}`;
    throw new InvalidArgumentError(`Expected ${range}.`);
  };
}

/** A decimal number as people write it; `Number` alone would take '' for 0 and '0x10' for 16. */
export function parseNumber(text: string): number {
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text)) throw new InvalidArgumentError('Expected a number.');
  return Number(text);
}

/** Comma-separated numbers: `0.4914,0.4822,0.4465`. */
export function parseNumbers(text: string): number[] {
  return text.split(',').map((part) => parseNumber(part.trim()));
}

export function parseBoolean(text: string): boolean {
  if (text !== 'true' && text !== 'false') throw new InvalidArgumentError('Expected true or false.');
  return text === 'true';
}

/** One setting as the command line shows it. Its type and its default are those of the library's own defaults. */
export interface Field {
  readonly help: string;
  /** The words it may be; free text or a number without. */
  readonly words?: readonly string[];
}

/** A table with a line for every field of a settings type: a setting added to the library must be added here. */
export type Fields<T extends object> = { readonly [K in keyof T]-?: Field };

/** How a group of settings appears: `prefix` before the field's own name, or kebab-case without one. */
export interface SettingGroup<T extends object> {
  /** e.g. `purify`: `--purify.count`, the very path that errors and cards name. Null: `--batch-size`. */
  readonly prefix: string | null;
  readonly heading: string;
  readonly fields: Fields<T>;
}

/**
 * A flag for every field; `defaults` are those of each preset, the first being the one in force. `inWords` says what a
 * default is that depends on something else.
 */
export function addSettings<T extends object>(
  command: Command,
  group: SettingGroup<T>,
  defaults: Readonly<Record<string, T>>,
  inWords: { readonly [K in keyof T]?: string } = {},
): Command {
  const [first, ...others] = Object.entries(defaults);
  if (first === undefined) throw new TypeError('a setting group needs defaults');
  for (const [name, field] of Object.entries<Field>(group.fields)) {
    const value: unknown = Reflect.get(first[1], name);
    const different = others.filter(([, preset]) => Reflect.get(preset, name) !== value);
    const shown = [String(value), ...different.map(([preset, values]) => `${preset}: ${Reflect.get(values, name)}`)];
    const words: unknown = Reflect.get(inWords, name);
    const option = new Option(
      `${flagOf(group, name)} <${placeholder(value)}>`,
      `${field.help} (default: ${words ?? shown.join(', ')})`,
    );
    if (field.words !== undefined) option.choices(field.words);
    else if (typeof value === 'number') option.argParser(parseNumber);
    else if (typeof value === 'boolean') option.argParser(parseBoolean);
    command.addOption(option.helpGroup(group.heading));
  }
  return command;
}

/** Where the parsed flag lies: hyphens are gone from it, those of `ft-sam.epochs` too. */
function keyOf<T extends object>(group: SettingGroup<T>, name: string): string {
  return new Option(flagOf(group, name)).attributeName();
}

/** The fields that were given on the command line; the library lays them over its defaults and checks their ranges. */
export function givenSettings<T extends object>(
  group: SettingGroup<T>,
  values: Readonly<Record<string, unknown>>,
): Partial<T> {
  const given = Object.keys(group.fields)
    .map((name) => [name, values[keyOf(group, name)]] as const)
    .filter(([, value]) => value !== undefined);
  // Sound because each flag's parser gives the type of its field's default.
  return Object.fromEntries(given) as Partial<T>;
}

/** How the command line spells a setting: `--purify.count`, `--batch-size`. */
export function flagOf(group: { readonly prefix: string | null }, name: string): string {
  if (group.prefix !== null) return `--${group.prefix}.${name}`;
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function placeholder(value: unknown): string {
  if (typeof value === 'number') return 'number';
  return typeof value === 'boolean' ? 'true|false' : 'name';
}
