// Fused loops over channels-last maps on the CPU, in float32 and, in evaluation, bfloat16. libtorch runs batch norm, ReLU
// and clipping as separate passes over memory; at 32×32 those passes cost as much as the convolutions of a thin network.
// Pointers are [rows, channels] with channels contiguous (N·H·W rows). Results do not depend on the number of threads:
// work is cut into a fixed number of chunks and reduced in order.
#pragma once

#include <cstdint>

namespace padft::kernels {

/// A bfloat16 by its bits, laid out as libtorch's. Arithmetic on it is float32's, rounded once at the end.
struct Bfloat16 {
  uint16_t bits;
};

/// y = max(0, x·scale + shift), with per-channel mean and inverse deviation of x over all rows (biased variance)
/// written to `mean`, `inv_std` and `variance`. scale = weight·inv_std, shift = bias − mean·scale.
void batch_norm_relu_forward(const float* x, float* y, int64_t rows, int64_t channels, const float* weight,
                             const float* bias, float eps, float* mean, float* variance, float* inv_std);

/// Gradients of the above: dx, and dweight, dbias summed over the rows. The ReLU's sign is recomputed from x.
void batch_norm_relu_backward(const float* x, const float* dy, float* dx, int64_t rows, int64_t channels,
                              const float* weight, const float* bias, const float* mean, const float* inv_std,
                              float* dweight, float* dbias);

/// One clip site in evaluation. All pointers but x, y may be null.
struct SiteArguments {
  const float* scale = nullptr;      ///< [channels]: x·scale + shift before the ReLU
  const float* shift = nullptr;
  const float* max_bound = nullptr;  ///< [channels], or [images, channels] when `max_per_image`
  const float* mean_bound = nullptr;
  bool max_per_image = false;
  bool mean_per_image = false;
};

/// a = min(max(0, x·scale + shift), max_bound); with m the mean of a over the image, y = a · min(1, mean_bound / m).
/// `means` ([images, channels], may be null) receives m. x and y may be the same memory.
void site_forward(const float* x, float* y, int64_t images, int64_t pixels, int64_t channels,
                  const SiteArguments& site, float* means);

void site_forward(const Bfloat16* x, Bfloat16* y, int64_t images, int64_t pixels, int64_t channels,
                  const SiteArguments& site, float* means);

/// y = (x − mean) / deviation, both [channels].
void normalise(const float* x, float* y, int64_t images, int64_t pixels, int64_t channels, const float* mean,
               const float* deviation);
void normalise(const float* x, Bfloat16* y, int64_t images, int64_t pixels, int64_t channels, const float* mean,
               const float* deviation);

/// Gradients for x and for bounds shared by all images: dmax, dmean are [channels], summed (may be null).
void site_backward(const float* x, const float* dy, float* dx, int64_t images, int64_t pixels, int64_t channels,
                   const SiteArguments& site, const float* means, float* dmax, float* dmean);
void site_backward(const Bfloat16* x, const Bfloat16* dy, Bfloat16* dx, int64_t images, int64_t pixels,
                   int64_t channels, const SiteArguments& site, const float* means, float* dmax, float* dmean);

}  // namespace padft::kernels
