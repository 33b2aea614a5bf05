import { invalidOption } from '../errors.js';
import type { Attack } from './attack.js';
import { badnets } from './badnets.js';
import { blended } from './blended.js';
import { sig } from './sig.js';
import { wanet } from './wanet.js';

/** Every attack. Adding one is a file beside this one and a line here: the type, the CLI and the tests follow. */
export const ATTACKS = { badnets, blended, sig, wanet } as const;

export type AttackName = keyof typeof ATTACKS;

/** The names, in the table's order. */
export const ATTACK_NAMES = Object.keys(ATTACKS) as readonly AttackName[];

/** True for the name of an attack in the table. */
export function isAttackName(name: string): name is AttackName {
  return Object.hasOwn(ATTACKS, name);
}

/** The attack of that name, with its options checked at run time. ERR_OPTION for an unknown name. */
export function findAttack(name: string): Attack {
  if (!isAttackName(name)) throw invalidOption('attack', `one of ${ATTACK_NAMES.join(', ')}`, name);
  return ATTACKS[name];
}
