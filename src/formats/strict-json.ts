/**
 * A strict JSON reader for headers that strangers wrote. Unlike JSON.parse it refuses duplicate keys
 * (compared after unescaping), lone surrogates and deep nesting, and returns objects as Maps, so that
 * `__proto__` is a key like any other.
 */
export type StrictJson = null | boolean | string | StrictNumber | readonly StrictJson[] | StrictObject;
export type StrictObject = ReadonlyMap<string, StrictJson>;

/** A number as it was written: `1`, `1.0` and `1e0` are different things to a header. */
export class StrictNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** The value when it is written as a plain integer in [0, 2⁵³ − 1]; otherwise undefined. */
  get integer(): number | undefined {
    const value = Number(this.text);
    return /^\d+$/.test(this.text) && Number.isSafeInteger(value) ? value : undefined;
  }
}

/** What is wrong with the text, and at which character. */
export class StrictJsonError extends Error {
  readonly position: number;

  constructor(problem: string, position: number) {
    super(`${problem} at character ${position}`);
    this.position = position;
  }
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

/**
 * Reads one JSON value that fills the whole text, white space around it allowed.
 *
 * @throws StrictJsonError
 */
export function parseStrictJson(text: string, maxDepth = 16): StrictJson {
  const reader = new Reader(text, maxDepth);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  readonly #text: string;
  readonly #maxDepth: number;
  #at = 0;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
  }

  end(): void {
    this.#space();
    if (this.#at < this.#text.length) throw this.#error('text after the end of the JSON value');
  }

  value(depth: number): StrictJson {
    if (depth > this.#maxDepth) throw this.#error(`nesting deeper than ${this.#maxDepth}`);
    this.#space();
    const next = this.#text[this.#at];
    if (next === '{') return this.#object(depth);
    if (next === '[') return this.#array(depth);
    if (next === '"') return this.#string();
    if (this.#word('true')) return true;
    if (this.#word('false')) return false;
    if (this.#word('null')) return null;
    return this.#number();
  }

  #object(depth: number): StrictObject {
    const entries = new Map<string, StrictJson>();
    this.#at++;
    if (this.#skip('}')) return entries;
    do {
      this.#space();
      const start = this.#at;
      if (this.#text[start] !== '"') throw this.#error('expected a key in double quotes');
      const key = this.#string();
      if (entries.has(key)) throw new StrictJsonError(`duplicate key ${JSON.stringify(key.slice(0, 80))}`, start);
      if (!this.#skip(':')) throw this.#error('expected ":"');
      entries.set(key, this.value(depth + 1));
    } while (this.#skip(','));
    if (!this.#skip('}')) throw this.#error('expected "," or "}"');
    return entries;
  }

  #array(depth: number): readonly StrictJson[] {
    const items: StrictJson[] = [];
    this.#at++;
    if (this.#skip(']')) return items;
    do items.push(this.value(depth + 1));
    while (this.#skip(','));
    if (!this.#skip(']')) throw this.#error('expected "," or "]"');
    return items;
  }

  #string(): string {
    const start = this.#at++;
    const parts: string[] = [];
    let run = this.#at;
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (Number.isNaN(code)) throw new StrictJsonError('string without an end', start);
      if (code < 0x20) throw this.#error('control character in a string');
      if (code !== 0x22 && code !== 0x5c) {
        this.#at++;
        continue;
      }
      parts.push(this.#text.slice(run, this.#at++));
      if (code === 0x22) break;
      parts.push(this.#escape());
      run = this.#at;
    }
    const value = parts.join('');
    if (/\p{Surrogate}/u.test(value)) throw new StrictJsonError('lone surrogate in a string', start);
    return value;
  }

  #escape(): string {
    const kind = this.#text[this.#at++] ?? '';
    const plain = ESCAPES.get(kind);
    if (plain !== undefined) return plain;
    const digits = this.#text.slice(this.#at, this.#at + 4);
    if (kind !== 'u' || !/^[0-9a-fA-F]{4}$/.test(digits)) throw this.#error('invalid escape in a string');
    this.#at += 4;
    return String.fromCharCode(Number.parseInt(digits, 16));
  }

  #number(): StrictNumber {
    const pattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
    pattern.lastIndex = this.#at;
    const text = pattern.exec(this.#text)?.[0];
    if (text === undefined) throw this.#error('expected a JSON value');
    this.#at += text.length;
    return new StrictNumber(text);
  }

  #word(word: string): boolean {
    if (!this.#text.startsWith(word, this.#at)) return false;
    this.#at += word.length;
    return true;
  }

  #skip(character: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    while (' \t\n\r'.includes(this.#text[this.#at] ?? '?')) this.#at++;
  }

  #error(problem: string): StrictJsonError {
    return new StrictJsonError(problem, this.#at);
  }
}
