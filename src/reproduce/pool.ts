import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Device } from '../device.js';
import { PadFtError } from '../errors.js';
import { type CellFailure, type GroupContext, type GroupEvent, type GroupTask, runGroup } from './group.js';

/** What a child process is told, and what it answers. */
export type WorkerRequest =
  | { readonly type: 'run'; readonly task: GroupTask; readonly threads: number | null }
  | { readonly type: 'stop' };
export type WorkerReply =
  | { readonly type: 'event'; readonly event: GroupEvent }
  | { readonly type: 'done'; readonly failures: readonly CellFailure[] }
  | { readonly type: 'error'; readonly error: { readonly code: PadFtError['code']; readonly message: string } };

/** A group that runs wherever a lane is free. */
export type PooledTask = Omit<GroupTask, 'device'>;

export interface PoolOptions extends GroupContext {
  /** Lanes: groups at a time; 1 runs them in this process. */
  readonly jobs: number;
  /** At least one. A lane keeps its device, whichever groups it comes to run; where lanes are more, they share. */
  readonly devices: readonly Device[];
  /** Processor threads of each child; an equal share of the machine's when left out. */
  readonly threads?: number | undefined;
  /** After each group, in the order they end. */
  readonly onGroup: (task: PooledTask, failures: readonly CellFailure[]) => Promise<void>;
  /** The program of a child; another one for tests. */
  readonly worker?: URL | undefined;
}

const WORKER = new URL('./worker.js', import.meta.url);

/**
 * Runs groups, `jobs` at a time. The first error that is not a cell's own stops the others at their next batch and is
 * thrown when they have ended.
 *
 * @throws PadFtError ERR_ABORTED
 */
export async function runPool(tasks: readonly PooledTask[], options: PoolOptions): Promise<void> {
  const { jobs, devices, signal, onEvent, onGroup, worker = WORKER } = options;
  const deviceOf = (lane: number) => devices[lane % devices.length] ?? 'auto';
  if (jobs === 1) {
    for (const task of tasks) {
      await onGroup(task, await runGroup({ ...task, device: deviceOf(0) }, { signal, onEvent }));
    }
    return;
  }
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const threads = options.threads ?? Math.max(1, Math.floor(availableParallelism() / jobs));
  const queue = [...tasks];
  let reporting = Promise.resolve();
  const lane = async (index: number) => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) {
      const current = { ...task, device: deviceOf(index) };
      const failures = await runInChild(worker, current, threads, { signal: either, onEvent });
      // One report at a time: it reads and writes the same files.
      reporting = reporting.then(() => onGroup(current, failures));
      await reporting;
    }
  };
  // The others end with an error too, that of being stopped: what counts is the one that stopped them.
  let first: { readonly error: unknown } | undefined;
  const lanes = Array.from({ length: Math.min(jobs, tasks.length) }, (_, index) =>
    lane(index).catch((error: unknown) => {
      first ??= { error };
      queue.length = 0;
      stop.abort(error);
    }),
  );
  await Promise.all(lanes);
  if (first !== undefined) throw first.error;
}

function runInChild(
  worker: URL,
  task: GroupTask,
  threads: number,
  { signal, onEvent }: GroupContext,
): Promise<readonly CellFailure[]> {
  const child = fork(fileURLToPath(worker), {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const stop = () => tell(child, { type: 'stop' });
  return new Promise<readonly CellFailure[]>((resolve, reject) => {
    child.on('message', (reply: WorkerReply) => {
      if (reply.type === 'event') tellOf(task, reply.event, onEvent);
      else if (reply.type === 'done') resolve(reply.failures);
      else reject(new PadFtError(reply.error.code, reply.error.message));
    });
    child.on('error', reject);
    child.on('exit', (code, killedBy) => {
      reject(new PadFtError('ERR_INTERNAL', `${task.victim.name}: its process ended early (${killedBy ?? code})`));
    });
    tell(child, { type: 'run', task, threads });
    signal?.addEventListener('abort', stop);
    if (signal?.aborted) stop();
  }).finally(() => {
    signal?.removeEventListener('abort', stop);
    if (child.connected) child.disconnect();
  });
}

/** Several children speak at once: who speaks is said, and what would only redraw a bar is left out. */
function tellOf({ victim }: GroupTask, event: GroupEvent, onEvent: GroupContext['onEvent']): void {
  const named = (text: string) => (text.startsWith(victim.name) ? text : `${victim.name}: ${text}`);
  switch (event.type) {
    case 'progress':
    case 'defense':
      return;
    case 'epoch': {
      const { epoch, epochs } = event.report;
      onEvent?.({ type: 'stage', stage: 'train', text: named(`epoch ${epoch}/${epochs}`) });
      return;
    }
    case 'stage':
      onEvent?.({ ...event, text: named(event.text) });
      return;
    case 'warning':
      onEvent?.({ ...event, message: named(event.message) });
      return;
    default:
      onEvent?.(event);
  }
}

function tell(child: ChildProcess, request: WorkerRequest): void {
  if (child.connected) child.send(request);
}
