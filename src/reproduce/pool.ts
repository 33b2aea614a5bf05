import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
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

export interface PoolOptions extends GroupContext {
  /** Groups at a time; 1 runs them in this process. */
  readonly jobs: number;
  /** Processor threads of each child; an equal share of the machine's when left out. */
  readonly threads?: number | undefined;
  /** After each group, in the order they end. */
  readonly onGroup: (task: GroupTask, failures: readonly CellFailure[]) => Promise<void>;
}

/**
 * Runs groups, `jobs` at a time. The first error that is not a cell's own stops the others at their next batch and is
 * thrown when they have ended.
 *
 * @throws PadFtError ERR_ABORTED
 */
export async function runPool(tasks: readonly GroupTask[], options: PoolOptions): Promise<void> {
  const { jobs, signal, onEvent, onGroup } = options;
  if (jobs === 1) {
    for (const task of tasks) await onGroup(task, await runGroup(task, { signal, onEvent }));
    return;
  }
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const threads = options.threads ?? Math.max(1, Math.floor(availableParallelism() / jobs));
  const queue = [...tasks];
  let reporting = Promise.resolve();
  const lane = async () => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) {
      const current = task;
      const failures = await runInChild(current, threads, { signal: either, onEvent });
      // One report at a time: it reads and writes the same files.
      reporting = reporting.then(() => onGroup(current, failures));
      await reporting;
    }
  };
  const lanes = Array.from({ length: Math.min(jobs, tasks.length) }, () =>
    lane().catch((error: unknown) => {
      queue.length = 0;
      stop.abort(error);
      throw error;
    }),
  );
  const ends = await Promise.allSettled(lanes);
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

function runInChild(
  task: GroupTask,
  threads: number,
  { signal, onEvent }: GroupContext,
): Promise<readonly CellFailure[]> {
  const child = fork(fileURLToPath(new URL('./worker.js', import.meta.url)), {
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
