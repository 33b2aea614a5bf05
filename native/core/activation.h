// The two nonlinear steps of the network: batch norm + ReLU while training, and a clip site (ReLU with bounds) in
// evaluation. On the CPU in float32 both are one fused pass; elsewhere they are libtorch's own operations.
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
/// [C]-shaped bounds; `mean_out`, when given, receives m [N, C] (before the mean bound).
at::Tensor clip_site(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift,
                        const SiteBounds& bounds, at::Tensor* mean_out = nullptr);

}  // namespace padft
