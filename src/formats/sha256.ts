import { createHash } from 'node:crypto';

/** Node reads, writes and hashes less than 2 GiB at a time. */
export const LARGEST_PIECE = 1 << 26;

/** Bytes as views of at most `LARGEST_PIECE`, in order; of none, none. */
export function* pieces(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += LARGEST_PIECE) {
    yield bytes.subarray(start, start + LARGEST_PIECE);
  }
}

/** SHA-256 (hex) of a typed array's bytes as they lie in memory (little-endian on every platform Node runs the addon on). */
export function sha256Hex(values: ArrayBufferView): string {
  const hash = createHash('sha256');
  for (const piece of pieces(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))) hash.update(piece);
  return hash.digest('hex');
}
