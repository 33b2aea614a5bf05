import { Dataset } from '../dataset.js';
import { TRAINING_UNITS } from '../defenses/units.js';
import { Model } from '../model.js';
import type { NativeDevice } from '../native/contract.js';
import { median } from '../statistics.js';
import type { VictimCell } from './cells.js';
import { finishedTraining, foldersIn } from './store.js';

/** How fast this machine is, and who says so. */
export interface Throughput {
  readonly unitsPerSecond: number;
  /** `3 trainings in the cache`, `a calibration of 256 images`. */
  readonly source: string;
}

/**
 * Images measured on, after so many to warm up. On CUDA as many: kernels are loaded and chosen for a batch's size, and a
 * launch takes time.
 */
const CALIBRATION = { cpu: { images: 256, warmUp: 32 }, cuda: { images: 8192, warmUp: 8192 } };

/** From trainings of the same width in these folders; without one, from a short measurement on the device. */
export async function measureThroughput(
  cell: VictimCell,
  folders: readonly string[],
  device: NativeDevice,
): Promise<Throughput> {
  const speeds: number[] = [];
  for (const root of folders) {
    for (const folder of await foldersIn(root)) {
      const training = await finishedTraining(folder);
      if (training?.settings.width !== cell.train.width || training?.data.name !== cell.dataset) continue;
      if (training.environment.device !== device || training.history.length === 0) continue;
      speeds.push(median(training.history.map(({ imagesPerSecond }) => imagesPerSecond)));
    }
  }
  if (speeds.length === 0) return calibrate(cell.train.width ?? 64, device);
  const source = speeds.length === 1 ? 'a training in the cache' : `${speeds.length} trainings in the cache`;
  return { unitsPerSecond: TRAINING_UNITS * median(speeds), source };
}

async function calibrate(width: number, device: NativeDevice): Promise<Throughput> {
  const { images: count, warmUp: first } = CALIBRATION[device === 'cpu' ? 'cpu' : 'cuda'];
  const shape = { count, channels: 3, height: 32, width: 32, classes: 10 };
  const images = new Uint8Array(count * 3 * 32 * 32).map((_, i) => (i * 97) % 256);
  using data = Dataset.from({ images, labels: new Int32Array(count), shape }, device);
  using model = Model.create({ classes: 10, width, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], seed: 0, device });
  using warmUp = await data.subset(Uint32Array.from({ length: first }, (_, row) => row));
  await model.predict(warmUp);
  const start = performance.now();
  await model.predict(data);
  const seconds = (performance.now() - start) / 1000;
  return { unitsPerSecond: count / Math.max(seconds, 1e-6), source: `a calibration of ${count} images` };
}
