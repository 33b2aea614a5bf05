/** Compiles src/ to dist/ unless dist/ already is what src/ says; an installed package has no src/. */
export function compileTypescript(
  root: string,
  say: (line: string) => void,
): Promise<'current' | 'compiled' | 'shipped'>;

/** The file a module specifier means for the project; @throws SetupError when `npm ci` was not run. */
export function resolveFrom(root: string, specifier: string): string;
