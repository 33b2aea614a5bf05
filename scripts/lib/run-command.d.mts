export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
  readonly onOutput?: (chunk: Buffer) => void;
}

export interface CommandResult {
  /** Null when the program could not be started or was killed. */
  readonly code: number | null;
  readonly stdout: string;
  /** stdout and stderr as they came. */
  readonly output: string;
  readonly timedOut: boolean;
}

/** Runs a program without a shell and collects what it prints. Never rejects. */
export function runCommand(file: string, args: readonly string[], options?: CommandOptions): Promise<CommandResult>;

/** The last line that is not empty. */
export function lastLine(text: string): string;
