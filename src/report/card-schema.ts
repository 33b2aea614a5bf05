import { CONTROLS } from '../control.js';
import type { Given } from '../defenses/given.js';
import { METHOD_NAMES, METHODS, planMethod } from '../defenses/methods/index.js';
import type { Method } from '../defenses/methods/method.js';
import type { ClassMargin, InspectSettings } from '../defenses/mm-bd/inspect.js';
import type { ClipLook, ClipResult } from '../defenses/pad-ft/clip.js';
import { STAGES, type StageView } from '../defenses/pad-ft/gate.js';
import { type PadFtOptions, type PadFtSettings, padFtSettings } from '../defenses/pad-ft/index.js';
import { EARLIER_SETTINGS, LIMIT_KINDS, PRESET_NAMES, PURIFIERS } from '../defenses/pad-ft/options.js';
import type { LabelVerdict, Sharpened } from '../defenses/pad-ft/verdict.js';
import { PadFtError } from '../errors.js';
import {
  type Check,
  checkFile,
  count,
  finite,
  flag,
  fraction,
  listOf,
  nullable,
  object,
  oneOf,
  optional,
  record,
  sha256,
  text,
  wrong,
} from '../formats/json-shape.js';
import { checkPoisonManifest } from '../formats/poison-manifest.js';
import { checkEpoch, checkEvaluation, checkTrainSettings } from '../formats/training-shape.js';
import type { StageCost } from '../memory.js';
import type { Purity, PurityReport, SuspectRates } from '../metrics.js';
import { POISONINGS } from '../train.js';
import type {
  CardConfig,
  CardCost,
  CardDataset,
  CardDefense,
  CardDetector,
  CardFile,
  CardMethod,
  CardRow,
  CardSeeds,
  CardVictim,
  CleanDraw,
  CleanFolder,
  DetectionRow,
  InspectionRow,
  MethodRow,
  RunCard,
  TuneView,
} from './card.js';
import type { CardEnvironment, CardPrecision } from './environment.js';
import type { DefenseFigures, DetectionFigures } from './judge.js';

// The settings' own checker is the authority; here nothing may be missing either, so that a later version's defaults
// never slip into an old card. Settings that came later are filled in with what was in effect before them.
const settings: Check<PadFtSettings> = (value, at) => {
  const given = record(value, at);
  const { purify, ...earlier } = EARLIER_SETTINGS;
  const whole: Record<string, unknown> = {
    ...earlier,
    gatePrice: given.accuracyPrice ?? earlier.accuracyPrice,
    ...given,
    purify: { ...purify, ...record(given.purify, { ...at, path: `${at.path}.purify` }) },
  };
  let complete: PadFtSettings;
  try {
    complete = padFtSettings(whole as PadFtOptions);
  } catch (error) {
    if (!(error instanceof PadFtError)) throw error;
    throw wrong(at, `defence settings (${error.message})`, value);
  }
  for (const [key, field] of Object.entries(complete)) {
    const missing =
      typeof field === 'object' && field !== null
        ? Object.keys(field).find((name) => !Object.hasOwn(record(whole[key], at), name))
        : Object.hasOwn(whole, key)
          ? undefined
          : key;
    if (missing !== undefined) throw wrong({ ...at, path: `${at.path}.${key}` }, `the setting ${missing}`, undefined);
  }
  return complete;
};

// Beside the card and nowhere else: a card from elsewhere must not name other files of this machine.
const fileName: Check<string> = (value, at) => {
  const name = text(value, at);
  if (!/^\w[\w.-]*$/.test(name)) throw wrong(at, 'the name of a file beside the card', value);
  return name;
};

const cost = object<StageCost>({ stage: text, seconds: finite, peakBytes: count });
const rowCost = object<CardCost>({ stage: text, seconds: finite, peakBytes: count, measuredBy: optional(text) });

const purity = object<Purity>({
  rows: count,
  poisoned: count,
  selfLabelled: count,
  purity: nullable(fraction),
  baseRate: nullable(fraction),
  normalised: nullable(finite),
});

const detectionFigures: { readonly [K in keyof DetectionFigures]-?: Check<DetectionFigures[K]> } = {
  targetLabel: nullable(count),
  purity: object<PurityReport>({ overall: purity, perLabel: listOf(purity) }),
  auroc: object<DefenseFigures['auroc']>({ overall: nullable(fraction), targetLabel: nullable(fraction) }),
  tprAt: optional(object<NonNullable<DefenseFigures['tprAt']>>({ fpr1: nullable(fraction), fpr5: nullable(fraction) })),
  suspects: object<SuspectRates>({
    positives: count,
    truePositives: count,
    negatives: count,
    falsePositives: count,
    tpr: nullable(fraction),
    fpr: nullable(fraction),
  }),
};

const figures = object<DefenseFigures>({
  evaluations: object<DefenseFigures['evaluations']>({
    victim: nullable(checkEvaluation),
    pad: nullable(checkEvaluation),
    'pad-ft': nullable(checkEvaluation),
  }),
  der: object<DefenseFigures['der']>({ pad: nullable(fraction), 'pad-ft': nullable(fraction) }),
  ...detectionFigures,
});

const clipping = object<ClipResult>({
  looks: listOf(
    object<ClipLook>({
      step: count,
      lambda: finite,
      mu: finite,
      loss: finite,
      mse: finite,
      accuracy: fraction,
      suspectsKept: nullable(fraction),
    }),
  ),
  step: count,
  floor: nullable(finite),
  turn: optional(count),
});

const tuneView = object<TuneView>({ loss: finite, accuracy: fraction });
const control = nullable(oneOf(CONTROLS));

const verdict = object<CardRow['verdict']>({
  attacked: listOf(count),
  near: optional(listOf(count)),
  limits: optional(oneOf(LIMIT_KINDS)),
  unsure: optional(listOf(count)),
  text,
  labels: listOf(
    object<LabelVerdict>({
      label: count,
      rows: count,
      eligible: count,
      spread: finite,
      z: finite,
      separation: nullable(finite),
      gain: nullable(finite),
      origins: optional(nullable(finite)),
      lowerOrigins: optional(nullable(finite)),
      reversed: optional(flag),
      sharpened: optional(
        object<Sharpened>({
          separation: finite,
          gain: finite,
          agreement: fraction,
          scoreGain: optional(finite),
          taken: flag,
          alone: optional(flag),
        }),
      ),
      attacked: flag,
      plantedShare: fraction,
      rejudged: optional(object<NonNullable<LabelVerdict['rejudged']>>({ separation: finite, gain: finite })),
    }),
  ),
});

const given = object<Given>({
  victim: optional(oneOf(['weights', 'shape'])),
  training: nullable(count),
  clean: nullable(count),
});

const row = object<CardRow>({
  name: text,
  preset: oneOf(PRESET_NAMES),
  purifier: oneOf(PURIFIERS),
  control,
  returned: oneOf(STAGES),
  reason: text,
  views: listOf(
    object<StageView>({
      stage: oneOf(STAGES),
      heldOutAccuracy: nullable(fraction),
      suspectsKept: nullable(fraction),
    }),
  ),
  verdict,
  purified: count,
  heldOut: optional(count),
  given: optional(given),
  suspects: count,
  clipping: nullable(clipping),
  tuning: nullable(object<{ readonly first: TuneView; readonly last: TuneView }>({ first: tuneView, last: tuneView })),
  costs: listOf(rowCost),
  assumptions: listOf(text),
  figures: nullable(figures),
});

const method = oneOf(METHOD_NAMES);

const methodRow = object<MethodRow>({
  name: method,
  given: given,
  said: text,
  details: record,
  costs: listOf(rowCost),
  figures: nullable(
    object<NonNullable<MethodRow['figures']>>({ evaluation: checkEvaluation, der: nullable(fraction) }),
  ),
});

const detectionRow = object<DetectionRow>({
  name: text,
  given: optional(given),
  purifier: oneOf(PURIFIERS),
  verdict,
  purified: count,
  suspects: count,
  costs: listOf(rowCost),
  figures: nullable(object<DetectionFigures>(detectionFigures)),
});

const inspectionRow = object<InspectionRow>({
  name: text,
  given: optional(given),
  settings: object<InspectSettings>({
    images: count,
    imageSize: count,
    steps: count,
    learningRate: finite,
    tolerance: finite,
    significance: fraction,
    seed: count,
  }),
  labels: listOf(object<ClassMargin>({ label: count, margin: finite, steps: count })),
  pValue: fraction,
  target: nullable(count),
  text,
  costs: listOf(rowCost),
});

const cleanFolder = object<CleanFolder>({ folder: text, sha256 });
const cleanDraw = object<CleanDraw>({
  share: fraction,
  draw: oneOf(['backdoorbench']),
  seed: count,
  added: listOf(count),
});
const clean: Check<CleanFolder | CleanDraw> = (value, at) =>
  Object.hasOwn(record(value, at), 'folder') ? cleanFolder(value, at) : cleanDraw(value, at);

// As with the defences' settings: the method's own checker is the authority, and nothing may be missing.
const cardMethod: Check<CardMethod> = (value, at) => {
  const checked = object<CardMethod>({
    name: method,
    settings: record,
    seed: count,
    revision: optional(count),
    flip: flag,
    clean: nullable(clean),
  })(value, at);
  const { earlier }: Pick<Method, 'earlier'> = METHODS[checked.name];
  const whole: Record<string, unknown> = { ...earlier, ...checked.settings };
  let settings: object;
  try {
    ({ settings } = planMethod(checked.name, whole));
  } catch (error) {
    if (!(error instanceof PadFtError)) throw error;
    throw wrong(at, `settings of ${checked.name} (${error.message})`, value);
  }
  const missing = Object.keys(settings).find((key) => !Object.hasOwn(whole, key));
  if (missing !== undefined) throw wrong(at, `the setting ${missing}`, undefined);
  return { ...checked, settings: whole };
};

const nativePrecision = oneOf(['fp32', 'tf32', 'bf16']);

/** Checks the machine that a file names. */
export const checkEnvironment = object<CardEnvironment>({
  node: text,
  platform: text,
  cpu: text,
  torch: text,
  device: text,
  deviceName: text,
  threads: count,
  cpuCapability: text,
  napi: count,
  precision: optional(
    object<CardPrecision>({
      training: nullable(nativePrecision),
      scoring: optional(nativePrecision),
      fitting: optional(nativePrecision),
      evaluation: nativePrecision,
    }),
  ),
});

/** Checks a file's line in a card. */
export const checkCardFile = object<CardFile>({ path: fileName, bytes: count, sha256 });

const card = object<RunCard>({
  kind: oneOf(['pad-ft-card']),
  version: oneOf([1]),
  tool: text,
  created: text,
  command: nullable(listOf(text)),
  config: object<CardConfig>({
    dataset: object<CardDataset>({
      name: text,
      options: record,
      provenance: record,
      classNames: listOf(text),
      flip: optional(flag),
      trainRows: count,
      testRows: count,
    }),
    poison: nullable(checkPoisonManifest),
    poisoning: optional(oneOf(POISONINGS)),
    train: nullable(checkTrainSettings),
    victim: nullable(text),
    defenses: listOf(object<CardDefense>({ name: text, control, settings })),
    methods: optional(listOf(cardMethod)),
    detectors: optional(listOf(object<CardDetector>({ name: text, settings }))),
  }),
  seeds: object<CardSeeds>({
    root: nullable(count),
    poison: nullable(count),
    train: nullable(count),
    defenses: listOf(count),
  }),
  environment: checkEnvironment,
  files: listOf(checkCardFile),
  victim: object<CardVictim>({ history: listOf(checkEpoch), evaluation: nullable(checkEvaluation) }),
  rows: listOf(row),
  methods: optional(listOf(methodRow)),
  detections: optional(listOf(detectionRow)),
  inspections: optional(listOf(inspectionRow)),
  costs: listOf(cost),
});

/**
 * A card with every field checked.
 *
 * @throws PadFtError ERR_FILE_FORMAT with the path of the first wrong field
 */
export function checkCard(value: unknown, file: string): RunCard {
  return checkFile(card, value, file);
}
