/**
 * The libraries this process has mapped that decide what libtorch does: itself, OpenMP, BLAS, oneDNN, CUDA.
 * @returns {string[]} absolute paths
 */
export function torchLibraries() {
  const shared = process.report?.getReport().sharedObjects ?? [];
  return shared.filter((path) =>
    /lib(torch|c10|gomp|iomp|omp|cud|cublas|nvrtc|mkl|openblas|blas|dnnl)[^/]*$/.test(path),
  );
}
