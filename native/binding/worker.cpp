#include "worker.h"

#include <ATen/Parallel.h>

#include <chrono>

namespace padft::binding {

Worker& Worker::instance() {
  static auto* worker = new Worker;
  return *worker;
}

Worker::Worker() { std::thread([this] { loop(); }).detach(); }

void Worker::set_threads(int count) {
  std::lock_guard<std::mutex> lock(mutex_);
  threads_ = count;
}

void Worker::submit(std::shared_ptr<Job> job) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Worker::loop() {
  int applied = 0;
  for (;;) {
    std::shared_ptr<Job> job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      running_.reset();
      idle_.notify_all();
      wake_.wait(lock, [&] { return !waiting_.empty(); });
      job = running_ = waiting_.front();
      waiting_.pop_front();
      // Thread counts are set on the thread that computes, before its first operation.
      if (threads_ > 0 && threads_ != applied) at::set_num_threads(applied = threads_);
    }
    job->run();
    job->run = nullptr;  // lets go of what the job held before anybody sees the worker idle
  }
}

void Worker::cancel_and_wait(const void* owner, double seconds) {
  const auto concerns = [owner](const std::shared_ptr<Job>& job) { return job && job->owner == owner; };
  std::unique_lock<std::mutex> lock(mutex_);
  for (auto& job : waiting_) {
    if (concerns(job)) job->control->cancelled = true;
  }
  if (concerns(running_)) running_->control->cancelled = true;
  idle_.wait_for(lock, std::chrono::duration<double>(seconds), [&] {
    for (auto& job : waiting_) {
      if (concerns(job)) return false;
    }
    return !concerns(running_);
  });
}

}  // namespace padft::binding
