// The image kernels that draw every attack's trigger on raw uint8 pixels, before any augmentation or normalisation;
// the result is clipped to [0, 255] and truncated, as BackdoorBench does.
#pragma once

#include <ATen/ATen.h>

#include "dataset.h"

namespace padft {

struct Trigger {
  enum class Kind { replace, blend, add };
  Kind kind = Kind::replace;
  double alpha = 0;      ///< blend: weight of the pattern, in [0, 1]
  at::Tensor pattern;    ///< C×H×W: uint8 (replace, blend) or float32 (add)
  at::Tensor mask;       ///< replace: uint8 C×H×W, 1 where the pattern shows
};

/// N×C×H×W uint8 → the same with the trigger on every image. Arithmetic in double, one rounding per operation, so
/// the bytes equal NumPy's `((1 − α)·x + α·T).clip(0, 255).astype(uint8)` on every device.
at::Tensor apply_trigger(const at::Tensor& images, const Trigger& trigger);

/// A copy of `data` in which the rows at `rows` carry the trigger and the labels given; all other rows are the same
/// bytes. Throws ERR_DATA on a bad row, a bad label or a pattern whose shape is not the images'.
Dataset with_trigger(const Dataset& data, const std::vector<int64_t>& rows, const Trigger& trigger,
                     const std::vector<int64_t>& labels);

}  // namespace padft
