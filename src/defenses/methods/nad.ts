import { PadFtError } from '../../errors.js';
import { integer, number } from '../../options.js';
import { streamSeed } from '../../random.js';
import {
  checkWhole,
  fineTuneWhole,
  partOf,
  WHOLE_DEFAULTS,
  WHOLE_HELP,
  type WholeSettings,
  wholeUnits,
} from './fine-tune-whole.js';
import { type Method, requireClean, workOn } from './method.js';

export interface DistillationSettings extends WholeSettings {
  readonly teacherEpochs: number;
  readonly attention3: number;
  readonly attention4: number;
}

/** The last sites of the third and the fourth stage: a network with these has those stages. */
const STAGE_ENDS = ['layer3.1.relu2', 'layer4.1.relu2'];

/**
 * NAD (Li, Lyu, Koren, Lyu, Li and Ma, *Neural Attention Distillation*, ICLR 2021): a copy of the victim fine-tuned on the
 * clean images is the teacher; the victim is then trained on them too, while the attention at the end of its third and
 * fourth stage is drawn to the teacher's. Teacher and student see the same augmented images; the teacher is in evaluation
 * mode. Epochs are BackdoorBench's for this method; the rate is one for
 * both, falling by a cosine, where it keeps the student's and has one of its own for the teacher. It has a third
 * term, of maps after the average pool: one value each, of which a normalised map is always 1, so that the term is always
 * zero. It is left out.
 */
export const nad: Method<DistillationSettings> = {
  name: 'nad',
  title: 'NAD: attention distilled from a fine-tuned copy',
  paper: 'Li et al., Neural Attention Distillation, ICLR 2021',
  needs: { victim: 'weights', training: false, clean: true },
  computes: ['training'],
  note: 'the learning rate falls by a cosine, where BackdoorBench keeps the student’s',
  defaults: { ...WHOLE_DEFAULTS, epochs: 10, teacherEpochs: 10, attention3: 500, attention4: 1000 },
  help: {
    ...WHOLE_HELP,
    epochs: 'passes of the student over the clean images',
    teacherEpochs: 'passes of the teacher over them, before',
    attention3: "weight of the third stage's attention distance",
    attention4: "weight of the fourth stage's",
  },
  check(settings) {
    checkWhole('nad', settings);
    integer('nad.teacherEpochs', settings.teacherEpochs, 1, 1e6);
    number('nad.attention3', settings.attention3, 0, 1e12);
    number('nad.attention4', settings.attention4, 0, 1e12);
  },
  fits({ victim, clean }) {
    if (!STAGE_ENDS.every((end) => victim.sites.some(({ name }) => name === end))) {
      const message = `nad: ${victim.name} has no third and fourth stage, whose attention is drawn to the teacher's: take another method`;
      throw new PadFtError('ERR_MODEL', message, { details: { sites: victim.sites.length } });
    }
    if (clean === null) return;
    const { height, width } = clean.shape;
    if (Math.max(height, width) > 8) return;
    const message = `nad: expected images larger than 8×8, got ${height}×${width}: the last stage's map would be one pixel, whose attention says nothing; take another method`;
    throw new PadFtError('ERR_DATA', message, { details: { height, width } });
  },
  // The student's steps look at the teacher too.
  units: (settings, { clean }) =>
    wholeUnits({ epochs: settings.teacherEpochs }, clean) + wholeUnits(settings, clean) + settings.epochs * clean,
  async run(input, settings) {
    const clean = requireClean(nad, input);
    const { teacherEpochs, epochs, attention3, attention4 } = settings;
    const total = teacherEpochs + epochs;
    using teacher = await input.victim.clone();
    const taught = await fineTuneWhole(
      teacher,
      clean,
      { ...settings, epochs: teacherEpochs },
      {
        ...input,
        rateOption: 'nad.learningRate',
        seed: streamSeed(input.seed, 'teacher'),
        evaluation: partOf(input.evaluation, 0, total),
      },
    );
    const model = await input.victim.clone();
    return await workOn(model, async () => {
      const { first, last } = await fineTuneWhole(model, clean, settings, {
        ...input,
        rateOption: 'nad.learningRate',
        evaluation: partOf(input.evaluation, teacherEpochs, total),
        objective: { teacher: teacher.native, attention: [attention3, attention4] },
      });
      const said = `every weight trained on ${clean.count} clean images for ${epochs} epochs towards the attention of a copy trained for ${teacherEpochs}`;
      return { said, details: { teacher: taught.last, first, last } };
    });
  },
};
