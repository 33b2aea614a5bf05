import { checkLabels, type LabelPolicy, labelPolicy } from './attacks/labels.js';
import type { PoisonManifest } from './attacks/poison.js';
import { describeTrigger, type Trigger } from './attacks/trigger.js';
import { describe, PadFtError, withMemory } from './errors.js';
import type { WrittenFile } from './formats/atomic-file.js';
import { checkFile } from './formats/json-shape.js';
import { parseJson } from './formats/json-text.js';
import { checkPoisonManifest } from './formats/poison-manifest.js';
import {
  type SafetensorsEntry,
  type SafetensorsFile,
  type SafetensorsTensor,
  writeSafetensors,
} from './formats/safetensors.js';
import { sha256Hex } from './formats/sha256.js';
import { safeText } from './formats/terminal.js';
import type { GroundTruth } from './poisoned-set.js';

/**
 * The ground truth in a file of its own, so that a folder without it is what a defender has: poisoned rows, their
 * original labels, noise rows where there are any, the trigger, and the poison manifest in the metadata.
 */
export const TRUTH_FILE = 'truth.safetensors';

const MANIFEST_KEY = 'pad-ft.poison';

/** Everything the file says. */
export interface TruthFile {
  readonly truth: GroundTruth;
  readonly manifest: PoisonManifest;
  /** Null at rate 0. */
  readonly policy: LabelPolicy | null;
}

/** @throws PadFtError ERR_FILE_WRITE */
export function writeTruth(path: string, truth: GroundTruth, manifest: PoisonManifest): Promise<WrittenFile> {
  const { poisoned, originalLabels, noise, trigger } = truth;
  const entries: SafetensorsEntry[] = [
    rowsEntry('poisoned', poisoned),
    { name: 'original_labels', dtype: 'I32', shape: [originalLabels.length], data: bytesOf(originalLabels) },
    ...(noise.length === 0 ? [] : [rowsEntry('noise', noise)]),
    ...(trigger === null ? [] : triggerEntries(trigger, manifest)),
  ];
  return writeSafetensors(path, entries, { [MANIFEST_KEY]: JSON.stringify(manifest) });
}

function rowsEntry(name: string, rows: Uint32Array): SafetensorsEntry {
  return { name, dtype: 'I64', shape: [rows.length], data: bytesOf(BigInt64Array.from(rows, BigInt)) };
}

function triggerEntries(trigger: Trigger, manifest: PoisonManifest): SafetensorsEntry[] {
  const { channels, height, width } = manifest.attack.trigger;
  if (trigger.kind === 'warp') {
    return [{ name: 'trigger.grid', dtype: 'F32', shape: [height, width, 2], data: bytesOf(trigger.grid) }];
  }
  const shape = [channels, height, width];
  const dtype = trigger.kind === 'add' ? 'F32' : 'U8';
  const pattern: SafetensorsEntry = { name: 'trigger.pattern', dtype, shape, data: bytesOf(trigger.pattern) };
  if (trigger.kind !== 'replace') return [pattern];
  return [pattern, { name: 'trigger.mask', dtype: 'U8', shape, data: trigger.mask }];
}

/**
 * The ground truth from a parsed file; rows, labels and trigger are compared with what the manifest says of them.
 *
 * @throws PadFtError ERR_FILE_FORMAT, ERR_CHECKSUM
 */
export function parseTruth({ tensors, metadata }: SafetensorsFile, path: string): TruthFile {
  const manifest = readManifest(metadata, path);
  const { rows, classes } = manifest.dataset;
  const tensor = (name: string, dtypes: readonly string[], shape: readonly number[]): SafetensorsTensor => {
    const found = tensors.get(name);
    if (found === undefined || !dtypes.includes(found.dtype) || found.shape.join() !== shape.join()) {
      const got = found === undefined ? 'none' : `${found.dtype} [${found.shape.join(', ')}]`;
      throw refuse(path, `a tensor ${name} of ${dtypes.join(' or ')} [${shape.join(', ')}]`, got);
    }
    return found;
  };
  const { poisoned: expected } = manifest.counts;
  const poisoned = readRows(tensor('poisoned', ['I64'], [expected]), rows, path);
  const originalLabels = new Int32Array(copyOf(tensor('original_labels', ['I32'], [expected])));
  checkSum(path, 'the poisoned rows', sha256Hex(poisoned), manifest.indicesSha256);
  const noise = readNoise(manifest, tensor, path);
  try {
    checkLabels(originalLabels, classes);
    const trigger = expected === 0 ? null : readTrigger(manifest, tensor, path);
    const policy = expected === 0 ? null : labelPolicy(manifest.policy, manifest.target ?? 0, classes);
    return { truth: { poisoned, originalLabels, noise, trigger }, manifest, policy };
  } catch (error) {
    if (!(error instanceof PadFtError) || error.code === 'ERR_FILE_FORMAT' || error.code === 'ERR_CHECKSUM')
      throw error;
    throw refuse(path, 'a ground truth that fits its manifest', error.message, error);
  }
}

function readManifest(metadata: ReadonlyMap<string, string>, path: string): PoisonManifest {
  const json = metadata.get(MANIFEST_KEY);
  if (json === undefined) throw refuse(path, `metadata ${MANIFEST_KEY}`, 'none');
  let value: unknown;
  try {
    value = parseJson(json);
  } catch (error) {
    throw refuse(path, `JSON in metadata ${MANIFEST_KEY}`, describe(json), error);
  }
  return checkFile(checkPoisonManifest, value, path);
}

function readRows(tensor: SafetensorsTensor, rows: number, path: string): Uint32Array {
  const values = new BigInt64Array(copyOf(tensor));
  const wrong = values.find((row) => row < 0n || row >= BigInt(rows));
  if (wrong !== undefined) throw refuse(path, `rows from 0 to ${rows - 1}`, String(wrong));
  const result = Uint32Array.from(values, Number);
  if (new Set(result).size !== result.length) throw refuse(path, 'every row once', 'a row twice');
  return result;
}

type FindTensor = (name: string, dtypes: readonly string[], shape: readonly number[]) => SafetensorsTensor;

function readNoise({ dataset, counts, noiseSha256 }: PoisonManifest, tensor: FindTensor, path: string): Uint32Array {
  if (counts.noise === undefined) return new Uint32Array(0);
  const noise = readRows(tensor('noise', ['I64'], [counts.noise]), dataset.rows, path);
  checkSum(path, 'the noise rows', sha256Hex(noise), noiseSha256);
  return noise;
}

function readTrigger(manifest: PoisonManifest, tensor: FindTensor, path: string): Trigger {
  const { channels, height, width, patternSha256, maskSha256 } = manifest.attack.trigger;
  const trigger = parseTrigger(manifest, tensor);
  const found = describeTrigger(trigger, { channels, height, width });
  checkSum(path, 'the trigger', found.patternSha256, patternSha256);
  if (found.maskSha256 !== undefined) checkSum(path, "the trigger's mask", found.maskSha256, maskSha256);
  return trigger;
}

function parseTrigger(manifest: PoisonManifest, tensor: FindTensor): Trigger {
  const { kind, channels, height, width, alpha } = manifest.attack.trigger;
  if (kind === 'warp') {
    return { kind, grid: new Float32Array(copyOf(tensor('trigger.grid', ['F32'], [height, width, 2]))) };
  }
  const shape = [channels, height, width];
  const pattern = copyOf(tensor('trigger.pattern', [kind === 'add' ? 'F32' : 'U8'], shape));
  return kind === 'replace'
    ? { kind, pattern: new Uint8Array(pattern), mask: new Uint8Array(copyOf(tensor('trigger.mask', ['U8'], shape))) }
    : kind === 'blend'
      ? { kind, pattern: new Uint8Array(pattern), alpha: alpha ?? Number.NaN }
      : { kind, pattern: new Float32Array(pattern) };
}

function checkSum(path: string, what: string, got: string, expected: string | undefined): void {
  if (got === expected) return;
  throw new PadFtError(
    'ERR_CHECKSUM',
    safeText(`${path}: ${what}: expected SHA-256 ${expected ?? 'in the manifest'}, got ${got}`),
    {
      details: { path, what, expected, got },
    },
  );
}

/** The bytes in memory of their own: a tensor is a view into its file, at any address. ERR_OOM. */
export function copyOf({ data }: SafetensorsTensor): ArrayBuffer {
  return withMemory(() => new Uint8Array(data)).buffer;
}

function bytesOf(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function refuse(path: string, expected: string, got: string, cause?: unknown): PadFtError {
  return new PadFtError('ERR_FILE_FORMAT', safeText(`${path}: expected ${expected}, got ${got}`), {
    details: { path, expected, got },
    cause,
  });
}
