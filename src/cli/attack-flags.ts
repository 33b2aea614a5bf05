import { type Command, Option } from 'commander';
import { type AttackOption, rangeOf } from '../attacks/attack.js';
import { ATTACK_NAMES, ATTACKS, type AttackName } from '../attacks/index.js';
import { PadFtError } from '../errors.js';
import { openRegularFile } from '../formats/file-problem.js';
import { POISON_DEFAULTS, type PoisonSettings } from '../poisoned-set.js';
import { POISON_GROUP } from './fields.js';
import { addSettings, givenSettings, parseNumber } from './options.js';

/** `--attack`, the flags of poisoning, and one flag for each option of each attack: `--badnets.patchSize`. */
export function addPoisonFlags(command: Command): Command {
  const { heading } = POISON_GROUP;
  command.addOption(
    new Option('--attack <name>', 'which trigger')
      .choices(ATTACK_NAMES)
      .default(POISON_DEFAULTS.attack)
      .helpGroup(heading),
  );
  addSettings(command, POISON_GROUP, { default: POISON_DEFAULTS });
  for (const attack of Object.values(ATTACKS)) {
    for (const option of attack.options) command.addOption(attackFlag(option).helpGroup(`Attack ${attack.name}:`));
  }
  return command;
}

function attackFlag(option: AttackOption): Option {
  if (option.type === 'image') return new Option(`--${option.path} <file>`, option.help);
  const help = `${option.help}: ${rangeOf(option)} (default: ${option.default})`;
  return new Option(`--${option.path} <number>`, help).argParser(parseNumber);
}

/**
 * What was asked for, as the library takes it; images are read from their files.
 *
 * @throws PadFtError ERR_OPTION for an option of another attack, ERR_FILE_MISSING
 */
export async function poisonRequest(
  attack: AttackName,
  values: Readonly<Record<string, unknown>>,
): Promise<Partial<PoisonSettings>> {
  const attackOptions: Record<string, unknown> = {};
  for (const candidate of Object.values(ATTACKS)) {
    for (const option of candidate.options) {
      const value = values[option.path];
      if (value === undefined) continue;
      if (candidate.name !== attack) {
        throw new PadFtError(
          'ERR_OPTION',
          `--${option.path}: the attack is ${attack}; leave it out, or use --attack ${candidate.name}`,
          {
            details: { path: option.path, attack },
          },
        );
      }
      attackOptions[option.name] = option.type === 'image' ? await readRaw(String(value)) : value;
    }
  }
  return { attack, attackOptions, ...givenSettings(POISON_GROUP, values) };
}

async function readRaw(path: string): Promise<Uint8Array> {
  await using file = await openRegularFile(path);
  return new Uint8Array(await file.readFile());
}
