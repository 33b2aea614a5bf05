import { Dataset } from './dataset.js';
import type { DatasetPair } from './datasets/index.js';
import type { WarpRecipe } from './native/contract.js';
import { choice } from './options.js';
import type { PoisonedSet } from './poisoned-set.js';
import {
  checkBatches,
  POISONINGS,
  type Poisoning,
  type TrainContext,
  type Training,
  type TrainSettings,
  train,
  trainSettings,
} from './train.js';

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
  const recipe = recipeFor(set, poisoning);
  using clean = recipe === null ? null : Dataset.from(pair.train, set.train.device);
  // Awaited here: the clean rows are freed when this function is left.
  return await train(clean ?? set.train, set, completed(set, recipe, settings), { ...context, recipe, testSets: set });
}

/**
 * Refuses settings that `trainVictim` would refuse, before anything of an earlier training is taken away.
 *
 * @throws PadFtError ERR_OPTION
 */
export function checkVictim(set: PoisonedSet, settings: Partial<TrainSettings>, poisoning: Poisoning): void {
  const recipe = recipeFor(set, poisoning);
  checkBatches(trainSettings(completed(set, recipe, settings)), set.train.count, recipe);
}

function recipeFor({ recipe }: PoisonedSet, poisoning: Poisoning): WarpRecipe | null {
  return choice('poisoning', poisoning, POISONINGS) === 'stored' ? null : recipe;
}

function completed(
  { flip }: PoisonedSet,
  recipe: WarpRecipe | null,
  settings: Partial<TrainSettings>,
): Partial<TrainSettings> {
  return { flip, ...(recipe && { cropPadding: RECIPE_PADDING }), ...settings };
}
