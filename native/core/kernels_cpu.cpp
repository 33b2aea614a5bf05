#include "kernels_cpu.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

// The compiler writes each loop three times and the loader picks the widest the machine has.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define PADFT_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define PADFT_CLONES
#endif

// A body that is written once for float and bfloat16, and compiled inside each clone of what calls it.
#if defined(__GNUC__)
#define PADFT_BODY inline __attribute__((always_inline))
#else
#define PADFT_BODY inline
#endif

// x and y may be the same memory: an element is read before it is written, and no other element depends on it.
#if defined(__GNUC__) && !defined(__clang__)
#define PADFT_INDEPENDENT _Pragma("GCC ivdep")
#else
#define PADFT_INDEPENDENT
#endif

namespace padft::kernels {
namespace {

// Enough chunks to balance any desktop's cores; fixed, so sums are the same whatever the number of threads.
constexpr int64_t kChunks = 64;
// Rows summed in float before they are added to the double total: keeps the float sums short.
constexpr int64_t kBlock = 32;
// Fewest values in an inner loop. With 16 channels a loop over one pixel is a single vector, and its overhead is most of
// its time: such pixels are taken several at once.
constexpr int64_t kSpan = 64;

PADFT_BODY float widen(float value) { return value; }
PADFT_BODY float widen(Bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

PADFT_BODY void narrow(float value, float& out) { out = value; }
// To the nearest, ties to even. A NaN would round to 0 or infinity: the check for damaged weights must still see it.
PADFT_BODY void narrow(float value, Bfloat16& out) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  out.bits = static_cast<uint16_t>(value == value ? rounded : 0x7fc0u);
}

struct Chunks {
  int64_t rows, size, count;
  explicit Chunks(int64_t total) : rows(total) {
    size = std::max<int64_t>((total + kChunks - 1) / kChunks, 1);
    count = (total + size - 1) / size;
  }
  int64_t begin(int64_t chunk) const { return chunk * size; }
  int64_t end(int64_t chunk) const { return std::min(rows, (chunk + 1) * size); }
};

template <class Body>
void for_each_chunk(int64_t count, const Body& body) {
  at::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; ++chunk) body(chunk);
  });
}

PADFT_CLONES void add_moments(const float* x, int64_t rows, int64_t channels, const float* pivot, float* sum,
                              float* square, double* total, double* total_square) {
  for (int64_t begin = 0; begin < rows; begin += kBlock) {
    const int64_t end = std::min(rows, begin + kBlock);
    std::fill(sum, sum + channels, 0.f);
    std::fill(square, square + channels, 0.f);
    for (int64_t r = begin; r < end; ++r) {
      const float* row = x + r * channels;
      for (int64_t c = 0; c < channels; ++c) {
        const float centred = row[c] - pivot[c];
        sum[c] += centred;
        square[c] += centred * centred;
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      total[c] += sum[c];
      total_square[c] += square[c];
    }
  }
}

PADFT_CLONES void scale_shift_relu(const float* x, float* y, int64_t rows, int64_t channels, const float* scale,
                                   const float* shift) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = x + r * channels;
    float* out = y + r * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const float value = in[c] * scale[c] + shift[c];
      out[c] = value < 0.f ? 0.f : value;
    }
  }
}

PADFT_CLONES void add_gradient_sums(const float* x, const float* dy, int64_t rows, int64_t channels, const float* scale,
                                    const float* shift, const float* mean, float* sum, float* dot, double* total,
                                    double* total_dot) {
  for (int64_t begin = 0; begin < rows; begin += kBlock) {
    const int64_t end = std::min(rows, begin + kBlock);
    std::fill(sum, sum + channels, 0.f);
    std::fill(dot, dot + channels, 0.f);
    for (int64_t r = begin; r < end; ++r) {
      const float* in = x + r * channels;
      const float* grad = dy + r * channels;
      for (int64_t c = 0; c < channels; ++c) {
        const float g = in[c] * scale[c] + shift[c] > 0.f ? grad[c] : 0.f;
        sum[c] += g;
        dot[c] += g * (in[c] - mean[c]);
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      total[c] += sum[c];
      total_dot[c] += dot[c];
    }
  }
}

PADFT_CLONES void write_input_gradient(const float* x, const float* dy, float* dx, int64_t rows, int64_t channels,
                                       const float* scale, const float* shift, const float* mean,
                                       const float* constant, const float* slope) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = x + r * channels;
    const float* grad = dy + r * channels;
    float* out = dx + r * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const float g = in[c] * scale[c] + shift[c] > 0.f ? grad[c] : 0.f;
      out[c] = scale[c] * g - constant[c] - (in[c] - mean[c]) * slope[c];
    }
  }
}

// One image, `span` values at a time; the vectors are as long as that. With `sum` ([span], zeroed) the results are added
// up, before they are rounded.
template <bool kSum, class T>
PADFT_BODY void site_body(const T* x, T* y, int64_t count, int64_t span, const float* scale, const float* shift,
                          const float* upper, float* sum) {
  for (int64_t begin = 0; begin < count; begin += span) {
    const int64_t length = std::min(span, count - begin);
    const T* in = x + begin;
    T* out = y + begin;
    PADFT_INDEPENDENT
    for (int64_t i = 0; i < length; ++i) {
      float value = widen(in[i]) * scale[i] + shift[i];
      value = value < 0.f ? 0.f : value;
      value = upper[i] < value ? upper[i] : value;
      narrow(value, out[i]);
      if (kSum) sum[i] += value;
    }
  }
}

PADFT_CLONES void site_image(const float* x, float* y, int64_t count, int64_t span, const float* scale,
                             const float* shift, const float* upper) {
  site_body<false>(x, y, count, span, scale, shift, upper, nullptr);
}
PADFT_CLONES void site_image(const Bfloat16* x, Bfloat16* y, int64_t count, int64_t span, const float* scale,
                             const float* shift, const float* upper) {
  site_body<false>(x, y, count, span, scale, shift, upper, nullptr);
}
PADFT_CLONES void site_image_sum(const float* x, float* y, int64_t count, int64_t span, const float* scale,
                                 const float* shift, const float* upper, float* sum) {
  site_body<true>(x, y, count, span, scale, shift, upper, sum);
}
PADFT_CLONES void site_image_sum(const Bfloat16* x, Bfloat16* y, int64_t count, int64_t span, const float* scale,
                                 const float* shift, const float* upper, float* sum) {
  site_body<true>(x, y, count, span, scale, shift, upper, sum);
}

template <class T>
PADFT_BODY void scale_body(T* y, int64_t pixels, int64_t channels, const float* factor) {
  for (int64_t p = 0; p < pixels; ++p) {
    T* out = y + p * channels;
    PADFT_INDEPENDENT
    for (int64_t c = 0; c < channels; ++c) narrow(widen(out[c]) * factor[c], out[c]);
  }
}
PADFT_CLONES void scale_pixels(float* y, int64_t pixels, int64_t channels, const float* factor) {
  scale_body(y, pixels, channels, factor);
}
PADFT_CLONES void scale_pixels(Bfloat16* y, int64_t pixels, int64_t channels, const float* factor) {
  scale_body(y, pixels, channels, factor);
}

template <class T>
PADFT_BODY void normalise_body(const float* x, T* y, int64_t count, int64_t span, const float* mean,
                               const float* deviation) {
  for (int64_t begin = 0; begin < count; begin += span) {
    const int64_t length = std::min(span, count - begin);
    const float* in = x + begin;
    T* out = y + begin;
    PADFT_INDEPENDENT
    for (int64_t i = 0; i < length; ++i) narrow((in[i] - mean[i]) / deviation[i], out[i]);
  }
}
PADFT_CLONES void normalise_rows(const float* x, float* y, int64_t count, int64_t span, const float* mean,
                                 const float* deviation) {
  normalise_body(x, y, count, span, mean, deviation);
}
PADFT_CLONES void normalise_rows(const float* x, Bfloat16* y, int64_t count, int64_t span, const float* mean,
                                 const float* deviation) {
  normalise_body(x, y, count, span, mean, deviation);
}

// Adds dy · a to `sum` ([span]), a the activation after the largest-value bound.
template <class T>
PADFT_BODY void activation_gradient_body(const T* x, const T* dy, int64_t count, int64_t span, const float* scale,
                                         const float* shift, const float* upper, float* sum) {
  for (int64_t begin = 0; begin < count; begin += span) {
    const int64_t length = std::min(span, count - begin);
    const T* in = x + begin;
    const T* grad = dy + begin;
    PADFT_INDEPENDENT
    for (int64_t i = 0; i < length; ++i) {
      float value = widen(in[i]) * scale[i] + shift[i];
      value = value > 0.f ? value : 0.f;
      value = value < upper[i] ? value : upper[i];
      sum[i] += widen(grad[i]) * value;
    }
  }
}
PADFT_CLONES void sum_activation_gradient(const float* x, const float* dy, int64_t count, int64_t span,
                                          const float* scale, const float* shift, const float* upper, float* sum) {
  activation_gradient_body(x, dy, count, span, scale, shift, upper, sum);
}
PADFT_CLONES void sum_activation_gradient(const Bfloat16* x, const Bfloat16* dy, int64_t count, int64_t span,
                                          const float* scale, const float* shift, const float* upper, float* sum) {
  activation_gradient_body(x, dy, count, span, scale, shift, upper, sum);
}

// All vectors, the sum `dmax` too, are `span` long.
template <class T>
PADFT_BODY void input_gradient_body(const T* x, const T* dy, T* dx, int64_t count, int64_t span, const float* scale,
                                    const float* shift, const float* upper, const float* factor, const float* offset,
                                    float* dmax) {
  for (int64_t begin = 0; begin < count; begin += span) {
    const int64_t length = std::min(span, count - begin);
    const T* in = x + begin;
    const T* grad = dy + begin;
    T* out = dx + begin;
    PADFT_INDEPENDENT
    for (int64_t i = 0; i < length; ++i) {
      const float value = widen(in[i]) * scale[i] + shift[i];
      const float da = widen(grad[i]) * factor[i] + offset[i];
      narrow(value > 0.f && value <= upper[i] ? da * scale[i] : 0.f, out[i]);
      dmax[i] += value > upper[i] ? da : 0.f;
    }
  }
}
PADFT_CLONES void site_input_gradient(const float* x, const float* dy, float* dx, int64_t count, int64_t span,
                                      const float* scale, const float* shift, const float* upper, const float* factor,
                                      const float* offset, float* dmax) {
  input_gradient_body(x, dy, dx, count, span, scale, shift, upper, factor, offset, dmax);
}
PADFT_CLONES void site_input_gradient(const Bfloat16* x, const Bfloat16* dy, Bfloat16* dx, int64_t count, int64_t span,
                                      const float* scale, const float* shift, const float* upper, const float* factor,
                                      const float* offset, float* dmax) {
  input_gradient_body(x, dy, dx, count, span, scale, shift, upper, factor, offset, dmax);
}

}  // namespace

void batch_norm_relu_forward(const float* x, float* y, int64_t rows, int64_t channels, const float* weight,
                             const float* bias, float eps, float* mean, float* variance, float* inv_std) {
  const Chunks chunks(rows);
  std::vector<double> totals(static_cast<size_t>(chunks.count * channels * 2), 0.0);
  for_each_chunk(chunks.count, [&](int64_t chunk) {
    std::vector<float> scratch(static_cast<size_t>(channels * 2));
    double* total = totals.data() + chunk * channels * 2;
    // Centred on the first row, so that a large common offset does not cancel in Σx² − (Σx)²/n.
    add_moments(x + chunks.begin(chunk) * channels, chunks.end(chunk) - chunks.begin(chunk), channels, x,
                scratch.data(), scratch.data() + channels, total, total + channels);
  });
  std::vector<float> scale(static_cast<size_t>(channels)), shift(static_cast<size_t>(channels));
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0, square = 0;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      sum += totals[chunk * channels * 2 + c];
      square += totals[chunk * channels * 2 + channels + c];
    }
    const double centre = sum / rows;
    const double spread = std::max(0.0, square / rows - centre * centre);
    mean[c] = static_cast<float>(centre + x[c]);
    variance[c] = static_cast<float>(spread);
    inv_std[c] = static_cast<float>(1.0 / std::sqrt(spread + eps));
    scale[c] = weight[c] * inv_std[c];
    shift[c] = bias[c] - mean[c] * scale[c];
  }
  for_each_chunk(chunks.count, [&](int64_t chunk) {
    const int64_t begin = chunks.begin(chunk);
    scale_shift_relu(x + begin * channels, y + begin * channels, chunks.end(chunk) - begin, channels, scale.data(),
                     shift.data());
  });
}

void batch_norm_relu_backward(const float* x, const float* dy, float* dx, int64_t rows, int64_t channels,
                              const float* weight, const float* bias, const float* mean, const float* inv_std,
                              float* dweight, float* dbias) {
  std::vector<float> scale(static_cast<size_t>(channels)), shift(static_cast<size_t>(channels));
  std::vector<float> constant(static_cast<size_t>(channels)), slope(static_cast<size_t>(channels));
  for (int64_t c = 0; c < channels; ++c) {
    scale[c] = weight[c] * inv_std[c];
    shift[c] = bias[c] - mean[c] * scale[c];
  }
  const Chunks chunks(rows);
  std::vector<double> totals(static_cast<size_t>(chunks.count * channels * 2), 0.0);
  for_each_chunk(chunks.count, [&](int64_t chunk) {
    std::vector<float> scratch(static_cast<size_t>(channels * 2));
    const int64_t begin = chunks.begin(chunk);
    double* total = totals.data() + chunk * channels * 2;
    add_gradient_sums(x + begin * channels, dy + begin * channels, chunks.end(chunk) - begin, channels, scale.data(),
                      shift.data(), mean, scratch.data(), scratch.data() + channels, total, total + channels);
  });
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0, dot = 0;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      sum += totals[chunk * channels * 2 + c];
      dot += totals[chunk * channels * 2 + channels + c];
    }
    dbias[c] = static_cast<float>(sum);
    dweight[c] = static_cast<float>(dot * inv_std[c]);
    constant[c] = static_cast<float>(scale[c] * sum / rows);
    slope[c] = static_cast<float>(scale[c] * dot * inv_std[c] * inv_std[c] / rows);
  }
  for_each_chunk(chunks.count, [&](int64_t chunk) {
    const int64_t begin = chunks.begin(chunk);
    write_input_gradient(x + begin * channels, dy + begin * channels, dx + begin * channels,
                         chunks.end(chunk) - begin, channels, scale.data(), shift.data(), mean, constant.data(),
                         slope.data());
  });
}

namespace {

// Pixels taken at once.
int64_t pixels_at_once(int64_t channels) { return std::max<int64_t>(1, kSpan / channels); }

// `values` ([channels]) `times` over; `neutral` where there are none, so that each loop has one form.
std::vector<float> repeated(const float* values, int64_t channels, int64_t times, float neutral = 0.f) {
  std::vector<float> result(static_cast<size_t>(channels * times), neutral);
  if (!values) return result;
  for (int64_t i = 0; i < times; ++i) std::copy(values, values + channels, result.begin() + i * channels);
  return result;
}

struct SiteVectors {
  int64_t channels, times;
  std::vector<float> scale, shift, upper;
  SiteVectors(const SiteArguments& site, int64_t channels_, int64_t times_)
      : channels(channels_),
        times(times_),
        scale(repeated(site.scale, channels, times, 1.f)),
        shift(repeated(site.shift, channels, times, 0.f)),
        upper(repeated(site.max_per_image ? nullptr : site.max_bound, channels, times, INFINITY)) {}
  // The largest values of an image; `own` is where an image's own are laid out.
  const float* upper_of(const SiteArguments& site, int64_t image, std::vector<float>& own) const {
    if (!site.max_bound || !site.max_per_image) return upper.data();
    own = repeated(site.max_bound + image * channels, channels, times);
    return own.data();
  }
};

// Adds up the parts of a vector that holds several pixels' channels.
void fold(std::vector<float>& sum, int64_t channels) {
  for (size_t i = static_cast<size_t>(channels); i < sum.size(); ++i) sum[i % static_cast<size_t>(channels)] += sum[i];
}

template <class T>
void forward_site(const T* x, T* y, int64_t images, int64_t pixels, int64_t channels, const SiteArguments& site,
                  float* means) {
  const SiteVectors vectors(site, channels, pixels_at_once(channels));
  const int64_t span = channels * vectors.times, count = pixels * channels;
  at::parallel_for(0, images, 1, [&](int64_t first, int64_t last) {
    std::vector<float> own, sum(static_cast<size_t>(span)), factor(static_cast<size_t>(channels));
    for (int64_t image = first; image < last; ++image) {
      const T* in = x + image * count;
      T* out = y + image * count;
      const float* upper = vectors.upper_of(site, image, own);
      if (!site.mean_bound && !means) {
        site_image(in, out, count, span, vectors.scale.data(), vectors.shift.data(), upper);
        continue;
      }
      std::fill(sum.begin(), sum.end(), 0.f);
      site_image_sum(in, out, count, span, vectors.scale.data(), vectors.shift.data(), upper, sum.data());
      fold(sum, channels);
      for (int64_t c = 0; c < channels; ++c) sum[c] /= static_cast<float>(pixels);
      if (means) std::copy(sum.begin(), sum.begin() + channels, means + image * channels);
      if (!site.mean_bound) continue;
      const float* bound = site.mean_bound + (site.mean_per_image ? image * channels : 0);
      bool scaled = false;
      for (int64_t c = 0; c < channels; ++c) {
        factor[c] = sum[c] > bound[c] ? bound[c] / sum[c] : 1.f;
        scaled |= sum[c] > bound[c];
      }
      if (scaled) scale_pixels(out, pixels, channels, factor.data());
    }
  });
}

template <class T>
void backward_site(const T* x, const T* dy, T* dx, int64_t images, int64_t pixels, int64_t channels,
                   const SiteArguments& site, const float* means, float* dmax, float* dmean) {
  const SiteVectors vectors(site, channels, pixels_at_once(channels));
  const int64_t span = channels * vectors.times, count = pixels * channels;
  const Chunks chunks(images);
  std::vector<float> partial_max(static_cast<size_t>(chunks.count * channels), 0.f);
  std::vector<float> partial_mean(static_cast<size_t>(chunks.count * channels), 0.f);
  for_each_chunk(chunks.count, [&](int64_t chunk) {
    const auto length = static_cast<size_t>(span);
    std::vector<float> factor(length), offset(length), sum(length), chunk_max(length, 0.f), own;
    float* chunk_mean = partial_mean.data() + chunk * channels;
    for (int64_t image = chunks.begin(chunk); image < chunks.end(chunk); ++image) {
      const T* in = x + image * count;
      const T* grad = dy + image * count;
      const float* upper = vectors.upper_of(site, image, own);
      std::fill(factor.begin(), factor.end(), 1.f);
      std::fill(offset.begin(), offset.end(), 0.f);
      if (site.mean_bound) {
        // y = a·u/m where m > u: dy/da = u/m − a·u/m²·(1/pixels), and dy/du = a/m.
        const float* bound = site.mean_bound + (site.mean_per_image ? image * channels : 0);
        const float* mean = means + image * channels;
        std::fill(sum.begin(), sum.end(), 0.f);
        sum_activation_gradient(in, grad, count, span, vectors.scale.data(), vectors.shift.data(), upper, sum.data());
        fold(sum, channels);
        for (int64_t c = 0; c < channels; ++c) {
          if (!(mean[c] > bound[c])) continue;
          for (int64_t i = c; i < span; i += channels) {
            factor[i] = bound[c] / mean[c];
            // Quotients first: the square of a tiny mean would be 0.
            offset[i] = -(sum[c] / mean[c]) * (bound[c] / mean[c]) / static_cast<float>(pixels);
          }
          chunk_mean[c] += sum[c] / mean[c];
        }
      }
      site_input_gradient(in, grad, dx + image * count, count, span, vectors.scale.data(), vectors.shift.data(), upper,
                          factor.data(), offset.data(), chunk_max.data());
    }
    fold(chunk_max, channels);
    std::copy(chunk_max.begin(), chunk_max.begin() + channels, partial_max.begin() + chunk * channels);
  });
  for (int64_t c = 0; c < channels; ++c) {
    double max_sum = 0, mean_sum = 0;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      max_sum += partial_max[chunk * channels + c];
      mean_sum += partial_mean[chunk * channels + c];
    }
    if (dmax) dmax[c] = static_cast<float>(max_sum);
    if (dmean) dmean[c] = static_cast<float>(mean_sum);
  }
}

template <class T>
void normalise_images(const float* x, T* y, int64_t images, int64_t pixels, int64_t channels, const float* mean,
                      const float* deviation) {
  const int64_t times = pixels_at_once(channels), count = pixels * channels;
  const auto means = repeated(mean, channels, times), deviations = repeated(deviation, channels, times);
  at::parallel_for(0, images, 1, [&](int64_t first, int64_t last) {
    normalise_rows(x + first * count, y + first * count, (last - first) * count, channels * times, means.data(),
                   deviations.data());
  });
}

}  // namespace

void site_forward(const float* x, float* y, int64_t images, int64_t pixels, int64_t channels,
                  const SiteArguments& site, float* means) {
  forward_site(x, y, images, pixels, channels, site, means);
}
void site_forward(const Bfloat16* x, Bfloat16* y, int64_t images, int64_t pixels, int64_t channels,
                  const SiteArguments& site, float* means) {
  forward_site(x, y, images, pixels, channels, site, means);
}

void normalise(const float* x, float* y, int64_t images, int64_t pixels, int64_t channels, const float* mean,
               const float* deviation) {
  normalise_images(x, y, images, pixels, channels, mean, deviation);
}
void normalise(const float* x, Bfloat16* y, int64_t images, int64_t pixels, int64_t channels, const float* mean,
               const float* deviation) {
  normalise_images(x, y, images, pixels, channels, mean, deviation);
}

void site_backward(const float* x, const float* dy, float* dx, int64_t images, int64_t pixels, int64_t channels,
                   const SiteArguments& site, const float* means, float* dmax, float* dmean) {
  backward_site(x, dy, dx, images, pixels, channels, site, means, dmax, dmean);
}
void site_backward(const Bfloat16* x, const Bfloat16* dy, Bfloat16* dx, int64_t images, int64_t pixels,
                   int64_t channels, const SiteArguments& site, const float* means, float* dmax, float* dmean) {
  backward_site(x, dy, dx, images, pixels, channels, site, means, dmax, dmean);
}

}  // namespace padft::kernels
