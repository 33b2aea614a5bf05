/** What CMakeLists.txt demands. */
export const LEAST_CMAKE: string;

/** Where a newer CMake comes from when the distribution has none. */
export const NEWER_CMAKE: string;

/** Whether a version such as `3.16.3` is below LEAST_CMAKE. */
export function isCmakeTooOld(version: string): boolean;

/** Says what this machine lacks to build the addon. Throws a SetupError when a tool is missing or CMake is too old. */
export function requireBuildTools(env?: NodeJS.ProcessEnv): Promise<void>;
