// A training's loss, looked at now and then: each look waits for the device.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>

#include "error.h"

namespace padft {

/// The host's looks at the sum of an epoch's losses.
class LossWatch {
 public:
  /// `sum`: a scalar that the steps add their loss to. `what` and `option` are for the message: the loss, and the option
  /// to lower, which is `rate` now.
  LossWatch(const at::Tensor& sum, std::string what, std::string option, double rate, int64_t steps)
      : sum_(sum), what_(std::move(what)), option_(std::move(option)), rate_(rate), steps_(steps) {}

  /// After `done` steps: looks after every hundredth and the last. Throws ERR_NUMERIC when the sum is no number.
  void after(int64_t done) const {
    if (done % kInterval != 0 && done != steps_) return;
    require(std::isfinite(sum_.item<double>()), "ERR_NUMERIC", what_, " is NaN or infinite by step ", done, " of ", steps_,
            "; lower ", option_, " (it is ", rate_, ")");
  }

 private:
  static constexpr int64_t kInterval = 100;
  at::Tensor sum_;
  std::string what_, option_;
  double rate_;
  int64_t steps_;
};

}  // namespace padft
