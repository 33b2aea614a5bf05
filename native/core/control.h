// How a long computation is watched and stopped from outside, without knowing who watches.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "error.h"

namespace padft {

struct Control {
  std::atomic<bool> cancelled{false};
  /// Called from the computing thread with (done, total); may be empty.
  std::function<void(int64_t, int64_t)> on_progress;

  /// Call once a batch: throws ERR_ABORTED when somebody asked to stop.
  void check() const {
    if (cancelled.load(std::memory_order_relaxed)) fail("ERR_ABORTED", "the computation was stopped on request");
  }
  void report(int64_t done, int64_t total) const {
    if (on_progress) on_progress(done, total);
  }
};

}  // namespace padft
