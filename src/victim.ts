import { Dataset } from './dataset.js';
import type { DatasetPair } from './datasets/index.js';
import { choice } from './options.js';
import type { PoisonedSet } from './poisoned-set.js';
import { POISONINGS, type Poisoning, type TrainContext, type Training, type TrainSettings, train } from './train.js';

/** The published padding of the crop in a recipe's augmentation. */
const RECIPE_PADDING = 5;

/**
 * Trains the victim of a poisoned set. `per-batch`: where the attack has a recipe (WaNet), on the clean rows of `pair`,
 * every batch poisoned anew, as published; on the marked set for all others. `stored`: on the marked set always. Settings
 * left out take `train`'s defaults, the flip the data set's, and a recipe's crop 5 pixels of padding.
 *
 * @throws PadFtError as `train`
 */
export async function trainVictim(
  pair: DatasetPair,
  set: PoisonedSet,
  settings: Partial<TrainSettings>,
  poisoning: Poisoning,
  context: Omit<TrainContext, 'recipe' | 'testSets'>,
): Promise<Training> {
  const recipe = choice('poisoning', poisoning, POISONINGS) === 'stored' ? null : set.recipe;
  using clean = recipe === null ? null : Dataset.from(pair.train, set.train.device);
  const padding = recipe === null ? {} : { cropPadding: RECIPE_PADDING };
  return train(
    clean ?? set.train,
    set,
    { flip: set.flip, ...padding, ...settings },
    { ...context, recipe, testSets: set },
  );
}
