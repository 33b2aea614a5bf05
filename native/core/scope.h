// Settings of libtorch that are global to the process, held for the length of one job. Jobs run one at a time.
#pragma once

#include <ATen/Context.h>

#include "../models/network.h"
#include "error.h"

namespace padft {

/// Switches TensorFloat-32 on except in `fp32`, and cuDNN's search for the fastest algorithm on while
/// training (`search`). Restores both.
class PrecisionScope {
 public:
  explicit PrecisionScope(Precision precision, bool search = false)
      : matmul_(at::globalContext().allowTF32CuBLAS()),
        cudnn_(at::globalContext().allowTF32CuDNN()),
        search_(at::globalContext().benchmarkCuDNN()) {
    at::globalContext().setAllowTF32CuBLAS(precision != Precision::fp32);
    at::globalContext().setAllowTF32CuDNN(precision != Precision::fp32);
    at::globalContext().setBenchmarkCuDNN(search);
  }
  ~PrecisionScope() {
    at::globalContext().setAllowTF32CuBLAS(matmul_);
    at::globalContext().setAllowTF32CuDNN(cudnn_);
    at::globalContext().setBenchmarkCuDNN(search_);
  }
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  bool matmul_, cudnn_, search_;
};

/// Throws ERR_DATA without rows or with other channels than the network's, ERR_MODEL for other classes, ERR_DEVICE
/// elsewhere than on its device.
void require_fit(const Network& network, const class Dataset& data);

}  // namespace padft
