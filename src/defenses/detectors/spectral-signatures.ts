import type { PurifyInput, RowScores } from '../pad-ft/purify.js';
import { featureScores } from './feature-scores.js';
import { type Cloud, principalDirections, project } from './principal.js';

/**
 * Spectral signatures (Tran, Li and Madry, *Spectral Signatures in Backdoor Attacks*, NeurIPS 2018): inside each label the
 * features are centred, and a row's score is its squared coordinate along the direction of widest spread. Poison that is
 * the smaller part of a label lies out there; where it is nearly half of it both parts do, and where it is the larger part
 * the clean rows do. The paper removes the 1.5 · ε · n rows of highest score, ε known; here the score alone is given.
 *
 * @throws PadFtError as `Model.features`
 */
export function scoreBySpectralSignatures(input: PurifyInput): Promise<RowScores> {
  return featureScores(input, spectralScores);
}

/** Each row's squared coordinate along the direction of widest spread. */
export function spectralScores(cloud: Cloud): readonly number[] {
  const found = principalDirections(cloud, 1);
  const [along] = found.directions;
  return cloud.rows.map((row) => (along === undefined ? 0 : project(cloud, row, found, along) ** 2));
}
