// What this machine and this libtorch are: for `pad-ft doctor`, run cards and memory figures.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

namespace padft {

struct CudaDevice {
  int64_t index;
  std::string name;
  int64_t total_bytes;  ///< 0 when this build cannot ask
  /// Compute capability 8.0 and newer: older ones convolve in bfloat16 slowly or not at all. True when it cannot be asked.
  bool bf16;
};

std::string torch_version();
bool cuda_built();
std::vector<CudaDevice> cuda_devices();
/// Why no CUDA device answers, in libtorch's words; empty when one does.
std::string cuda_problem();
/// The vector instructions libtorch's CPU kernels were chosen for, in its words: AVX2, AVX512, …
std::string cpu_capability();
bool cpu_has_bf16();

struct MemoryUse {
  int64_t current = 0;
  int64_t peak = 0;
};

/// CPU: the process's resident set. CUDA: bytes of live tensors. `reset` starts the peak anew.
MemoryUse memory_use(at::Device device, bool reset);

/// An epoch of a few rows, in bfloat16 where training is in that by itself; milliseconds.
double self_test(at::Device device);

}  // namespace padft
