import type { Device, Precision } from '../device.js';
import { counted } from '../formats/plural.js';
import type { NativeDevice } from '../native/contract.js';
import type { RunContext } from '../native/job.js';
import type { ComputeFlags } from './options.js';
import type { Output } from './output.js';
import type { Progress } from './progress.js';

/** What every command works with. */
export interface Session {
  readonly output: Output;
  readonly progress: Progress;
  /** Raised by Ctrl-C, SIGTERM or a closed standard output. */
  readonly signal: AbortSignal;
}

/** A command: resolves to its exit code when that is not 0. */
export type Action = (session: Session) => Promise<number | undefined>;

/** Ties a command's action to the process: output, signals, exit code. Given to each command's module. */
export type Run = (action: Action) => Promise<void>;

/** A device that was found there, and the rest of what the user asked to compute with. */
export interface Compute {
  readonly device: NativeDevice;
  readonly precision: Precision;
}

/**
 * Loads the addon, finds the device and sets the threads: first of all, so that a machine that cannot run says so
 * before it reads data.
 *
 * @throws PadFtError ERR_ADDON, ERR_DEVICE, ERR_OPTION
 */
export async function prepareCompute(session: Session, flags: ComputeFlags): Promise<Compute> {
  const [{ resolveDevice, resolvePrecision }, { loadAddon }, { callNative }] = await Promise.all([
    import('../device.js'),
    import('../native/load.js'),
    import('../native/job.js'),
  ]);
  const addon = callNative(() => loadAddon());
  const { threads } = flags;
  if (threads !== undefined) callNative(() => addon.setThreads(threads));
  const device = resolveDevice(flags.device);
  resolvePrecision(flags.precision, device, 'training');
  session.progress.note(
    describeCompute(
      flags.device,
      device,
      callNative(() => addon.runtime()),
    ),
  );
  return { device, precision: flags.precision };
}

/**
 * Says before the work, and not only in the doctor, that it will be slow for a reason that one package takes away. Not
 * with `--quiet`: nothing is wrong with what comes out. Call it after `prepareCompute`.
 */
export async function warnOfSlowBlas(
  { output, progress }: Pick<Session, 'output' | 'progress'>,
  device: NativeDevice,
  libraries?: readonly string[],
): Promise<void> {
  if (output.mode.quiet || device !== 'cpu') return;
  const [{ referenceBlas }, { loadedLibraries }] = await Promise.all([
    import('../doctor/reference-blas.js'),
    import('../native/load.js'),
  ]);
  const slow = referenceBlas(libraries ?? loadedLibraries());
  if (slow !== null) progress.warning(`${slow.what} This helps: ${slow.todo}`);
}

interface RuntimeFacts {
  readonly torch: string;
  readonly threads: number;
  readonly cpuCapability: string;
  readonly cudaDevices: readonly { readonly index: number; readonly name: string }[];
}

function describeCompute(asked: Device, device: NativeDevice, runtime: RuntimeFacts): string {
  const index = Number(device.slice('cuda:'.length));
  const gpu = device === 'cpu' ? undefined : runtime.cudaDevices.find((candidate) => candidate.index === index);
  const what = gpu === undefined ? `${counted(runtime.threads, 'thread')}, ${runtime.cpuCapability}` : gpu.name;
  return `device ${device}${asked === 'auto' ? ' (auto)' : ''}: ${what}, libtorch ${runtime.torch}`;
}

/** The signal and the progress of one part, as the library's calls take them. */
export function runContext(session: Session, part: string): RunContext {
  return { signal: session.signal, onProgress: (done, total) => session.progress.update(part, done, total) };
}
