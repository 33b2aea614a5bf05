import { isAbort, originalError, outOfMemory, PadFtError } from '../errors.js';
import { callNative } from '../native/job.js';
import { loadAddon } from '../native/load.js';
import { type GroupEvent, runGroup } from './group.js';
import type { WorkerReply, WorkerRequest } from './pool.js';

/** A child process of a reproduction: runs one group, tells its parent, and ends with it. */
const controller = new AbortController();

// Ctrl-C reaches every process of the terminal: the parent decides, and tells.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
process.on('disconnect', () => controller.abort(new Error('the parent process is gone')));
process.on('message', (request: WorkerRequest) => {
  if (request.type === 'stop') controller.abort(new Error('stopped by the parent process'));
  else void run(request);
});

async function run({ task, threads }: Extract<WorkerRequest, { type: 'run' }>): Promise<void> {
  try {
    if (threads !== null) callNative(() => loadAddon().setThreads(threads));
    const onEvent = (event: GroupEvent) => reply({ type: 'event', event });
    reply({ type: 'done', failures: await runGroup(task, { signal: controller.signal, onEvent }) });
  } catch (thrown) {
    const first = originalError(thrown);
    const error = outOfMemory(first) ?? first;
    const code = error instanceof PadFtError ? error.code : isAbort(error) ? 'ERR_ABORTED' : 'ERR_INTERNAL';
    reply({ type: 'error', error: { code, message: error instanceof Error ? error.message : String(error) } });
  }
}

function reply(message: WorkerReply): void {
  if (process.connected) process.send?.(message);
}
