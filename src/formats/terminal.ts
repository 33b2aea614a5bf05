/**
 * Characters that make a terminal, or a reader, see something else than what is there: C0 and C1 controls
 * (escape sequences), bidirectional overrides, invisible characters, line separators, lone surrogates and tags.
 */
const UNSAFE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is what this is for.
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]/gu;

/**
 * Text from a file (a tensor name, a class name, a path), made safe to print: each unsafe character becomes
 * `\u{…}` with its code point in hexadecimal. Everything else, backslashes included, stays as it is.
 */
export function safeText(text: string): string {
  return text.replace(UNSAFE, (character) => `\\u{${character.codePointAt(0)?.toString(16) ?? ''}}`);
}

/** True when `safeText` would change the text. */
export function isUnsafeText(text: string): boolean {
  return text.search(UNSAFE) !== -1;
}
