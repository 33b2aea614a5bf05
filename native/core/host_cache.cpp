#include "host_cache.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#if __has_include(<torch/headeronly/version.h>)
#include <torch/headeronly/version.h>
#else
#include <torch/version.h>
#endif

namespace padft {
namespace {

// Small blocks are glibc's business; it is fast there.
constexpr size_t kSmallest = size_t{1} << 16;
// More than this is given back at once: the cache must not make a small machine swap.
constexpr size_t kLimit = size_t{4} << 30;

// Sizes are rounded up to an eighth of their power of two, so that nearly equal sizes share blocks.
size_t size_class(size_t bytes) {
  size_t power = kSmallest;
  while (power * 2 <= bytes) power *= 2;
  const size_t grain = power / 8;
  return (bytes + grain - 1) / grain * grain;
}

struct Cache {
  std::mutex mutex;
  std::unordered_map<size_t, std::vector<void*>> free_blocks;
  std::unordered_map<void*, size_t> sizes;  // of every block handed out or kept
  size_t kept = 0;
};

// Never destroyed: tensors may outlive every static object at exit.
Cache& cache() {
  static Cache* instance = new Cache;
  return *instance;
}

void release(void* pointer) {
  if (!pointer) return;
  auto& c = cache();
  {
    std::lock_guard<std::mutex> lock(c.mutex);
    const auto found = c.sizes.find(pointer);
    if (found != c.sizes.end()) {
      if (c.kept + found->second <= kLimit) {
        c.kept += found->second;
        c.free_blocks[found->second].push_back(pointer);
        return;
      }
      c.sizes.erase(found);
    }
  }
  c10::free_cpu(pointer);
}

void* take(size_t bytes) {
  if (bytes < kSmallest) return c10::alloc_cpu(bytes);
  const size_t size = size_class(bytes);
  auto& c = cache();
  {
    std::lock_guard<std::mutex> lock(c.mutex);
    auto& blocks = c.free_blocks[size];
    if (!blocks.empty()) {
      void* pointer = blocks.back();
      blocks.pop_back();
      c.kept -= size;
      return pointer;
    }
  }
  void* pointer = c10::alloc_cpu(size);
  std::lock_guard<std::mutex> lock(c.mutex);
  c.sizes[pointer] = size;
  return pointer;
}

class CachingAllocator final : public c10::Allocator {
 public:
#if TORCH_VERSION_MAJOR >= 2
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 3
  c10::DataPtr allocate(size_t bytes) override { return make(bytes); }
  void copy_data(void* target, const void* source, size_t count) const override { std::memcpy(target, source, count); }
#else
  c10::DataPtr allocate(size_t bytes) const override { return make(bytes); }
#endif
#else
  c10::DataPtr allocate(size_t bytes) const override { return make(bytes); }
#endif
  c10::DeleterFnPtr raw_deleter() const override { return &release; }

 private:
  static c10::DataPtr make(size_t bytes) {
    void* pointer = bytes == 0 ? nullptr : take(bytes);
    return {pointer, pointer, &release, c10::Device(c10::DeviceType::CPU)};
  }
};

}  // namespace

void install_host_cache() {
  static const bool installed = [] {
    static auto* allocator = new CachingAllocator;
    c10::SetCPUAllocator(allocator, /*priority=*/100);
    return true;
  }();
  (void)installed;
}

void empty_host_cache() {
  auto& c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  for (auto& [size, blocks] : c.free_blocks) {
    for (void* pointer : blocks) {
      c.sizes.erase(pointer);
      c10::free_cpu(pointer);
    }
  }
  c.free_blocks.clear();
  c.kept = 0;
}

std::size_t host_cache_bytes() {
  std::lock_guard<std::mutex> lock(cache().mutex);
  return cache().kept;
}

}  // namespace padft
