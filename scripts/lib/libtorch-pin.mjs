/**
 * The libtorch this project provides when the machine has none: PyTorch's CPU wheel, pinned by size and SHA-256.
 * The wheel of CPython 3.11 is used on every machine; only its C++ libraries and headers are unpacked, and
 * those do not depend on Python.
 */
export const PROVIDED_VERSION = '2.13.0';

/** One entry per `<platform>-<arch>` of Node. */
export const PROVIDED_WHEELS = Object.freeze({
  'linux-x64': Object.freeze({
    file: 'torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl',
    url: 'https://download.pytorch.org/whl/cpu/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl',
    bytes: 191_794_682,
    sha256: '6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b',
    /** PyPI's own 2.13.0 is the CUDA build; the local version `+cpu` names the one wanted. */
    requirement: 'torch==2.13.0+cpu',
    pip: Object.freeze([
      '--python-version',
      '3.11',
      '--implementation',
      'cp',
      '--abi',
      'cp311',
      '--platform',
      'manylinux_2_28_x86_64',
    ]),
    /** Oldest glibc the libraries run on. */
    glibc: '2.28',
    unpackedBytes: 500_000_000,
  }),
});
