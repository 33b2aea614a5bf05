import { join } from 'node:path';
import type { PoisonManifest } from '../attacks/poison.js';
import { type Precision, resolvePrecision } from '../device.js';
import { PadFtError } from '../errors.js';
import { checkFile } from '../formats/json-shape.js';
import { parseJson } from '../formats/json-text.js';
import { readSafetensors, writeSafetensors } from '../formats/safetensors.js';
import { checkEvaluation } from '../formats/training-shape.js';
import type { NativeDevice } from '../native/contract.js';
import type { VictimFigures } from '../report/judge.js';
import { copyOf } from '../truth-file.js';
import { contentKey } from './canonical-json.js';

/**
 * A victim's judgement beside the victim: predicting every training row takes minutes on a processor, and each defence
 * that is added later would ask for it again.
 */
export const JUDGEMENT_FILE = 'judgement.safetensors';

/** What a judgement belongs to: `judgementKey`. */
const KEY = 'pad-ft.judgement';
const EVALUATION = 'pad-ft.evaluation';

/**
 * The key of a judgement: victim, data and the arithmetic that is used. Not the word that asks for it: `auto` is another
 * arithmetic on another kind of device.
 */
export function judgementKey(
  model: string | undefined,
  { tool: _, ...manifest }: PoisonManifest,
  precision: Precision,
  device: NativeDevice,
): string {
  const arithmetic = {
    device: device === 'cpu' ? 'cpu' : 'cuda',
    precision: resolvePrecision(precision, device, 'evaluation'),
  };
  return contentKey({ model, manifest, ...arithmetic });
}

/** @throws PadFtError ERR_FILE_WRITE */
export async function writeJudgement(folder: string, key: string, figures: VictimFigures): Promise<void> {
  const { predicted, evaluation } = figures;
  const data = new Uint8Array(predicted.buffer, predicted.byteOffset, predicted.byteLength);
  await writeSafetensors(
    join(folder, JUDGEMENT_FILE),
    [{ name: 'predicted', dtype: 'I32', shape: [predicted.length], data }],
    { [KEY]: key, [EVALUATION]: JSON.stringify(evaluation) },
  );
}

/** The judgement of this very victim; null when there is none, or it belongs to something else or is not whole. */
export async function readJudgement(
  folder: string,
  key: string | null,
  rows: number | null,
): Promise<VictimFigures | null> {
  const path = join(folder, JUDGEMENT_FILE);
  try {
    const { tensors, metadata } = await readSafetensors(path);
    const predicted = tensors.get('predicted');
    if (predicted?.dtype !== 'I32' || predicted.shape.length !== 1) return null;
    if (key !== null && metadata.get(KEY) !== key) return null;
    if (rows !== null && predicted.shape[0] !== rows) return null;
    const value = parseJson(metadata.get(EVALUATION) ?? 'null');
    return { evaluation: checkFile(checkEvaluation, value, path), predicted: new Int32Array(copyOf(predicted)) };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof PadFtError) return null;
    throw error;
  }
}
