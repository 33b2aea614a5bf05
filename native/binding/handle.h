// What a JavaScript handle holds, and who may use it when. A data set may be read by any number of jobs; a model,
// and whatever works on one, takes one job at a time. Disposing of something in use is refused, twice is harmless.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "core/error.h"

namespace padft::binding {

class Slot {
 public:
  explicit Slot(std::string kind) : kind_(std::move(kind)) {}

  void acquire(bool exclusive) {
    std::lock_guard<std::mutex> lock(mutex_);
    require(!disposed_, "ERR_DISPOSED", "the ", kind_, " was disposed; make or load another");
    require(!exclusive_ && !(exclusive && users_ > 0), "ERR_BUSY", "the ", kind_,
            " is used by another call; await that call first");
    ++users_;
    exclusive_ = exclusive;
  }
  void release() {
    std::lock_guard<std::mutex> lock(mutex_);
    --users_;
    exclusive_ = false;
  }
  /// Throws ERR_DISPOSED; for calls that only read fixed properties.
  void check_alive() {
    std::lock_guard<std::mutex> lock(mutex_);
    require(!disposed_, "ERR_DISPOSED", "the ", kind_, " was disposed; make or load another");
  }
  bool disposed() {
    std::lock_guard<std::mutex> lock(mutex_);
    return disposed_;
  }
  /// True while a job uses it.
  bool busy() {
    std::lock_guard<std::mutex> lock(mutex_);
    return users_ > 0;
  }
  /// True the first time. Throws ERR_BUSY while a job uses it.
  bool dispose() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (disposed_) return false;
    require(users_ == 0, "ERR_BUSY", "the ", kind_, " is used by a running call and cannot be disposed; await or abort that call first");
    disposed_ = true;
    return true;
  }

 private:
  std::string kind_;
  std::mutex mutex_;
  int users_ = 0;
  bool exclusive_ = false, disposed_ = false;
};

/// Holds a slot for the length of a job.
class Hold {
 public:
  Hold(std::shared_ptr<Slot> slot, bool exclusive) : slot_(std::move(slot)) { slot_->acquire(exclusive); }
  Hold(Hold&& other) noexcept = default;
  Hold& operator=(Hold&&) = delete;
  Hold(const Hold&) = delete;
  ~Hold() {
    if (slot_) slot_->release();
  }

 private:
  std::shared_ptr<Slot> slot_;
};

}  // namespace padft::binding
