/** Absolute paths of the libtorch, OpenMP, BLAS, oneDNN and CUDA libraries this process has mapped. */
export function torchLibraries(): string[];
