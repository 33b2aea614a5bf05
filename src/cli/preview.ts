import { statSync } from 'node:fs';
import { dirname, extname, resolve } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import { PadFtError } from '../errors.js';
import { writeFileAtomic } from '../formats/atomic-file.js';
import { safeText } from '../formats/terminal.js';

/** Size of one image: bytes are C×H×W, planes, uint8. One channel is shown as grey, else the first three as RGB. */
export interface ImageSize {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

const SCALE = 3;
const GAP = 2;

/**
 * Refuses a picture that could not be written, before the work whose result it shows. `made` is a folder that the work
 * will make.
 *
 * @throws PadFtError ERR_OPTION
 */
export function checkSheet(path: string, made?: string): void {
  const refusal = (problem: string) =>
    new PadFtError('ERR_OPTION', safeText(`--preview: ${problem}`), { details: { path: '--preview', file: path } });
  if (ENCODERS.get(extname(path).toLowerCase()) === undefined) {
    throw refusal(`expected a name that ends in ${[...ENCODERS.keys()].join(' or ')}, got ${path}`);
  }
  const folder = dirname(resolve(path));
  const info = statSync(folder, { throwIfNoEntry: false });
  if (info?.isDirectory() || (info === undefined && made !== undefined && folder === resolve(made))) return;
  throw refusal(
    info === undefined ? `the folder ${folder} does not exist: create it first` : `${folder} is not a folder`,
  );
}

/**
 * Writes images as one picture, in the format that its name asks for (`checkSheet`), row by row from the top left, each
 * pixel drawn 3×3 on white.
 *
 * @throws PadFtError ERR_OPTION, ERR_FILE_WRITE
 */
export async function writeSheet(
  path: string,
  images: readonly Uint8Array[],
  size: ImageSize,
  columns: number,
): Promise<void> {
  const { channels, height, width } = size;
  checkSheet(path);
  const rows = Math.ceil(images.length / columns);
  const sheetWidth = columns * (width * SCALE + GAP) + GAP;
  const sheetHeight = rows * (height * SCALE + GAP) + GAP;
  const pixels = new Uint8Array(sheetWidth * sheetHeight * 3).fill(255);
  const plane = height * width;
  images.forEach((image, i) => {
    const top = GAP + Math.floor(i / columns) * (height * SCALE + GAP);
    const left = GAP + (i % columns) * (width * SCALE + GAP);
    for (let y = 0; y < height * SCALE; y++) {
      for (let x = 0; x < width * SCALE; x++) {
        const from = Math.floor(y / SCALE) * width + Math.floor(x / SCALE);
        const to = 3 * ((top + y) * sheetWidth + left + x);
        for (let c = 0; c < 3; c++) pixels[to + c] = image[(channels < 3 ? 0 : c) * plane + from] as number;
      }
    }
  });
  const encode = ENCODERS.get(extname(path).toLowerCase()) as Encoder;
  await writeFileAtomic(path, encode(pixels, sheetWidth, sheetHeight));
}

/** 8-bit RGB, row by row, as the bytes of a file. */
type Encoder = (pixels: Uint8Array, width: number, height: number) => readonly Uint8Array[];

const ENCODERS: ReadonlyMap<string, Encoder> = new Map<string, Encoder>([
  ['.png', png],
  ['.ppm', (pixels, width, height) => [Buffer.from(`P6\n${width} ${height}\n255\n`, 'latin1'), pixels]],
]);

/** The smallest PNG there is: three chunks, no filter on any line (RFC 2083). */
function png(pixels: Uint8Array, width: number, height: number): Uint8Array[] {
  const stride = 3 * width;
  const lines = new Uint8Array(height * (stride + 1));
  for (let y = 0; y < height; y++) lines.set(pixels.subarray(y * stride, (y + 1) * stride), y * (stride + 1) + 1);
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  return [signature, chunk('IHDR', header), chunk('IDAT', deflateSync(lines)), chunk('IEND', new Uint8Array(0))];
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, 'latin1');
  bytes.set(data, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, 8 + data.length)), 8 + data.length);
  return bytes;
}

/** One image out of many laid end to end. */
export function imageAt(images: Uint8Array, row: number, size: ImageSize): Uint8Array {
  const bytes = size.channels * size.height * size.width;
  return images.subarray(row * bytes, (row + 1) * bytes);
}
