// A caching allocator for host tensors. glibc gives every large tensor back to the kernel as soon as it is freed, and
// takes it again page by page: at batch 128 a forward pass paid 168,000 page faults. A step asks for the same sizes
// again and again, so freed blocks are kept by size and handed out again: at most 4 GiB, and at most a quarter of what
// the process may use. When the system refuses an allocation, everything kept is given back and it is asked once more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace padft {

/// Puts the cache in front of libtorch's host allocator, once per process. Blocks taken before are unaffected.
void install_host_cache();

/// Gives every block that is not in use back to the system.
void empty_host_cache();

/// Bytes kept for reuse now.
std::size_t host_cache_bytes();

/// Bytes of memory that the process may use: the machine's, or less where a control group says so.
///
/// @param cgroups where control groups are mounted, of version 2 (`memory.max`) or 1 (`memory.limit_in_bytes`)
/// @param own_groups the file that names the process's own group; it need not be there
uint64_t usable_memory(const std::string& cgroups, const std::string& own_groups);

/// How much the cache keeps by default where the process may use this many bytes: a quarter, and 4 GiB at most.
std::size_t default_host_limit(uint64_t usable);

/// How much the cache keeps at most, in bytes, and where its blocks come from. `allocate` throws when it cannot, and
/// what it gives is freed by c10::free_cpu.
struct HostMemory {
  std::size_t limit;
  void* (*allocate)(std::size_t bytes);
};

/// Puts others in place and gives the former ones; for tests, which cannot run out of memory otherwise.
HostMemory exchange_host_memory(HostMemory memory);

}  // namespace padft
