import { realpathSync } from 'node:fs';

/**
 * The libraries this process has mapped that decide what libtorch does: itself, OpenMP, BLAS, oneDNN, CUDA.
 * @returns {string[]} absolute paths
 */
export function torchLibraries() {
  const shared = process.report?.getReport().sharedObjects ?? [];
  return (
    shared
      .filter((path) => /lib(torch|c10|gomp|iomp|omp|cud|cublas|nvrtc|mkl|openblas|blas|dnnl)[^/]*$/.test(path))
      // Debian's libblas.so.3 is a link to the one that is installed: the reference, OpenBLAS, …
      .map((path) => (/libblas\.so[^/]*$/.test(path) ? realpathSync(path) : path))
  );
}
