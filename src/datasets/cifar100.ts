import { type CifarOptions, loadCifar, locateCifar } from './cifar.js';
import type { CifarFormat } from './cifar-format.js';
import type { DatasetSource } from './dataset-source.js';

/** The binary version, as its author publishes it; the fine labels are the ones used. */
export const CIFAR100_FORMAT: CifarFormat = {
  name: 'cifar100',
  url: 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
  archive: {
    file: 'cifar-100-binary.tar.gz',
    bytes: 168_513_733,
    sha256: '58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec',
  },
  folder: 'cifar-100-binary',
  // A record begins with the coarse label; the fine one follows.
  labelBytes: 2,
  labelIndex: 1,
  // biome-ignore format: a list to look things up in, ten names a line.
  classNames: [
    'apple', 'aquarium_fish', 'baby', 'bear', 'beaver', 'bed', 'bee', 'beetle', 'bicycle', 'bottle',
    'bowl', 'boy', 'bridge', 'bus', 'butterfly', 'camel', 'can', 'castle', 'caterpillar', 'cattle',
    'chair', 'chimpanzee', 'clock', 'cloud', 'cockroach', 'couch', 'crab', 'crocodile', 'cup', 'dinosaur',
    'dolphin', 'elephant', 'flatfish', 'forest', 'fox', 'girl', 'hamster', 'house', 'kangaroo', 'keyboard',
    'lamp', 'lawn_mower', 'leopard', 'lion', 'lizard', 'lobster', 'man', 'maple_tree', 'motorcycle', 'mountain',
    'mouse', 'mushroom', 'oak_tree', 'orange', 'orchid', 'otter', 'palm_tree', 'pear', 'pickup_truck', 'pine_tree',
    'plain', 'plate', 'poppy', 'porcupine', 'possum', 'rabbit', 'raccoon', 'ray', 'road', 'rocket',
    'rose', 'sea', 'seal', 'shark', 'shrew', 'skunk', 'skyscraper', 'snail', 'snake', 'spider',
    'squirrel', 'streetcar', 'sunflower', 'sweet_pepper', 'table', 'tank', 'telephone', 'television', 'tiger', 'tractor',
    'train', 'trout', 'tulip', 'turtle', 'wardrobe', 'whale', 'willow_tree', 'wolf', 'woman', 'worm',
  ],
  mean: [0.5071, 0.4865, 0.4409],
  std: [0.2673, 0.2564, 0.2762],
  flip: false,
  train: [
    { file: 'train.bin', rows: 50_000, sha256: 'f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29' },
  ],
  test: [
    { file: 'test.bin', rows: 10_000, sha256: 'd8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a' },
  ],
};

/** CIFAR-100: 50,000 training and 10,000 test photographs, 32×32, 100 fine classes. */
export const cifar100: DatasetSource<CifarOptions> = {
  name: 'cifar100',
  summary: 'CIFAR-100, 32×32 photographs in 100 classes (official binary files, fine labels)',
  paper: 'A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009',
  load: (options, context) => loadCifar(CIFAR100_FORMAT, options, context),
  locate: (options) => locateCifar(CIFAR100_FORMAT, options),
};
