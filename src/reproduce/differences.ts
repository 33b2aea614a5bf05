import type { Grid, GridTable } from './grid.js';
import { missingAttacks } from './grid.js';
import { PAPER_SOURCE } from './paper-figures.js';
import { SCALES } from './scales.js';

/** Everything in which a table differs from the paper's setting, one sentence each: it stands beside the table. */
export function differencesOf(grid: Grid, table: GridTable): readonly string[] {
  const attacks = table.attacks.map(({ attack }) => attack);
  const missing = missingAttacks({ ...grid, tables: [table] });
  return [
    ...SCALES[grid.scale].differences,
    'ASR leaves images of the target class out (BackdoorBench); the paper’s CIFAR-10 figures near 8 to 10 % are the floor of an ASR that counts them, so the second ASR counts them too and Δ ASR compares that one. Its CIFAR-100 figures lie below such a floor: there compare the first',
    ...(attacks.includes('blended')
      ? ['Blended blends in our synthetic picture (“synthetic trigger”), not the published one']
      : []),
    ...(attacks.includes('sig')
      ? ['SIG is not in the paper: it keeps labels, and the target class holds 10 % of the rows']
      : []),
    ...(attacks.includes('none') ? ['the clean model is not in the paper: a defence should leave it alone'] : []),
    ...(table.counts === null
      ? []
      : [
          'the paper names neither attack nor rate nor data set for this table [A: CIFAR-10, BadNets, 10 %]',
          'stage 2 takes the same number of steps at every n, so that n alone varies',
        ]),
    '“paper” is the published recipe, its open constants assumed [A]; every card lists them. “default” is ours. “oracle” and “random” are controls that draw D_c from rows known to be clean, and at random from rows classified as labelled',
    'purity is that of D_c inside the target label; base is the share of poison in that label; AUROC is that of the score inside it. ◀ marks the stage that the gate returned',
    ...(table.seeds.length === 1 ? ['one seed: no spread is known'] : ['mean ± sample standard deviation over seeds']),
    ...(missing.length === 0 ? [] : [`not in this build: ${missing.join(', ')}`]),
    `the paper’s figures: ${PAPER_SOURCE}`,
  ];
}
