// PyTorch's optimisers, one tensor at a time: in place, without gradients, and without waiting for the device.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

namespace padft {

/// SGD: g ← g + wd·w, v ← μ·v + g, w ← w − lr·v. Overwrites `gradient`.
inline void sgd_step(const at::Tensor& weights, const at::Tensor& momentum, const at::Tensor& gradient,
                     double learning_rate, double momentum_factor, double weight_decay) {
  at::NoGradGuard no_grad;
  momentum.mul_(momentum_factor).add_(gradient.add_(weights, weight_decay));
  weights.add_(momentum, -learning_rate);
}

/// Adam (Kingma and Ba, ICLR 2015) with PyTorch's β₁ = 0.9, β₂ = 0.999, ε = 1e-8; `first` and `second` are its moments
/// and `step` counts from 1.
inline void adam_step(const at::Tensor& weights, const at::Tensor& first, const at::Tensor& second,
                      const at::Tensor& gradient, int64_t step, double learning_rate) {
  constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
  at::NoGradGuard no_grad;
  first.mul_(kBeta1).add_(gradient, 1 - kBeta1);
  second.mul_(kBeta2).addcmul_(gradient, gradient, 1 - kBeta2);
  const auto count = static_cast<double>(step);
  const double correction1 = 1 - std::pow(kBeta1, count), correction2 = 1 - std::pow(kBeta2, count);
  const auto denominator = (second / correction2).sqrt_().add_(kEpsilon);
  weights.addcdiv_(first, denominator, -learning_rate / correction1);
}

}  // namespace padft
