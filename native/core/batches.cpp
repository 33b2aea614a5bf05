#include "batches.h"

#include <ATen/Parallel.h>

#include "error.h"

namespace padft {
namespace {

struct Crop {
  const int64_t* rows;
  const int64_t* dy;
  const int64_t* dx;
  const int64_t* flip;
  int64_t padding;
};

// uint8 planes → float pixels with channels innermost; the division is done once per byte value.
void gather_cpu(const uint8_t* images, const DatasetShape& shape, const Crop& crop, int64_t count, float* out) {
  float table[256];
  for (int value = 0; value < 256; ++value) table[value] = static_cast<float>(value) / 255.f;
  const int64_t plane = shape.height * shape.width;
  at::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      const uint8_t* image = images + crop.rows[b] * shape.pixels();
      float* target = out + b * shape.pixels();
      const int64_t top = crop.dy ? crop.dy[b] - crop.padding : 0;
      const int64_t left = crop.dx ? crop.dx[b] - crop.padding : 0;
      const bool mirrored = crop.flip && crop.flip[b] != 0;
      for (int64_t y = 0; y < shape.height; ++y) {
        const int64_t source_y = y + top;
        for (int64_t x = 0; x < shape.width; ++x, target += shape.channels) {
          const int64_t source_x = (mirrored ? shape.width - 1 - x : x) + left;
          if (source_y < 0 || source_y >= shape.height || source_x < 0 || source_x >= shape.width) {
            for (int64_t c = 0; c < shape.channels; ++c) target[c] = 0.f;
          } else {
            const uint8_t* pixel = image + source_y * shape.width + source_x;
            for (int64_t c = 0; c < shape.channels; ++c) target[c] = table[pixel[c * plane]];
          }
        }
      }
    }
  });
}

at::Tensor empty_batch(const Dataset& data, int64_t count) {
  const auto shape = data.shape();
  return at::empty({count, shape.channels, shape.height, shape.width},
                   at::TensorOptions().dtype(at::kFloat).device(data.device()).memory_format(
                       at::MemoryFormat::ChannelsLast));
}

}  // namespace

DrawPlan DrawPlan::epoch(int64_t rows, int64_t padding, bool flip, Stream& stream, at::Device device) {
  auto host = at::empty({4, rows}, at::kLong);
  auto* out = host.data_ptr<int64_t>();
  const auto order = stream.permutation(rows);
  std::copy(order.begin(), order.end(), out);
  for (int64_t i = 0; i < rows; ++i) {
    out[rows + i] = padding > 0 ? static_cast<int64_t>(stream.below(2 * padding + 1)) : 0;
    out[2 * rows + i] = padding > 0 ? static_cast<int64_t>(stream.below(2 * padding + 1)) : 0;
    out[3 * rows + i] = flip ? static_cast<int64_t>(stream.below(2)) : 0;
  }
  return {host.to(device), padding};
}

at::Tensor gather_augmented(const Dataset& data, const at::Tensor& table, int64_t padding) {
  const auto shape = data.shape();
  const int64_t count = table.size(1);
  if (data.device().is_cpu()) {
    auto out = empty_batch(data, count);
    const auto host = table.contiguous();
    const auto* p = host.data_ptr<int64_t>();
    gather_cpu(data.images().data_ptr<uint8_t>(), shape, {p, p + count, p + 2 * count, p + 3 * count, padding}, count,
               out.data_ptr<float>());
    return out;
  }
  const auto options = at::TensorOptions().dtype(at::kLong).device(data.device());
  const auto ys = at::arange(shape.height, options).view({1, -1}) + (table[1] - padding).view({-1, 1});
  const auto straight = at::arange(shape.width, options).view({1, -1});
  const auto mirrored = at::where(table[3].view({-1, 1}).to(at::kBool), (shape.width - 1) - straight, straight);
  const auto xs = mirrored + (table[2] - padding).view({-1, 1});
  const auto inside = ys.ge(0).logical_and(ys.lt(shape.height)).view({count, -1, 1, 1})
                          .logical_and(xs.ge(0).logical_and(xs.lt(shape.width)).view({count, 1, -1, 1}));
  const auto channel = at::arange(shape.channels, options).view({1, 1, 1, -1}) * (shape.height * shape.width);
  const auto flat = table[0].view({-1, 1, 1, 1}) * shape.pixels() + channel +
                    ys.clamp(0, shape.height - 1).view({count, -1, 1, 1}) * shape.width +
                    xs.clamp(0, shape.width - 1).view({count, 1, -1, 1});
  const auto pixels = data.images().view({-1}).take(flat).to(at::kFloat).div(255.f);  // [B, H, W, C]
  return at::where(inside, pixels, at::zeros({}, pixels.options())).permute({0, 3, 1, 2});
}

at::Tensor gather(const Dataset& data, const at::Tensor& rows) {
  if (data.device().is_cpu()) {
    auto out = empty_batch(data, rows.size(0));
    const auto host = rows.contiguous();
    gather_cpu(data.images().data_ptr<uint8_t>(), data.shape(), {host.data_ptr<int64_t>(), nullptr, nullptr, nullptr, 0},
               rows.size(0), out.data_ptr<float>());
    return out;
  }
  return data.images().index_select(0, rows).to(at::kFloat).div(255.f).contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor adjust_colour(const at::Tensor& images, const at::Tensor& brightness, const at::Tensor& contrast) {
  require(images.size(1) == 3, "ERR_DATA", "colour augmentation: expected 3 channels, got ", images.size(1));
  const auto lit = images.mul(brightness.view({-1, 1, 1, 1})).clamp(0, 1);
  const auto weights = at::tensor({0.2989f, 0.587f, 0.114f}, images.options()).view({1, 3, 1, 1});
  const auto grey = lit.mul(weights).sum(1, /*keepdim=*/true).mean({2, 3}, /*keepdim=*/true);
  const auto factor = contrast.view({-1, 1, 1, 1});
  return lit.mul(factor).add(grey.mul(1 - factor)).clamp(0, 1).contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace padft
