// From uint8 rows to the network's input: gather, crop, flip, colour, scale to [0, 1]. One pass, in channels-last.
#pragma once

#include <ATen/ATen.h>

#include "dataset.h"
#include "random.h"

namespace padft {

/// Where each row of an epoch comes from: one int64 [4, rows] tensor, so that a batch needs a single slice.
/// Row 0: data set row; 1, 2: offset of the crop (0 … 2·padding); 3: 1 when mirrored.
struct DrawPlan {
  at::Tensor table;
  int64_t padding = 0;

  /// Order and augmentation of one epoch, drawn on the host: the same on every device.
  static DrawPlan epoch(int64_t rows, int64_t padding, bool flip, Stream& stream, at::Device device);
};

/// Batch `table` ([4, B]) of the plan → float32 [B, C, H, W] in [0, 1], channels-last. Outside the image is black (0),
/// as a crop before normalisation gives.
at::Tensor gather_augmented(const Dataset& data, const at::Tensor& table, int64_t padding);

/// Rows [B] as they are → float32 [B, C, H, W] in [0, 1], channels-last.
at::Tensor gather(const Dataset& data, const at::Tensor& rows);

/// Brightness then contrast on images in [0, 1], as torchvision's functional transforms: x ← clamp(b·x), then
/// x ← clamp(c·x + (1 − c)·mean(grey(x))). Factors are float32 [B].
at::Tensor adjust_colour(const at::Tensor& images, const at::Tensor& brightness, const at::Tensor& contrast);

}  // namespace padft
