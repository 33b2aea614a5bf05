/** Deeper than anything this package writes; comparing a value or writing it again takes stack for each level. */
const DEEPEST = 64;

/** `JSON.parse` for text from elsewhere. SyntaxError, also for more than 64 levels of lists and objects. */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  if (isDeeper(value, DEEPEST)) throw new SyntaxError(`more than ${DEEPEST} levels of lists and objects`);
  return value;
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1));
}
