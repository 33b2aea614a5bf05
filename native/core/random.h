// Random draws that are the same on every platform, device and libtorch version: the standard fixes mt19937_64's
// output, and the distributions here are ours. Every draw is made on the host, so a CUDA run sees the same order,
// crops and flips as a CPU run.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace padft {

class Stream {
 public:
  explicit Stream(uint64_t seed) : engine_(seed) {}

  /// Uniform in [0, 1) with 53 bits.
  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }

  /// Uniform integer in [0, bound), by rejection.
  uint64_t below(uint64_t bound) {
    const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    for (;;) {
      const uint64_t draw = engine_();
      if (draw < limit) return draw % bound;
    }
  }

  /// Beta(shape, shape) in [0, 1], by Jöhnk's rejection: quick for shapes up to 2 or so.
  double beta(double shape) {
    for (;;) {
      const double x = std::pow(uniform(), 1 / shape), y = std::pow(uniform(), 1 / shape);
      if (x + y > 0 && x + y <= 1) return x / (x + y);
    }
  }

  /// A uniformly random permutation of 0 … count − 1 (Fisher–Yates).
  std::vector<int64_t> permutation(int64_t count) {
    std::vector<int64_t> order(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) order[i] = i;
    for (int64_t i = count - 1; i > 0; --i) std::swap(order[i], order[below(static_cast<uint64_t>(i) + 1)]);
    return order;
  }

 private:
  std::mt19937_64 engine_;
};

/// Endless mini-batches over [0, count): a fresh permutation each pass, no row twice inside a pass.
class BatchCycle {
 public:
  BatchCycle(int64_t count, uint64_t seed) : count_(count), stream_(seed) {}

  std::vector<int64_t> next(int64_t size) {
    std::vector<int64_t> rows;
    rows.reserve(static_cast<size_t>(size));
    while (static_cast<int64_t>(rows.size()) < size) {
      if (position_ >= order_.size()) {
        order_ = stream_.permutation(count_);
        position_ = 0;
      }
      rows.push_back(order_[position_++]);
    }
    return rows;
  }

 private:
  int64_t count_;
  Stream stream_;
  std::vector<int64_t> order_;
  size_t position_ = 0;
};

}  // namespace padft
