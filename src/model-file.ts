import type { Device } from './device.js';
import { PadFtError } from './errors.js';
import { readSafetensors, writeSafetensors } from './formats/safetensors.js';
import { Model, type ModelName, NO_BOUNDS } from './model.js';
import type { NativeBounds, StateEntry } from './native/contract.js';

/**
 * Models as safetensors: PyTorch's tensor names, plus one tensor per bounded clip site (`clip.layer1.0.relu1.max`,
 * `….mean`), and the architecture in the metadata. Python reads them with `safetensors.torch.load_file`.
 */

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
  /** For a file without this package's metadata (a state dict saved from Python): what it does not say. */
  readonly model?: ModelName;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  /** Tensors with these prefixes are handed back instead of being refused as unexpected. */
  readonly extraPrefixes?: readonly string[];
}

export interface LoadedModel {
  readonly model: Model;
  readonly metadata: ReadonlyMap<string, string>;
  readonly extra: ReadonlyMap<string, StateEntry>;
}

/**
 * Reads a model written by `saveModel`, or a PyTorch state dict in safetensors when `mean` and `std` are given. Tensors
 * are matched by name and shape.
 *
 * @throws PadFtError ERR_FILE_MISSING, ERR_FILE_FORMAT, ERR_MODEL (every missing, unexpected or mis-shaped tensor)
 */
export async function loadModel(path: string, options: LoadModelOptions = {}): Promise<LoadedModel> {
  const { tensors, metadata } = await readSafetensors(path);
  const state: StateEntry[] = [];
  const extra = new Map<string, StateEntry>();
  const clip = new Map<string, Float32Array>();
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
    if (name.startsWith(PREFIX)) clip.set(name, floats(entry));
    else if (options.extraPrefixes?.some((prefix) => name.startsWith(prefix))) extra.set(name, entry);
    else state.push(entry);
  }
  const model = Model.create(architecture(path, state, metadata, options));
  try {
    await model.loadState(state);
    model.bounds = joinBounds(path, model, clip);
  } catch (error) {
    model.dispose();
    throw error instanceof PadFtError && error.code === 'ERR_MODEL' && !error.message.startsWith(path)
      ? new PadFtError('ERR_MODEL', `${path}: ${error.message}`, { details: { path, ...error.details }, cause: error })
      : error;
  }
  return { model, metadata, extra };
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
      throw new PadFtError('ERR_MODEL', `${path}: no tensor ${name}: this is not a state dict of preact-resnet18`, {
        details: { path, name },
      });
    }
    return entry.shape as readonly [number, number, ...number[]];
  };
  // Shapes say width and classes; the metadata only what shapes cannot.
  const width = find('conv1.weight')[0];
  const classes = find('linear.weight')[0];
  const numbers = (key: string) => {
    const text = metadata.get(key);
    return text === undefined ? undefined : (JSON.parse(text) as number[]);
  };
  const mean = options.mean ?? numbers('pad-ft.mean');
  const std = options.std ?? numbers('pad-ft.std');
  if (mean === undefined || std === undefined) {
    throw new PadFtError(
      'ERR_MODEL',
      `${path} does not say how its input was normalised; give mean and std (per channel, of pixels in [0, 1])`,
      { details: { path } },
    );
  }
  const name = options.model ?? (metadata.get('pad-ft.model') as ModelName | undefined);
  return {
    ...(name === undefined ? {} : { name }),
    classes,
    width,
    mean,
    std,
    ...(options.device === undefined ? {} : { device: options.device }),
  };
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
          `${path}: ${PREFIX}${site.name}.${kind}: expected ${site.channels} values, got ${values?.length ?? 'none'}`,
        );
      }
      joined.set(values, start);
      start += site.channels;
    }
    return joined;
  };
  return { max: join('max'), mean: join('mean') };
}
