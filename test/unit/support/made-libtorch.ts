import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import { onTestFinished } from 'vitest';

/** A folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pad-ft-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes a file and the folders above it. */
export function write(path: string, text: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

export interface MadeLibtorch {
  readonly version?: string;
  /** Folder of the libraries, relative to the root. */
  readonly libraries?: string;
  readonly header?: string;
  readonly cxx20?: boolean;
  /** Written to version.py and as a libtorch_cuda.so. */
  readonly cuda?: string;
}

/** Names and contents of the files that make a folder look like a libtorch. */
export function libtorchFiles(made: MadeLibtorch = {}): Map<string, string> {
  const { version = '2.13.0', libraries = 'lib', header = 'torch/headeronly/version.h' } = made;
  const [major, minor, patch] = version.split('.');
  const files = new Map([
    ['include/ATen/ATen.h', made.cxx20 ? '#error C++20 or later compatible compiler is required' : '#pragma once'],
    [`${libraries}/libtorch_cpu.so`, 'not a library'],
    [
      `include/${header}`,
      `#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n#define TORCH_VERSION_PATCH ${patch}\n`,
    ],
  ]);
  if (made.cuda !== undefined) {
    files.set(`${libraries}/libtorch_cuda.so`, 'not a library');
    files.set('version.py', `from typing import Optional\ncuda: Optional[str] = '${made.cuda}'\n`);
  }
  return files;
}

/** Makes a folder that looks like a libtorch; returns it. */
export function makeLibtorch(root: string, made: MadeLibtorch = {}): string {
  for (const [name, text] of libtorchFiles(made)) write(join(root, name), text);
  return root;
}

/** A folder to put on PATH with one executable shell script in it. */
export function makeProgram(folder: string, name: string, script: string): string {
  chmodSync(write(join(folder, name), `#!/bin/sh\n${script}\n`), 0o755);
  return folder;
}

/** A ZIP archive with deflated entries, as a wheel is one. */
export function zip(entries: ReadonlyMap<string, string>): Buffer {
  const bodies: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of entries) {
    const data = Buffer.from(text);
    const packed = deflateRawSync(data);
    const nameBytes = Buffer.from(name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(8, 8);
    local.writeUInt16LE(nameBytes.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(8, 10);
    central.writeUInt32LE(crc32(data), 16);
    central.writeUInt32LE(packed.length, 20);
    central.writeUInt32LE(data.length, 24);
    central.writeUInt16LE(nameBytes.length, 28);
    central.writeUInt32LE((0o100644 << 16) >>> 0, 38);
    central.writeUInt32LE(offset, 42);
    bodies.push(local, nameBytes, packed);
    directory.push(central, nameBytes);
    offset += local.length + nameBytes.length + packed.length;
  }
  const centralBytes = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.size, 8);
  end.writeUInt16LE(entries.size, 10);
  end.writeUInt32LE(centralBytes.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...bodies, centralBytes, end]);
}
