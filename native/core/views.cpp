#include "views.h"

#include <algorithm>
#include <cmath>

#include "batches.h"
#include "error.h"

namespace padft {
namespace {

constexpr double kTurn = 2 * 3.14159265358979323846;

using Colour = std::array<double, 3>;

// YIQ: luma, and two directions in which colour changes. The latter are 0 on the grey axis, (1, 1, 1).
constexpr Colour kLuma = {0.299, 0.587, 0.114}, kI = {0.596, -0.274, -0.322}, kQ = {0.211, -0.523, 0.312};

// The colour without luma that is 1 along `one` and 0 along `other`.
Colour back(const Colour& one, const Colour& other) {
  Colour cross;
  double scale = 0;
  for (size_t i = 0; i < 3; ++i) {
    const size_t j = (i + 1) % 3, k = (i + 2) % 3;
    cross[i] = kLuma[j] * other[k] - kLuma[k] * other[j];
    scale += one[i] * cross[i];
  }
  for (auto& value : cross) value /= scale;
  return cross;
}

const Colour kFromI = back(kI, kQ), kFromQ = back(kQ, kI);

struct Box {
  int64_t left, top, width, height;
};

// torchvision's RandomResizedCrop.
Box draw_crop(int64_t height, int64_t width, double smallest, Stream& stream) {
  Box found{0, 0, width, height};
  bool fits = false;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = static_cast<double>(height * width) * stream.uniform(smallest, 1);
    const double ratio = std::exp(stream.uniform(std::log(3.0 / 4), std::log(4.0 / 3)));
    const double across = stream.uniform(), down = stream.uniform();
    const auto w = static_cast<int64_t>(std::nearbyint(std::sqrt(area * ratio)));
    const auto h = static_cast<int64_t>(std::nearbyint(std::sqrt(area / ratio)));
    if (fits || w < 1 || w > width || h < 1 || h > height) continue;
    const auto place = [](double share, int64_t room) {
      return std::min(room, static_cast<int64_t>(share * static_cast<double>(room + 1)));
    };
    found = {place(across, width - w), place(down, height - h), w, h};
    fits = true;
  }
  return found;
}

// Where each of `size` pixels lies in [start, start + length), as grid_sampler counts: −1 and 1 are the image's edges.
at::Tensor coordinates(int64_t size, const at::Tensor& start, const at::Tensor& length) {
  const auto steps = at::arange(size, start.options()).add(0.5).div(static_cast<double>(size)).view({1, -1});
  // Held to the centres of the crop's own outermost pixels: what lies beyond it is not mixed in.
  const auto inside = at::minimum(steps.mul(length.unsqueeze(1)).sub(0.5).clamp_min(0), (length - 1).unsqueeze(1));
  return inside.add(start.unsqueeze(1)).mul(2).add(1).div(static_cast<double>(size)).sub(1);
}

// x ← M·x at every pixel, elementwise: a matrix product would round to TF32 where that is on.
at::Tensor mix_channels(const at::Tensor& images, const at::Tensor& matrices) {
  const auto columns = matrices.reshape({-1, 3, 3}).unbind(2);
  const auto factor = [&](int64_t channel) { return columns[channel].view({-1, 3, 1, 1}); };
  auto mixed = images.narrow(1, 0, 1).mul(factor(0));
  for (int64_t channel = 1; channel < 3; ++channel) mixed.addcmul_(images.narrow(1, channel, 1), factor(channel));
  return mixed;
}

}  // namespace

std::array<double, 9> colour_matrix(double saturation, double turn, bool grey) {
  // Grey keeps the luma alone, as do saturation and hue: whatever they did, nothing else is left.
  const double strength = grey ? 0 : saturation;
  const double cosine = strength * std::cos(kTurn * turn), sine = strength * std::sin(kTurn * turn);
  std::array<double, 9> matrix;
  for (size_t row = 0; row < 3; ++row) {
    for (size_t column = 0; column < 3; ++column) {
      const double along = kFromI[row] * kI[column] + kFromQ[row] * kQ[column];
      const double across = kFromQ[row] * kI[column] - kFromI[row] * kQ[column];
      matrix[3 * row + column] = kLuma[column] + cosine * along + sine * across;
    }
  }
  return matrix;
}

at::Tensor draw_views(int64_t count, int64_t height, int64_t width, const ViewOptions& options, Stream& stream) {
  auto views = at::empty({count, kViewColumns});
  auto* out = views.data_ptr<float>();
  const auto write = [&](double value) { *out++ = static_cast<float>(value); };
  for (int64_t i = 0; i < count; ++i) {
    const auto crop = draw_crop(height, width, options.smallest_crop, stream);
    const bool mirrored = stream.below(2) == 1;
    const bool jittered = stream.uniform() < options.jitter_probability;
    const auto factor = [&] { return stream.uniform(1 - options.jitter, 1 + options.jitter); };
    const double brightness = factor(), contrast = factor(), saturation = factor();
    const double turn = stream.uniform(-options.hue, options.hue);
    const bool grey = stream.uniform() < options.grey_probability;
    for (const int64_t value : {crop.left, crop.top, crop.width, crop.height}) write(static_cast<double>(value));
    write(options.flip && mirrored ? 1 : 0);
    write(jittered ? brightness : 1);
    write(jittered ? contrast : 1);
    for (const double value : colour_matrix(jittered ? saturation : 1, jittered ? turn : 0, grey)) write(value);
  }
  return views;
}

at::Tensor gather_views(const Dataset& data, const at::Tensor& rows, const at::Tensor& views) {
  const auto shape = data.shape();
  require(shape.channels == 3, "ERR_DATA", "contrastive views: expected images of 3 channels, got ", shape.channels);
  const auto column = [&](int64_t index) { return views.select(1, index); };
  const int64_t count = rows.size(0);
  auto xs = coordinates(shape.width, column(0), column(2));
  xs = at::where(column(4).gt(0).unsqueeze(1), xs.flip({1}), xs);
  const auto ys = coordinates(shape.height, column(1), column(3));
  const auto grid = at::stack({xs.unsqueeze(1).expand({count, shape.height, shape.width}),
                               ys.unsqueeze(2).expand({count, shape.height, shape.width})}, 3);
  const auto whole = data.images().index_select(0, rows).to(at::kFloat).div(255.f);
  const auto seen = at::grid_sampler_2d(whole, grid, /*bilinear*/ 0, /*border*/ 1, /*align_corners=*/false);
  const auto lit = adjust_colour(seen, column(5), column(6));
  return mix_channels(lit, views.narrow(1, 7, 9)).clamp_(0, 1).contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace padft
