/** The public names of pad-ft. The page to read first is `experiment.ts`. */

export type { Attack, AttackOption } from './attacks/attack.js';
// Attacks and poisoned sets.
export { ATTACKS, type AttackName } from './attacks/index.js';
export type { LabelPolicy, LabelPolicyName } from './attacks/labels.js';
export type { PoisonManifest } from './attacks/poison.js';
export type { Trigger } from './attacks/trigger.js';
export { CONTROLS, type Control } from './control.js';
export { Dataset } from './dataset.js';
// Data sets.
export {
  type CifarOptions,
  DATASETS,
  type DatasetName,
  type DatasetOptions,
  type DatasetPair,
  type ImageSet,
  loadDatasetPair,
  type SyntheticOptions,
} from './datasets/index.js';
export { DEFAULT_DEFENSES, type DefenseRequest } from './defense-request.js';
export type { Given } from './defenses/given.js';
export {
  checkMethodRequest,
  defendByMethod,
  type FitInput,
  METHOD_NAMES,
  METHODS,
  type Method,
  type MethodInput,
  type MethodName,
  type MethodOptions,
  type MethodOutcome,
  type MethodRequest,
  type MethodResult,
  type MethodSettings,
  type PlannedMethod,
  planMethod,
} from './defenses/methods/index.js';
// A detector that reads the model alone.
export {
  type ClassMargin,
  INSPECT_DEFAULTS,
  type InspectContext,
  type Inspection,
  type InspectOptions,
  type InspectResult,
  type InspectSettings,
  inspect,
} from './defenses/mm-bd/inspect.js';
// The defence.
export { type ClipInput, type ClipResult, clip } from './defenses/pad-ft/clip.js';
export { fineTune, type TuneInput, type TuneResult } from './defenses/pad-ft/fine-tune.js';
export type { GateDecision, Stage, StageView } from './defenses/pad-ft/gate.js';
export {
  type DefenseContext,
  type DefenseProgress,
  type PadFtOptions,
  type PadFtResult,
  type PadFtSettings,
  type Purification,
  padFt,
  padFtSettings,
  purify,
  type RowScores,
} from './defenses/pad-ft/index.js';
export {
  type ClipSettings,
  type LimitKind,
  optionsForData,
  PRESET_NAMES,
  PRESETS,
  type PresetName,
  type PurifySettings,
  paperAssumptions,
  type TuneSettings,
} from './defenses/pad-ft/options.js';
export type { LabelVerdict, Sharpened, Suspect, Verdict } from './defenses/pad-ft/verdict.js';
export { DEMO, runDemo } from './demo.js';
// The machine.
export type { Device, Precision } from './device.js';
export { type DoctorReport, diagnose, formatDoctor } from './doctor.js';
export { ERROR_CODES, type ErrorCode, PadFtError } from './errors.js';
// Judging.
export { type Evaluation, evaluate, type TestSets } from './evaluate.js';
// From a data set to a card.
export {
  type ExperimentContext,
  type ExperimentEvent,
  type ExperimentOptions,
  type ExperimentResult,
  type ExperimentStage,
  runExperiment,
} from './experiment.js';
export type { StageCost } from './memory.js';
export {
  type AttackSuccess,
  accuracy,
  attackSuccess,
  defenseEffectiveness,
  type PoisonTruth,
  type Purity,
  type PurityReport,
  purity,
  type SuspectRates,
  suspectRates,
} from './metrics.js';
// Models and training.
export {
  type CreateModelOptions,
  type EvaluationOptions,
  Model,
  type ModelName,
  type ScoringOptions,
} from './model.js';
export { type LoadedModel, type LoadModelOptions, loadModel, saveModel } from './model-file.js';
export type { WarpRecipe } from './native/contract.js';
export { type GroundTruth, POISON_DEFAULTS, type PoisonedSet, type PoisonSettings, poison } from './poisoned-set.js';
export {
  type LoadFolderOptions,
  loadPoisonedSet,
  loadTrainingData,
  savePoisonedSet,
  saveTrainingData,
  type TrainingData,
  type TrainingSubjectInfo,
} from './poisoned-set-file.js';
export { type ReevaluateOptions, type ReevaluateResult, type Reevaluation, reevaluate } from './reevaluate.js';
export {
  type CardDetector,
  type CardMethod,
  type CardRow,
  type CleanDraw,
  type CleanFolder,
  type DetectionRow,
  type InspectionRow,
  type MethodRow,
  type RunCard,
  readCard,
} from './report/card.js';
export {
  type DefenseFigures,
  type DetectionFigures,
  judgeDefense,
  judgeMethod,
  judgePurification,
  judgeVictim,
  type MethodFigures,
  type VictimFigures,
} from './report/judge.js';
export { formatMarkdown, formatTable } from './report/table.js';
export {
  type CellFailure,
  type Grid,
  type GridAttack,
  type GridChoice,
  type GridProgress,
  type GridTable,
  type PaperFigure,
  type PlannedCell,
  paperGrid,
  planReproduction,
  type ReproduceContext,
  type ReproduceEvent,
  type ReproduceOptions,
  type Reproduction,
  type ReproductionPlan,
  readGrid,
  reproduce,
  SCALE_NAMES,
  type ScaleName,
  type Throughput,
} from './reproduce/index.js';
export {
  type EpochReport,
  type Normalisation,
  type Poisoning,
  TRAIN_DEFAULTS,
  type TrainContext,
  type Training,
  type TrainSettings,
  train,
} from './train.js';
export { VERSION } from './version.js';
