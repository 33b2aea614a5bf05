import { basename, dirname } from 'node:path';
import type { DoctorProblem } from './report.js';

/** Debian's libblas.so.3 is the reference implementation unless another one was installed. Null when it is not among these. */
export function referenceBlas(libraries: readonly string[]): DoctorProblem | null {
  const blas = libraries.find((path) => /^libblas\.so/.test(basename(path)));
  if (blas === undefined || !dirname(blas).endsWith('/blas')) return null;
  return {
    severity: 'warning',
    what: 'libtorch uses the reference BLAS, whose matrix products are some thirty times slower.',
    todo: 'sudo apt-get install libopenblas0-pthread',
  };
}
