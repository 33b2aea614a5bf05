import { isDeepStrictEqual } from 'node:util';
import type { Device } from './device.js';
import { describe, PadFtError } from './errors.js';
import { sayWhatToDo } from './formats/file-problem.js';
import { type Check, checkJson, finite, listOf, positive, wrong } from './formats/json-shape.js';
import { counted } from './formats/plural.js';
import { readSafetensors, writeSafetensors } from './formats/safetensors.js';
import { safeText } from './formats/terminal.js';
import { MODEL_NAMES, Model, type ModelName, NO_BOUNDS } from './model.js';
import type { NativeBounds, StateEntry } from './native/contract.js';

/**
 * Models as safetensors: PyTorch's tensor names, plus one tensor per bounded clip site (`clip.layer1.0.relu1.max`,
 * `….mean`), and the architecture in the metadata. Python reads them with `safetensors.torch.load_file`.
 */

/** Weights of preact-resnet18's convolutions behind the first, for each width². */
const CONVOLUTIONS = 2724;
/** With less than this share of them a file is no state of such a network; with more, each tensor that lacks is named. */
const LEAST_SHARE = 0.1;

const KINDS = ['max', 'mean'] as const;
const PREFIX = 'clip.';

/** What a model file says about itself besides its tensors. */
export interface ModelFileInfo {
  readonly metadata: ReadonlyMap<string, string>;
}

/** The file's metadata for a model: enough to build it again. Values are strings, as the format demands. */
function describeModel(model: Model): Record<string, string> {
  return {
    format: 'pt',
    'pad-ft.model': model.name,
    'pad-ft.classes': String(model.classes),
    'pad-ft.width': String(model.width),
    'pad-ft.mean': JSON.stringify(model.mean),
    'pad-ft.std': JSON.stringify(model.std),
  };
}

/**
 * Writes a model atomically. `extra` adds metadata and tensors (a checkpoint's momentum, say).
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function saveModel(
  model: Model,
  path: string,
  extra: { readonly metadata?: Readonly<Record<string, string>>; readonly tensors?: readonly StateEntry[] } = {},
): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const entries = [...(await model.state()), ...boundEntries(model), ...(extra.tensors ?? [])];
  return writeSafetensors(path, entries, { ...describeModel(model), ...extra.metadata });
}

function boundEntries(model: Model): StateEntry[] {
  const bounds = model.bounds;
  return KINDS.flatMap((kind) => {
    const values = bounds[kind];
    if (values === null) return [];
    let start = 0;
    return model.sites.map((site): StateEntry => {
      const part = values.slice(start, start + site.channels);
      start += site.channels;
      return {
        name: `${PREFIX}${site.name}.${kind}`,
        dtype: 'F32',
        shape: [site.channels],
        data: new Uint8Array(part.buffer),
      };
    });
  });
}

export interface LoadModelOptions {
  readonly device?: Device;
  /**
   * For a file without this package's metadata (a state dict saved from Python): what it does not say. What it does say
   * gives way to these.
   */
  readonly model?: ModelName;
  /**
   * Of its input, one for each channel, of pixels in [0, 1]: in [0, 1], and in (0, 1]. `LoadedModel.overruled` holds what
   * gave way to these.
   */
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  /** Tensors with these prefixes are handed back instead of being refused as unexpected. */
  readonly extraPrefixes?: readonly string[];
}

/** What a file states and the caller stated otherwise. */
export type Overruled = ReadonlyMap<'mean' | 'std', readonly number[]>;

export interface LoadedModel {
  readonly model: Model;
  readonly metadata: ReadonlyMap<string, string>;
  readonly extra: ReadonlyMap<string, StateEntry>;
  /** Tensors that hold NaN or an infinity: the file is what its format demands, but such a network predicts nothing. */
  readonly nonFinite: readonly string[];
  /** What `mean` and `std` of the options took the place of: those that the file states otherwise. */
  readonly overruled: Overruled;
}

/**
 * Reads a model written by `saveModel`, or a PyTorch state dict in safetensors when `mean` and `std` are given. Tensors
 * are matched by name and shape.
 *
 * @throws PadFtError ERR_FILE_MISSING; ERR_FILE_FORMAT, metadata included; ERR_MODEL (every missing, unexpected or
 * mis-shaped tensor, an unknown architecture, wrong bounds); ERR_OPTION for what `options` state; ERR_DEVICE; ERR_OOM
 */
export async function loadModel(path: string, options: LoadModelOptions = {}): Promise<LoadedModel> {
  const { tensors, metadata } = await readSafetensors(path).catch(
    sayWhatToDo({
      ENOENT: 'give a .safetensors file: a model of `pad-ft train`, or a state dict saved from Python',
      EISDIR: 'give the model in it, a .safetensors file',
    }),
  );
  const state: StateEntry[] = [];
  const extra = new Map<string, StateEntry>();
  const clip = new Map<string, Float32Array>();
  const nonFinite: string[] = [];
  for (const [name, tensor] of tensors) {
    if (tensor.dtype !== 'F32' && tensor.dtype !== 'I64') {
      throw new PadFtError(
        'ERR_MODEL',
        `${path}: tensor ${name}: expected F32 or I64, got ${tensor.dtype}; convert it to float32`,
        {
          details: { path, name, dtype: tensor.dtype },
        },
      );
    }
    const entry: StateEntry = { name, dtype: tensor.dtype, shape: tensor.shape, data: tensor.data };
    // A bound may be infinite: it bounds nothing.
    if (name.startsWith(PREFIX)) {
      clip.set(name, bound(path, entry));
      continue;
    }
    if (tensor.dtype === 'F32' && !floats(entry).every(Number.isFinite)) nonFinite.push(name);
    if (options.extraPrefixes?.some((prefix) => name.startsWith(prefix))) extra.set(name, entry);
    else state.push(entry);
  }
  const model = Model.create(architecture(path, state, metadata, options));
  try {
    await model.loadState(state);
    model.bounds = joinBounds(path, model, clip);
  } catch (error) {
    model.dispose();
    // The core names a wrong option or state; that it came out of a file only this function knows.
    const ofFile = error instanceof PadFtError && (error.code === 'ERR_MODEL' || error.code === 'ERR_OPTION');
    if (!ofFile || error.message.startsWith(path)) throw error;
    throw modelError(path, error.message, error.details, error);
  }
  return { model, metadata, extra, nonFinite, overruled: overruledBy(options, metadata) };
}

function overruledBy(options: LoadModelOptions, metadata: ReadonlyMap<string, string>): Overruled {
  const overruled = new Map<'mean' | 'std', readonly number[]>();
  for (const key of ['mean', 'std'] as const) {
    const [given, own] = [options[key], statedNumbers(metadata.get(`pad-ft.${key}`))];
    // As many as there are channels: a file may state any number of them.
    if (given === undefined || own?.length !== given.length) continue;
    if (!isDeepStrictEqual([...given], own)) overruled.set(key, own);
  }
  return overruled;
}

/** Null where there are none: what is damaged is no statement. */
function statedNumbers(text: string | undefined): readonly number[] | null {
  try {
    return text === undefined ? null : checkJson(listOf(finite), text, { file: 'metadata', path: '' });
  } catch {
    return null;
  }
}

function modelError(
  path: string,
  problem: string,
  details: Readonly<Record<string, unknown>> = {},
  cause?: unknown,
): PadFtError {
  return new PadFtError('ERR_MODEL', safeText(`${path}: ${problem}`), { details: { path, ...details }, cause });
}

function architecture(
  path: string,
  state: readonly StateEntry[],
  metadata: ReadonlyMap<string, string>,
  options: LoadModelOptions,
) {
  const find = (name: string) => {
    const entry = state.find((candidate) => candidate.name === name);
    if (entry === undefined || entry.shape.length < 2) {
      const longer = state.find((candidate) => candidate.name.endsWith(`.${name}`))?.name;
      const prefix = longer?.slice(0, -name.length);
      const what =
        prefix === undefined
          ? 'this is not a state dict of preact-resnet18'
          : `the names begin with ${prefix} (as DataParallel and wrapping modules have it): save them without it`;
      throw modelError(path, `no tensor ${name}: ${what}`, { name });
    }
    return entry.shape as readonly [number, number, ...number[]];
  };
  // Shapes say width and classes; the metadata only what shapes cannot.
  const [width, channels] = find('conv1.weight');
  const [classes] = find('linear.weight');
  if (width < 1 || classes < 2) {
    throw modelError(path, `expected at least one channel and two classes, got ${width} and ${classes}`);
  }
  // A network is made of that width before its state is compared: a small file must not ask for a large one.
  const weights = state.reduce((sum, { shape }) => sum + shape.reduce((size, side) => size * side, 1), 0);
  if (weights < LEAST_SHARE * CONVOLUTIONS * width * width) {
    const whole = CONVOLUTIONS * width * width;
    const expected = `a preact-resnet18 of that width more than ${whole} weights`;
    const message = `conv1.weight has ${width} channels, and ${expected}; the file holds ${weights}`;
    throw modelError(path, message, { width, weights });
  }
  const numbers = (key: string, check: Check<number>) => {
    const text = metadata.get(key);
    if (text === undefined) return undefined;
    const found = checkJson(listOf(check), text, { file: path, path: key });
    if (found.length === channels) return found;
    throw wrong({ file: path, path: key }, `one number for each of the ${channels} input channels`, found);
  };
  const given = (key: 'mean' | 'std', range: string, fits: (value: number) => boolean) => {
    const values = options[key];
    if (values === undefined) return undefined;
    if (values.length === channels && values.every(fits)) return values;
    const expected = `${counted(channels, 'number')} ${range}, one for each input channel, of pixels in [0, 1]`;
    throw new PadFtError('ERR_OPTION', `${key}: expected ${expected}, got ${values.join(', ')}`, {
      details: { path: key, expected, got: values },
    });
  };
  const mean = given('mean', 'in [0, 1]', (value) => value >= 0 && value <= 1) ?? numbers('pad-ft.mean', finite);
  const std = given('std', 'in (0, 1]', (value) => value > 0 && value <= 1) ?? numbers('pad-ft.std', positive);
  if (mean === undefined || std === undefined) {
    const absent = [...(mean === undefined ? ['mean'] : []), ...(std === undefined ? ['std'] : [])].join(' and ');
    throw new PadFtError(
      'ERR_MODEL',
      `${path} does not say how its input was normalised; give ${absent} (\`--mean\` and \`--std\`: a number a channel, of pixels in [0, 1]; 0,0,0 and 1,1,1 where training only divided by 255)`,
      { details: { path } },
    );
  }
  const name = options.model ?? knownModel(path, metadata.get('pad-ft.model'));
  return {
    ...(name === undefined ? {} : { name }),
    classes,
    width,
    mean,
    std,
    ...(options.device === undefined ? {} : { device: options.device }),
  };
}

function knownModel(path: string, name: string | undefined): ModelName | undefined {
  if (name === undefined) return undefined;
  const found = MODEL_NAMES.find((known) => known === name);
  if (found !== undefined) return found;
  throw modelError(path, `pad-ft.model: expected one of ${MODEL_NAMES.join(', ')}, got ${describe(name)}`);
}

function bound(path: string, entry: StateEntry): Float32Array {
  if (entry.dtype === 'F32') return floats(entry);
  throw modelError(path, `${entry.name}: expected F32, got ${entry.dtype}`, { name: entry.name });
}

function floats(entry: StateEntry): Float32Array {
  return new Float32Array(entry.data.slice().buffer);
}

function joinBounds(path: string, model: Model, clip: ReadonlyMap<string, Float32Array>): NativeBounds {
  if (clip.size === 0) return NO_BOUNDS;
  const known = new Set(KINDS.flatMap((kind) => model.sites.map((site) => `${PREFIX}${site.name}.${kind}`)));
  for (const name of clip.keys()) {
    if (!known.has(name)) throw new PadFtError('ERR_MODEL', `${path}: unexpected ${name}`, { details: { path, name } });
  }
  const join = (kind: (typeof KINDS)[number]) => {
    const parts = model.sites.map((site) => ({ site, values: clip.get(`${PREFIX}${site.name}.${kind}`) }));
    if (parts.every((part) => part.values === undefined)) return null;
    const joined = new Float32Array(model.siteChannels);
    let start = 0;
    for (const { site, values } of parts) {
      if (values?.length !== site.channels) {
        throw new PadFtError(
          'ERR_MODEL',
          `${path}: ${PREFIX}${site.name}.${kind}: expected ${counted(site.channels, 'value')}, got ${values?.length ?? 'none'}`,
        );
      }
      joined.set(values, start);
      start += site.channels;
    }
    return joined;
  };
  return { max: join('max'), mean: join('mean') };
}
