import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { isTemporaryOf, writeFileAtomic, writeJsonAtomic } from '../../src/formats/atomic-file.js';

/** Which call of which operation fails, and how; counted across one write. */
const fault = vi.hoisted(() => ({ operation: '', nth: 0, errno: 'EIO', seen: 0 }));

vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs/promises')>();
  const trip = (operation: string) => {
    if (operation !== fault.operation || ++fault.seen !== fault.nth) return;
    throw Object.assign(new Error(`${fault.errno}: injected`), { code: fault.errno });
  };
  return {
    ...real,
    rename: async (from: string, to: string) => {
      trip('rename');
      return real.rename(from, to);
    },
    open: async (path: string, flags: string | number, mode?: number) => {
      trip('open');
      const handle = await real.open(path, flags, mode);
      const failing = new Set(['write', 'sync', 'chmod', 'read', 'close']);
      return new Proxy(handle, {
        get(target, name) {
          const member: unknown = Reflect.get(target, name, target);
          if (typeof member !== 'function') return member;
          return async (...args: unknown[]) => {
            // A failed close still closes: that is what POSIX leaves us with.
            if (name === 'close') await target.close();
            if (failing.has(String(name))) trip(String(name));
            return name === 'close' ? undefined : Reflect.apply(member, target, args);
          };
        },
      }) as FileHandle;
    },
  };
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pad-ft-atomic-'));
  Object.assign(fault, { operation: '', nth: 0, errno: 'EIO', seen: 0 });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function chunks(): Uint8Array[] {
  return [Buffer.from('first '), Buffer.alloc(0), Buffer.from('second '), Buffer.from('third')];
}

test('writes text, bytes and streams, and says what it wrote', async () => {
  const path = join(folder, 'out.bin');
  async function* stream() {
    yield* chunks();
  }
  for (const content of ['first second third', Buffer.from('first second third'), chunks(), stream()]) {
    const written = await writeFileAtomic(path, content);
    expect(readFileSync(path, 'utf8')).toBe('first second third');
    expect(written).toEqual({
      bytes: 18,
      sha256: createHash('sha256').update('first second third').digest('hex'),
    });
  }
  expect(readdirSync(folder)).toEqual(['out.bin']);
  expect(statSync(path).mode & 0o777).toBe(0o644 & ~process.umask());
});

test('writes JSON with a final line feed', async () => {
  const path = join(folder, 'card.json');
  await writeJsonAtomic(path, { a: [1] });
  expect(readFileSync(path, 'utf8')).toBe('{\n  "a": [\n    1\n  ]\n}\n');
  await expect(writeJsonAtomic(path, undefined)).rejects.toMatchObject({ code: 'ERR_INTERNAL' });
});

test.each(['open', 'write', 'chmod', 'sync', 'close', 'read', 'rename'])(
  'every failing %s gives a typed error, and never a torn file',
  async (operation) => {
    const path = join(folder, 'out.bin');
    let failures = 0;
    for (let nth = 1; ; nth++) {
      writeFileSync(path, 'old');
      Object.assign(fault, { operation, nth, seen: 0 });
      const outcome = await writeFileAtomic(path, chunks()).catch((error: unknown) => error);
      if (fault.seen < nth) break;
      failures++;
      expect(outcome).toMatchObject({ code: 'ERR_FILE_WRITE', details: { path, errno: 'EIO' } });
      expect(readdirSync(folder)).toEqual(['out.bin']);
      expect(['old', 'first second third']).toContain(readFileSync(path, 'utf8'));
    }
    expect(failures).toBeGreaterThan(0);
    expect(readFileSync(path, 'utf8')).toBe('first second third');
  },
);

test.each([
  ['ENOSPC', /the disk is full/],
  ['EACCES', /permission denied/],
])('%s is said in words', async (errno, words) => {
  Object.assign(fault, { operation: 'write', nth: 2, errno });
  const path = join(folder, 'out.bin');
  await expect(writeFileAtomic(path, chunks())).rejects.toThrow(words);
  fault.seen = 0;
  await expect(writeFileAtomic(path, chunks())).rejects.toThrow(path);
  expect(readdirSync(folder)).toEqual([]);
});

test('what the content or the verifier throws reaches the caller as it is, and nothing stays behind', async () => {
  const path = join(folder, 'out.bin');
  writeFileSync(path, 'old');
  const broken = new Error('the source broke off');
  async function* stream() {
    yield Buffer.from('half');
    throw broken;
  }
  await expect(writeFileAtomic(path, stream())).rejects.toBe(broken);
  const verify = vi.fn(() => {
    throw broken;
  });
  await expect(writeFileAtomic(path, 'new', { verify })).rejects.toBe(broken);
  expect(verify).toHaveBeenCalledOnce();
  expect(readFileSync(path, 'utf8')).toBe('old');
  expect(readdirSync(folder)).toEqual(['out.bin']);
});

test('the verifier sees the whole temporary file, which is recognisable', async () => {
  const path = join(folder, 'out.bin');
  await writeFileAtomic(path, 'new', {
    verify: (temporary, { bytes }) => {
      expect(readFileSync(temporary, 'utf8')).toBe('new');
      expect(bytes).toBe(3);
      const [entry] = readdirSync(folder);
      expect(isTemporaryOf(entry ?? '', 'out.bin')).toBe(true);
      expect(isTemporaryOf(entry ?? '', 'other.bin')).toBe(false);
    },
  });
  expect(isTemporaryOf('out.bin', 'out.bin')).toBe(false);
});

test('refuses folders, links, FIFOs and missing folders', async () => {
  await expect(writeFileAtomic(folder, 'x')).rejects.toMatchObject({
    code: 'ERR_FILE_WRITE',
    message: expect.stringContaining('is a folder'),
  });
  await expect(writeFileAtomic(join(folder, 'no', 'such', 'file'), 'x')).rejects.toThrow(/create it first/);
  const link = join(folder, 'link');
  symlinkSync('/dev/null', link);
  await expect(writeFileAtomic(link, 'x')).rejects.toThrow(/link or a device/);
  if (process.platform !== 'win32') {
    execFileSync('mkfifo', [join(folder, 'fifo')]);
    await expect(writeFileAtomic(join(folder, 'fifo'), 'x')).rejects.toThrow(/link or a device/);
  }
  writeFileSync(join(folder, 'file'), 'x');
  await expect(writeFileAtomic(join(folder, 'file', 'below'), 'x')).rejects.toMatchObject({ code: 'ERR_FILE_WRITE' });
});
