// The one thread that computes. libtorch's settings (precision, threads) are global to the process and its OpenMP
// teams belong to the calling thread, so all jobs of a process run here, one after another, never on the JavaScript
// thread (Ctrl-C would wait) and never in libuv's pool (file reads would starve).
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "core/control.h"

namespace padft::binding {

struct Job {
  std::shared_ptr<Control> control = std::make_shared<Control>();
  std::function<void()> run;   ///< computes; must not throw
  const void* owner = nullptr;  ///< the addon instance (one per Node environment) it belongs to
};

class Worker {
 public:
  /// Never destroyed: the process may end while a batch is still being computed.
  static Worker& instance();

  void submit(std::shared_ptr<Job> job);
  /// Asks the jobs of `owner` to stop at their next batch, then waits up to `seconds` for them to end.
  void cancel_and_wait(const void* owner, double seconds);
  /// The number of threads the next job computes with; 0 leaves libtorch's choice.
  void set_threads(int count);

 private:
  Worker();
  void loop();

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::shared_ptr<Job> running_;
  int threads_ = 0;
};

}  // namespace padft::binding
