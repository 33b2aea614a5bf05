import { fineTune } from '../pad-ft/fine-tune.js';
import { padFtSettings, purify, requireEveryLabel } from '../pad-ft/index.js';
import { checkTune, PRESETS, type TuneSettings } from '../pad-ft/options.js';
import { scoringUnits } from '../pad-ft/purifiers.js';
import { purifyBasis } from '../pad-ft/purify.js';
import { tuningUnits } from '../units.js';
import { type Method, naming, requireEveryClass, requireTraining, workOn } from './method.js';

/** The victim as it is: what every other row of a table is compared with. */
export const none: Method<Record<never, never>> = {
  name: 'none',
  title: 'no defence',
  paper: 'a control',
  needs: { victim: 'weights', training: false, clean: false },
  computes: [],
  defaults: {},
  help: {},
  check: () => {},
  units: () => 0,
  run: async ({ victim }) => ({ model: await victim.clone(), said: 'the victim as it is', details: {} }),
};

/** Those of stage 3 but for the mirrors, which the data set decides. */
export type ClassifierSettings = Omit<TuneSettings, 'flip'>;

const { flip: _, ...DEFAULTS } = PRESETS.default.tune;

/** What stage 3 does without stage 2: D_c and suspects of the default purifier, no bounds. */
export const classifierOnly: Method<ClassifierSettings> = {
  name: 'classifier-only',
  title: 'classifier fine-tuning without clipping',
  paper: 'a control',
  needs: { victim: 'weights', training: true, clean: false },
  computes: ['scoring', 'fitting'],
  defaults: DEFAULTS,
  help: {
    epochs: 'epochs over the purified set',
    batchSize: 'rows a step',
    learningRate: 'peak of the cosine schedule',
    momentum: 'of SGD',
    weightDecay: 'of SGD',
    beta: 'weight of SCE against consistency, in [0, 1]',
    alpha: 'weight of the cross-entropy in SCE, in (0, 1]',
    jitter: 'brightness and contrast factors are drawn from 1 ± this',
    draws: 'augmented copies a row; 0 draws afresh in every epoch',
    nu: "weight of the suspects' term; 0 leaves them out",
    margin: "suspects are pushed until their given label's log-odds are below minus this",
  },
  check: (settings) => checkTune({ ...settings, flip: true }, 'classifier-only'),
  basis: (seed) => {
    const { purify: settings, holdout } = padFtSettings({ seed });
    return { ...purifyBasis(settings), holdout };
  },
  fits: ({ training }) => {
    if (training !== null) requireEveryClass(classifierOnly, training);
  },
  units: (settings, { rows, classes }) => {
    const { purify } = PRESETS.default;
    return scoringUnits(PRESETS.default, { rows, classes }) + tuningUnits(settings, Math.min(rows, purify.count));
  },
  async run(input, given) {
    const { victim, flip, seed, evaluation } = input;
    const training = requireTraining(classifierOnly, input);
    const { onProgress: _, ...quiet } = evaluation;
    const settings = { ...given, flip };
    const { purified, suspects, verdict } = await purify(victim, training, padFtSettings({ seed }), quiet);
    requireEveryLabel(purified, training);
    const rows = Uint32Array.from(suspects, ({ row }) => row);
    using kept = await training.subset(purified, quiet);
    using planted = rows.length === 0 ? null : await training.subset(rows, quiet);
    const model = await victim.clone();
    return await workOn(model, async () => {
      const { first, last } = await naming({ 'tune.learningRate': 'classifier-only.learningRate' }, () =>
        fineTune({ model, purified: kept, suspects: planted, settings, seed, evaluation }),
      );
      return {
        said: `the classifier alone trained on ${purified.length} purified rows; ${verdict.text}`,
        details: { verdict: verdict.text, purified: purified.length, suspects: rows.length, first, last },
      };
    });
  },
};
