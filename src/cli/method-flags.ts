import { type Command, Help } from 'commander';
import { METHOD_NAMES, METHODS, type MethodName, type PlannedMethod, planMethod } from '../defenses/methods/index.js';
import type { Method } from '../defenses/methods/method.js';
import { PadFtError } from '../errors.js';
import { DETECTOR_NAMES } from '../reproduce/defenses.js';
import { addSettings, type Fields, flagOf, givenSettings, type SettingGroup } from './options.js';

/** PAD-FT itself, on the command line beside the methods it is compared with, and what finds rows and repairs nothing. */
export const OWN_METHOD = 'pad-ft';
export const METHOD_CHOICES: readonly string[] = [OWN_METHOD, ...METHOD_NAMES, ...DETECTOR_NAMES];

function groupOf(name: MethodName): SettingGroup<object> {
  const { help, title, words } = METHODS[name] as unknown as Method<Record<string, unknown>>;
  const fields = Object.fromEntries(
    Object.entries(help).map(([field, text]) => [field, { help: text, words: words?.[field] }]),
  );
  return { prefix: name, heading: `Method ${title}:`, fields: fields as Fields<object> };
}

/** One flag for every setting of every method: `--ft.epochs`. */
export function addMethodFlags(command: Command): Command {
  for (const name of METHOD_NAMES) addSettings(command, groupOf(name), { default: METHODS[name].defaults as object });
  return command;
}

/**
 * Help of the method that `--method` names, and no other's flags. `own` are the groups of PAD-FT, `alone` its flags
 * besides.
 */
export function helpByMethod(
  command: Command,
  own: readonly SettingGroup<object>[],
  alone: readonly string[],
): Command {
  const help = new Help();
  return command
    .configureHelp({
      ...command.configureHelp(),
      visibleOptions(shown) {
        const { method } = shown.opts<{ readonly method: string }>();
        const isRival = (METHOD_NAMES as readonly string[]).includes(method);
        const others = METHOD_NAMES.filter((name) => name !== method).map((name) => groupOf(name).heading);
        const hidden = new Set([...others, ...(isRival ? own.map(({ heading }) => heading) : [])]);
        return help
          .visibleOptions(shown)
          .filter(
            ({ long, helpGroupHeading = '' }) =>
              !hidden.has(helpGroupHeading) && !(isRival && alone.includes(long ?? '')),
          );
      },
    })
    .addHelpText('afterAll', '\nThe flags of another method: pad-ft defend --method NAME --help.');
}

/**
 * The method with what was asked of it. `own` are the flags of PAD-FT alone.
 *
 * @throws PadFtError ERR_OPTION for a flag of another method, or a setting out of range
 */
export function methodRequest(
  method: MethodName,
  values: Readonly<Record<string, unknown>>,
  own: readonly SettingGroup<object>[],
): PlannedMethod {
  refuseMethodFlags(method, values);
  refuseFlags(own, values, method);
  return planMethod(method, givenSettings(groupOf(method), values) as Readonly<Record<string, unknown>>);
}

/** Refuses the flags of PAD-FT that would do nothing, all but those of `read` (`purify.count`). ERR_OPTION naming the first. */
export function refuseFlags(
  groups: readonly SettingGroup<object>[],
  values: Readonly<Record<string, unknown>>,
  method: string,
  read: readonly string[] = [],
): void {
  const owner = (METHOD_NAMES as readonly string[]).includes(method) ? OWN_METHOD : null;
  for (const group of groups) refuse(group, values, method, owner, read);
}

/** Refuses the flags of methods other than this one. ERR_OPTION naming the first. */
export function refuseMethodFlags(method: string, values: Readonly<Record<string, unknown>>): void {
  for (const other of METHOD_NAMES) if (other !== method) refuse(groupOf(other), values, method, other);
}

function refuse(
  group: SettingGroup<object>,
  values: Readonly<Record<string, unknown>>,
  method: string,
  owner: string | null,
  read: readonly string[] = [],
): void {
  const [given] = Object.keys(givenSettings(group, values)).filter((name) => !read.includes(`${group.prefix}.${name}`));
  if (given === undefined) return;
  const flag = flagOf(group, given);
  const instead =
    owner === null ? `, which does not read it; leave it out` : `; leave it out, or use --method ${owner}`;
  const message = `${flag}: the method is ${method}${instead}`;
  throw new PadFtError('ERR_OPTION', message, { details: { path: flag, method } });
}
