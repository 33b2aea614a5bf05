import { type CifarOptions, loadCifar, locateCifar } from './cifar.js';
import type { CifarFormat } from './cifar-format.js';
import type { DatasetSource } from './dataset-source.js';

const ROWS = 10_000;

/** The binary version, as its author publishes it. */
export const CIFAR10_FORMAT: CifarFormat = {
  name: 'cifar10',
  url: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
  archive: {
    file: 'cifar-10-binary.tar.gz',
    bytes: 170_052_171,
    sha256: 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
  },
  folder: 'cifar-10-batches-bin',
  labelBytes: 1,
  labelIndex: 0,
  classNames: ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'],
  mean: [0.4914, 0.4822, 0.4465],
  std: [0.247, 0.243, 0.261],
  flip: true,
  train: [
    {
      file: 'data_batch_1.bin',
      rows: ROWS,
      sha256: 'cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5',
    },
    {
      file: 'data_batch_2.bin',
      rows: ROWS,
      sha256: 'a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed',
    },
    {
      file: 'data_batch_3.bin',
      rows: ROWS,
      sha256: 'bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67',
    },
    {
      file: 'data_batch_4.bin',
      rows: ROWS,
      sha256: '014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48',
    },
    {
      file: 'data_batch_5.bin',
      rows: ROWS,
      sha256: '755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add',
    },
  ],
  test: [
    { file: 'test_batch.bin', rows: ROWS, sha256: '8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b' },
  ],
};

/** CIFAR-10: 50,000 training and 10,000 test photographs, 32×32, 10 classes. */
export const cifar10: DatasetSource<CifarOptions> = {
  name: 'cifar10',
  summary: 'CIFAR-10, 32×32 photographs in 10 classes (official binary files)',
  paper: 'A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009',
  load: (options, context) => loadCifar(CIFAR10_FORMAT, options, context),
  locate: (options) => locateCifar(CIFAR10_FORMAT, options),
};
