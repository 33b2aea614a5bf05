#include "device_info.h"

#include <ATen/Version.h>
#include <torch/cuda.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>

#include "control.h"
#include "error.h"
#include "trainer.h"

#if __has_include(<torch/headeronly/version.h>)
#include <torch/headeronly/version.h>
#else
#include <torch/version.h>
#endif

#ifdef PADFT_WITH_CUDA_GRAPHS
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>
#endif

namespace padft {

std::string torch_version() { return TORCH_VERSION; }

bool cuda_built() {
#ifdef PADFT_LIBTORCH_HAS_CUDA
  return true;
#else
  return false;
#endif
}

std::vector<CudaDevice> cuda_devices() {
  std::vector<CudaDevice> devices;
  for (int64_t i = 0; i < static_cast<int64_t>(torch::cuda::device_count()); ++i) {
    CudaDevice device{i, "CUDA device", 0, true};
#ifdef PADFT_WITH_CUDA_GRAPHS
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, static_cast<int>(i)) == cudaSuccess) {
      device.name = properties.name;
      device.total_bytes = static_cast<int64_t>(properties.totalGlobalMem);
      device.bf16 = properties.major >= 8;
    }
#endif
    devices.push_back(device);
  }
  return devices;
}

std::string cuda_problem() {
  if (torch::cuda::device_count() > 0) return "";
  if (!cuda_built()) return "this libtorch was built without CUDA";
  try {
    at::empty({1}, at::TensorOptions().device(at::kCUDA));
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    return text.substr(0, text.find('\n'));
  }
  return "no CUDA device answers";
}

// Read from the configuration's text, where every libtorch says it; at::get_cpu_capability() is younger than 1.13.
std::string cpu_capability() {
  const std::string config = at::show_config(), key = "CPU capability usage: ";
  const auto found = config.find(key);
  if (found == std::string::npos) return "unknown";
  const auto start = found + key.size();
  return config.substr(start, config.find('\n', start) - start);
}

bool cpu_has_bf16() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

namespace {

// `VmRSS:   123 kB` of /proc/self/status, in bytes; 0 where there is no /proc.
int64_t process_field(const std::string& key) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind(key, 0) != 0) continue;
    std::istringstream rest(line.substr(key.size()));
    int64_t kilobytes = 0;
    rest >> kilobytes;
    return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

MemoryUse memory_use(at::Device device, bool reset) {
  MemoryUse use;
  if (device.is_cpu()) {
    use = {process_field("VmRSS:"), process_field("VmHWM:")};
    if (reset) std::ofstream("/proc/self/clear_refs") << "5";
    return use;
  }
#ifdef PADFT_WITH_CUDA_GRAPHS
  const auto index = device.index();
  at::empty({1}, at::TensorOptions().device(device));  // the allocator knows no device before the first allocation
  const auto statistics = c10::cuda::CUDACachingAllocator::getDeviceStats(index);
  constexpr auto kAll = 0;  // StatType::AGGREGATE
  use = {statistics.allocated_bytes[kAll].current, statistics.allocated_bytes[kAll].peak};
  if (reset) c10::cuda::CUDACachingAllocator::resetPeakStats(index);
#endif
  return use;
}

namespace {

bool has_bf16(at::Device device) {
  if (device.is_cpu()) return cpu_has_bf16();
  const auto devices = cuda_devices();
  const auto index = static_cast<size_t>(std::max<int64_t>(device.index(), 0));
  return index < devices.size() && devices[index].bf16;
}

}  // namespace

double self_test(at::Device device) {
  NetworkOptions options;
  options.classes = 4;
  options.width = 4;
  options.mean = options.std = {0.5, 0.5, 0.5};
  const std::shared_ptr<Network> network = make_network("preact-resnet18", options, device);
  // On CUDA an epoch of more than six full batches: its steps are recorded then, and a driver may fail at that alone.
  const int64_t rows = device.is_cuda() ? 64 : 8;
  const auto images = at::randint(0, 256, {rows, 3, 32, 32}, at::TensorOptions().dtype(at::kByte)).to(device);
  const Dataset data(images, at::arange(rows, at::kLong).remainder(4).to(device), 4);
  Trainer trainer(network, {});
  EpochOptions epoch;
  epoch.batch_size = 8;
  if (has_bf16(device)) epoch.precision = Precision::bf16;
  const Control control;
  const auto start = std::chrono::steady_clock::now();
  trainer.epoch(data, epoch, control);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace padft
