// What the network does between its convolutions: batch norm + ReLU while training, and a clip site (ReLU with bounds)
// in evaluation. On the CPU each is one fused pass in float32, the site in bfloat16 too; elsewhere they are libtorch's own
// operations.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace padft {

/// Training-mode batch norm followed by ReLU. x [N, C, H, W]; weight, bias, running statistics [C] float32.
/// Updates the running statistics (momentum 0.1, unbiased variance), as PyTorch does.
at::Tensor batch_norm_relu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              at::Tensor& running_mean, at::Tensor& running_var);

/// Bounds of one clip site; an undefined tensor does not bound. [C] for every image, or [N, C] one row an image.
struct SiteBounds {
  at::Tensor max;   ///< a ← min(a, max)                          (paper, section III-B)
  at::Tensor mean;  ///< a ← a · min(1, mean / m), m the map's mean after `max`
};

/// ReLU(x·scale + shift) under the bounds. `scale`/`shift` [C] may be undefined (1 and 0). Differentiable in x and in
/// [C]-shaped bounds; `mean_out`, when given, receives m [N, C] float32 (before the mean bound). With `in_place` x may be
/// overwritten, where nothing needs its gradient.
at::Tensor clip_site(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift,
                        const SiteBounds& bounds, at::Tensor* mean_out = nullptr, bool in_place = false);

/// (images − mean) / deviation as `type`, channels-last. images [N, C, H, W] float32; mean, deviation [C] float32.
at::Tensor normalise(const at::Tensor& images, const at::Tensor& mean, const at::Tensor& deviation,
                     at::ScalarType type);

}  // namespace padft
