import { CONTROLS, type Control } from './control.js';
import { optionsForData, type PadFtOptions, type PadFtSettings, padFtSettings } from './defenses/pad-ft/index.js';
import { invalidOption } from './errors.js';

/** A defence to run. `name` names its row and its files. */
export interface DefenseRequest {
  /** Letters, digits, `_` and `-`, unlike every other name of the run. */
  readonly name: string;
  readonly options: PadFtOptions;
  /** Draws D_c instead of purifying, for comparison: `oracle` from rows that are not poisoned, `random` from correctly classified ones. */
  readonly control?: Control | undefined;
}

/** What is run when no defences are named. */
export const DEFAULT_DEFENSES: readonly DefenseRequest[] = [
  { name: 'default', options: { preset: 'default' } },
  { name: 'paper', options: { preset: 'paper' } },
];

/** What bounds any purifier: the default's repair on a D_c drawn from rows that are not poisoned, and at random. */
export const CONTROL_DEFENSES: readonly DefenseRequest[] = CONTROLS.map((control) => ({
  name: control,
  options: { preset: 'default' },
  control,
}));

/** A defence with every setting filled in. */
export interface PlannedDefense {
  readonly name: string;
  readonly control: Control | null;
  readonly settings: PadFtSettings;
}

/**
 * The defences of a run, checked: whatever is wrong with one is found before an hour of training, not after it.
 * `seed` feeds those without a seed of their own; `flip`, once the data set is known, says whether a mirrored image keeps
 * its class.
 *
 * @throws PadFtError ERR_OPTION
 */
export function planDefenses(
  requests: readonly DefenseRequest[],
  { seed, flip = true }: { readonly seed: number; readonly flip?: boolean },
): readonly PlannedDefense[] {
  const names = new Set<string>();
  return requests.map(({ name, options, control = null }) => {
    if (!/^[\w-]{1,64}$/.test(name))
      throw invalidOption('defenses.name', 'letters, digits, _ and - (64 at most)', name);
    if (names.has(name)) throw invalidOption('defenses.name', 'a name of its own for each defence', name);
    names.add(name);
    return { name, control, settings: padFtSettings(optionsForData({ seed, ...options }, { flip })) };
  });
}
