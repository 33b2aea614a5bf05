// Convolutions with what follows them, in evaluation. On x86 oneDNN applies a ReLU or adds to the output while it is
// still in registers: each would otherwise be a pass over memory, and in bfloat16 those cost half as much as the
// convolutions. Elsewhere, with gradients, and where libtorch does not have it, they are libtorch's own operations.
#pragma once

#include <ATen/ATen.h>

namespace padft {

/// max(0, x ∗ weight + bias). x [N, I, H, W], weight [O, I, 3, 3] with zero padding, bias [O], all of one type.
at::Tensor conv_relu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride);

/// sum + x ∗ weight. weight [O, I, 3, 3] with zero padding and stride 1. `sum` may be overwritten.
at::Tensor add_conv(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight);

}  // namespace padft
