// A caching allocator for host tensors. glibc gives every large tensor back to the kernel as soon as it is freed, and
// takes it again page by page: at batch 128 a forward pass paid 168,000 page faults. A step asks for the same sizes
// again and again, so freed blocks are kept by size and handed out again.
#pragma once

#include <cstddef>

namespace padft {

/// Puts the cache in front of libtorch's host allocator, once per process. Blocks taken before are unaffected.
void install_host_cache();

/// Gives every block that is not in use back to the system.
void empty_host_cache();

/// Bytes kept for reuse now.
std::size_t host_cache_bytes();

}  // namespace padft
