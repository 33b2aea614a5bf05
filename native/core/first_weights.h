// What the layers of a new network start from.
#pragma once

#include <ATen/ATen.h>

#include <cmath>

#include "random.h"

namespace padft {

/// PyTorch's default for weights and biases alike: U(±1/√inputs), `inputs` those of one output. float32, on the host.
inline at::Tensor first_weights(at::IntArrayRef shape, int64_t inputs, Stream& stream) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(inputs));
  auto values = at::empty(shape);
  auto* out = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) out[i] = static_cast<float>(stream.uniform(-bound, bound));
  return values;
}

}  // namespace padft
