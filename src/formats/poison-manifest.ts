import type { JsonOptions } from '../attacks/attack.js';
import { LABEL_POLICIES } from '../attacks/labels.js';
import { POISON_DRAWS, type PoisonManifest } from '../attacks/poison.js';
import type { TriggerDescription } from '../attacks/trigger.js';
import {
  type Check,
  count,
  finite,
  fraction,
  nullable,
  object,
  oneOf,
  optional,
  record,
  sha256,
  text,
} from './json-shape.js';

const image = object<{ readonly bytes: number; readonly sha256: string }>({ bytes: count, sha256 });

const attackOptions: Check<JsonOptions> = (value, at) => {
  const entries = Object.entries(record(value, at)).map(([name, option]): [string, JsonOptions[string]] => {
    const place = { ...at, path: `${at.path}.${name}` };
    if (option === null) return [name, null];
    return [name, typeof option === 'number' ? finite(option, place) : image(option, place)];
  });
  return Object.fromEntries(entries);
};

/** Checks a poison manifest that came out of a file. */
export const checkPoisonManifest: Check<PoisonManifest> = object<PoisonManifest>({
  kind: oneOf(['pad-ft-poison']),
  version: oneOf([1]),
  tool: text,
  dataset: object<PoisonManifest['dataset']>({ name: text, provenance: text, rows: count, classes: count }),
  attack: object<PoisonManifest['attack']>({
    name: text,
    options: attackOptions,
    triggerName: text,
    trigger: object<TriggerDescription>({
      kind: oneOf(['replace', 'blend', 'add', 'warp']),
      channels: count,
      height: count,
      width: count,
      patternSha256: sha256,
      maskSha256: optional(sha256),
      maskedValues: optional(count),
      alpha: optional(fraction),
    }),
  }),
  policy: oneOf(LABEL_POLICIES),
  target: nullable(count),
  rate: fraction,
  seed: count,
  draw: oneOf(POISON_DRAWS),
  counts: object<PoisonManifest['counts']>({
    poisoned: count,
    relabelled: count,
    selfLabelled: count,
    noise: optional(count),
  }),
  indicesSha256: sha256,
  noiseSha256: optional(sha256),
  labelsSha256: sha256,
});
