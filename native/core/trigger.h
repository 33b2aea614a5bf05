// The image kernels that draw every attack's trigger on raw uint8 pixels, before any augmentation or normalisation;
// the result is clipped to [0, 255] and truncated, as BackdoorBench does.
#pragma once

#include <ATen/ATen.h>

#include "dataset.h"
#include "random.h"

namespace padft {

struct Trigger {
  enum class Kind { replace, blend, add, warp };
  Kind kind = Kind::replace;
  double alpha = 0;      ///< blend: weight of the pattern, in [0, 1]
  at::Tensor pattern;    ///< C×H×W: uint8 (replace, blend) or float32 (add)
  at::Tensor mask;       ///< replace: uint8 C×H×W, 1 where the pattern shows
  at::Tensor grid;       ///< warp: float32 H×W×2, where each pixel is taken from (see `warp`)
};

/// Bilinear sampling. `images`: float32 or float64 [N, C, H, W]. `grid`: float32 [1 or N, H, W, 2], x and y in [−1, 1],
/// where −1 and 1 are the centres of the outermost pixels (`align_corners`), so nothing outside is ever sampled.
/// Interpolates along x, then along y, one rounding per operation: equal neighbours give back their value to the bit, and
/// every device gives the same. Throws ERR_DATA when the grid does not fit the images or leaves [−1, 1].
at::Tensor warp(const at::Tensor& images, const at::Tensor& grid);

/// WaNet's noise: `count` grids, each coordinate `grid` + U(−1, 1) / (W or H), clamped to [−1, 1]; drawn on the host.
at::Tensor noise_grids(const at::Tensor& grid, int64_t count, Stream& stream);

/// N×C×H×W uint8 → the same with the trigger on every image. Arithmetic in double, one rounding per operation, so
/// the bytes equal NumPy's `((1 − α)·x + α·T).clip(0, 255).astype(uint8)` on every device. A warp's result counts as a
/// whole level from 1/1024 below it: the grid is float32, and a pixel that stays where it is must not lose a level.
at::Tensor apply_trigger(const at::Tensor& images, const Trigger& trigger);

/// A copy of `data` in which the rows at `rows` carry the trigger and the labels given; all other rows are the same
/// bytes. Throws ERR_DATA on a bad row, a bad label or a pattern whose shape is not the images'.
Dataset with_trigger(const Dataset& data, const std::vector<int64_t>& rows, const Trigger& trigger,
                     const std::vector<int64_t>& labels);

/// A copy of `data` in which each of `rows` is warped by a noise grid of its own, drawn from `seed` in the order of the
/// rows; labels stay. Throws ERR_DATA on a bad row or grid.
Dataset with_noise_warp(const Dataset& data, const std::vector<int64_t>& rows, const at::Tensor& grid, uint64_t seed);

}  // namespace padft
