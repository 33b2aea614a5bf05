import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32, createInflateRaw } from 'node:zlib';

// Enough of ZIP to unpack a Python wheel whose SHA-256 was checked before: no ZIP64, no encryption, no spanning.
// Written out here so that a machine without Python or unzip needs nothing more than Node.
const END = 0x06054b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;

/**
 * Unpacks the entries that `wanted` accepts into `folder`, checking each one's size and CRC-32.
 *
 * @param {string} archive path of the ZIP file
 * @param {string} folder created if missing
 * @param {(name: string) => boolean} wanted
 * @returns {Promise<number>} how many files were written
 * @throws Error when the archive is damaged or an entry would leave the folder
 */
export async function unzip(archive, folder, wanted) {
  const entries = (await readDirectory(archive)).filter(({ name }) => !name.endsWith('/') && wanted(name));
  for (const entry of entries) {
    const target = join(folder, entry.name);
    if (normalize(entry.name) !== entry.name || entry.name.startsWith('/') || entry.name.startsWith('..')) {
      throw new Error(`${archive}: entry ${JSON.stringify(entry.name)} would leave the folder`);
    }
    await mkdir(dirname(target), { recursive: true });
    await unpackEntry(archive, entry, target);
  }
  return entries.length;
}

async function readDirectory(archive) {
  const file = await open(archive, 'r');
  try {
    const { size } = await file.stat();
    const tail = Buffer.alloc(Math.min(size, 22 + 0xffff));
    await file.read(tail, 0, tail.length, size - tail.length);
    let end = tail.length - 22;
    while (end >= 0 && tail.readUInt32LE(end) !== END) end -= 1;
    if (end < 0) throw new Error(`${archive}: not a ZIP archive, or cut short`);
    const directory = Buffer.alloc(tail.readUInt32LE(end + 12));
    await file.read(directory, 0, directory.length, tail.readUInt32LE(end + 16));
    return parseDirectory(archive, directory, tail.readUInt16LE(end + 10));
  } finally {
    await file.close();
  }
}

function parseDirectory(archive, bytes, count) {
  const entries = [];
  for (let at = 0, i = 0; i < count; i += 1) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== CENTRAL) throw new Error(`${archive}: damaged directory`);
    const nameLength = bytes.readUInt16LE(at + 28);
    entries.push({
      method: bytes.readUInt16LE(at + 10),
      crc: bytes.readUInt32LE(at + 16),
      packed: bytes.readUInt32LE(at + 20),
      size: bytes.readUInt32LE(at + 24),
      executable: ((bytes.readUInt32LE(at + 38) >>> 16) & 0o111) !== 0,
      offset: bytes.readUInt32LE(at + 42),
      name: bytes.toString('utf8', at + 46, at + 46 + nameLength),
    });
    at += 46 + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return entries;
}

async function unpackEntry(archive, entry, target) {
  const start = await dataOffset(archive, entry);
  let crc = 0;
  let size = 0;
  const check = new Transform({
    transform(chunk, _encoding, done) {
      crc = crc32(chunk, crc);
      size += chunk.length;
      done(null, chunk);
    },
  });
  const out = createWriteStream(target, { flags: 'wx', mode: entry.executable ? 0o755 : 0o644 });
  if (entry.packed === 0) {
    await pipeline([], check, out);
  } else {
    const packed = createReadStream(archive, { start, end: start + entry.packed - 1, highWaterMark: 1 << 18 });
    if (entry.method === 8) await pipeline(packed, createInflateRaw(), check, out);
    else if (entry.method === 0) await pipeline(packed, check, out);
    else throw new Error(`${archive}: ${entry.name} uses compression method ${entry.method}`);
  }
  if (size !== entry.size || crc !== entry.crc) throw new Error(`${archive}: ${entry.name} is damaged`);
}

// The local header repeats the name with an extra field of its own length.
async function dataOffset(archive, entry) {
  const file = await open(archive, 'r');
  try {
    const header = Buffer.alloc(30);
    await file.read(header, 0, 30, entry.offset);
    if (header.readUInt32LE(0) !== LOCAL) throw new Error(`${archive}: ${entry.name} has no local header`);
    return entry.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  } finally {
    await file.close();
  }
}
