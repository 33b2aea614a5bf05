import { ATTACK_NAMES } from '../attacks/index.js';
import { METHOD_NAMES } from '../defenses/methods/index.js';
import type { ErrorCode } from '../errors.js';
import { flagOf } from './options.js';

/** Groups of the library's settings that are flags without a prefix: `train.batchSize` is `--batch-size`. */
const BARE = new Set(['attack', 'train', 'defend', 'inspect', 'dataPlace']);
/** Groups whose flags are the path itself: `--purify.count`. */
const WHOLE = new Set<string>(['purify', 'clip', 'tune', ...ATTACK_NAMES, ...METHOD_NAMES]);
/** Data sets have options of their own; the command line has one flag for all that mean the same. */
const OF_A_DATASET: Readonly<Record<string, string>> = {
  train: '--train-rows',
  test: '--test-rows',
  'limit.train': '--train-rows',
  'limit.test': '--test-rows',
  classes: '--classes',
  seed: '--data-seed',
  path: '--path',
  download: '--download',
};

/** How the command line spells a setting that the library names by its path; the path itself where there is no flag. */
export function spellFlag(path: string): string {
  const [group = '', ...names] = path.split('.');
  const name = names.join('.');
  if (BARE.has(group) && name !== '') return flagOf({ prefix: null }, name);
  if (WHOLE.has(group) && name !== '') return `--${path}`;
  if (names.length === 0 && !path.startsWith('-')) return flagOf({ prefix: null }, path);
  const [dataset, ...rest] = names;
  if (group === 'dataset' && dataset !== undefined) return OF_A_DATASET[rest.join('.')] ?? path;
  return path;
}

/**
 * An error about an option in the words of the command line: its message opens with the flag and not with the path, where
 * the command that failed has the flag (`isFlag`). Programs find the flag beside the path.
 */
export function inFlags<T extends { code: ErrorCode; message: string; details: Readonly<Record<string, unknown>> }>(
  failure: T,
  isFlag: (flag: string) => boolean,
): T {
  const { path } = failure.details;
  if (failure.code !== 'ERR_OPTION' || typeof path !== 'string') return failure;
  const flag = spellFlag(path);
  if (flag === path || !isFlag(flag) || !failure.message.startsWith(`${path}:`)) return failure;
  return {
    ...failure,
    message: `${flag}${failure.message.slice(path.length)}`,
    details: { ...failure.details, flag },
  };
}
