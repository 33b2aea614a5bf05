import { writeFileAtomic } from '../formats/atomic-file.js';

/** Size of one image: bytes are C×H×W, planes, uint8. One channel is shown as grey, else the first three as RGB. */
export interface ImageSize {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

const SCALE = 3;
const GAP = 2;

/**
 * Writes images as one picture (binary PPM), row by row from the top left, each pixel drawn 3×3 on white.
 *
 * @throws PadFtError ERR_FILE_WRITE
 */
export async function writeSheet(
  path: string,
  images: readonly Uint8Array[],
  size: ImageSize,
  columns: number,
): Promise<void> {
  const { channels, height, width } = size;
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
  await writeFileAtomic(path, [Buffer.from(`P6\n${sheetWidth} ${sheetHeight}\n255\n`, 'latin1'), pixels]);
}

/** One image out of many laid end to end. */
export function imageAt(images: Uint8Array, row: number, size: ImageSize): Uint8Array {
  const bytes = size.channels * size.height * size.width;
  return images.subarray(row * bytes, (row + 1) * bytes);
}
