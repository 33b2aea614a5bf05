/** Runs `work` while holding a lock file; a lock whose process is gone is taken over. */
export function withLock<T>(path: string, say: (line: string) => void, work: () => Promise<T>): Promise<T>;

/** True when a process with this id exists. */
export function isRunning(pid: number): boolean;

/**
 * Removes a lock whose owner is gone; true when it did. `meanwhile`, for tests, runs between the first look and the
 * removal.
 */
export function removeStale(path: string, meanwhile?: () => void): boolean;
