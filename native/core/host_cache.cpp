#include "host_cache.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <fstream>
#include <limits>
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
// What a large network's steps ask for again and again fits; more gains nothing.
constexpr uint64_t kMostKept = uint64_t{4} << 30;

// One number in a file of the kernel's; no limit where it says "max", cannot be read or is no number.
uint64_t limit_in(const std::string& path) {
  std::ifstream file(path);
  uint64_t bytes = 0;
  return file >> bytes ? bytes : std::numeric_limits<uint64_t>::max();
}

uint64_t physical_memory() {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page <= 0) return std::numeric_limits<uint64_t>::max();
  return static_cast<uint64_t>(pages) * static_cast<uint64_t>(page);
}

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
  HostMemory memory{default_host_limit(usable_memory("/sys/fs/cgroup", "/proc/self/cgroup")), &c10::alloc_cpu};
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
      if (c.kept + found->second <= c.memory.limit) {
        c.kept += found->second;
        c.free_blocks[found->second].push_back(pointer);
        return;
      }
      c.sizes.erase(found);
    }
  }
  c10::free_cpu(pointer);
}

// What the cache keeps is memory the system could have given: a failure counts only when nothing is kept any more.
void* allocate(size_t bytes) {
  void* (*const from_system)(size_t) = [] {
    std::lock_guard<std::mutex> lock(cache().mutex);
    return cache().memory.allocate;
  }();
  try {
    return from_system(bytes);
  } catch (const std::exception&) {
    empty_host_cache();
    return from_system(bytes);
  }
}

void* take(size_t bytes) {
  if (bytes < kSmallest) return allocate(bytes);
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
  void* pointer = allocate(size);
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

// More than this is given back at once: the cache must not make a small machine swap, or a container be killed.
std::size_t default_host_limit(uint64_t usable) { return static_cast<std::size_t>(std::min(kMostKept, usable / 4)); }

HostMemory exchange_host_memory(HostMemory memory) {
  std::lock_guard<std::mutex> lock(cache().mutex);
  std::swap(cache().memory, memory);
  return memory;
}

uint64_t usable_memory(const std::string& cgroups, const std::string& own_groups) {
  uint64_t bytes = physical_memory();
  const auto lower = [&](const std::string& path) { bytes = std::min(bytes, limit_in(path)); };
  lower(cgroups + "/memory.max");
  lower(cgroups + "/memory/memory.limit_in_bytes");
  // In a container the root is the group itself; elsewhere the group lies below it, and every group above counts too.
  std::ifstream file(own_groups);
  for (std::string line; std::getline(file, line);) {  // "0::/path" in version 2, "4:memory:/path" in version 1
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const auto controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(",memory,") == std::string::npos) continue;
    for (auto group = line.substr(second + 1); group.size() > 1; group.resize(group.rfind('/'))) {
      lower(cgroups + (unified ? group + "/memory.max" : "/memory" + group + "/memory.limit_in_bytes"));
      if (group.find('/') == std::string::npos) break;
    }
  }
  return bytes;
}

std::size_t host_cache_bytes() {
  std::lock_guard<std::mutex> lock(cache().mutex);
  return cache().kept;
}

}  // namespace padft
