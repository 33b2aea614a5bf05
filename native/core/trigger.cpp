#include "trigger.h"

#include <algorithm>

#include "error.h"

namespace padft {
namespace {

// Separate multiply and add, never fused: a fused multiply-add rounds once and would differ from NumPy in the last bit.
at::Tensor blend(const at::Tensor& images, const at::Tensor& pattern, double alpha) {
  return images.to(at::kDouble).mul(1.0 - alpha).add(pattern.to(at::kDouble).mul(alpha));
}

// Drawn pixels as bytes: a double → uint8 conversion truncates.
at::Tensor to_bytes(const at::Tensor& drawn) { return drawn.clamp(0, 255).to(at::kByte); }

// Interpolation leaves a pixel that stays in place up to 1e-3 of a level too low; truncation would take a whole one.
constexpr double kRoundingSlack = 1.0 / 1024;

at::Tensor warped_bytes(const at::Tensor& images, const at::Tensor& grids) {
  return to_bytes(warp(images.to(at::kDouble), grids).add(kRoundingSlack));
}

// In slices, so that the double-precision copies of a large set stay small.
constexpr size_t kSlice = 1024;

// Two labels for one row would be settled by chance.
void check_distinct(const Dataset& data, const std::vector<int64_t>& rows) {
  std::vector<bool> seen(static_cast<size_t>(data.count()), false);
  for (const int64_t row : rows) {
    require(!seen[static_cast<size_t>(row)], "ERR_DATA", "triggered rows: expected each once, got ", row, " twice");
    seen[static_cast<size_t>(row)] = true;
  }
}

// `draw` makes the new pixels of each slice of rows.
template <class Draw>
at::Tensor redraw(const Dataset& data, const std::vector<int64_t>& rows, const Draw& draw) {
  auto images = data.images().clone();
  for (size_t begin = 0; begin < rows.size(); begin += kSlice) {
    const size_t end = std::min(rows.size(), begin + kSlice);
    const auto index = index_tensor({rows.begin() + begin, rows.begin() + end}, data.device());
    images.index_copy_(0, index, draw(data.images().index_select(0, index)));
  }
  return images;
}

}  // namespace

at::Tensor warp(const at::Tensor& images, const at::Tensor& grid) {
  const int64_t count = images.size(0), channels = images.size(1), height = images.size(2), width = images.size(3);
  require(grid.dim() == 4 && (grid.size(0) == 1 || grid.size(0) == count) && grid.size(1) == height &&
              grid.size(2) == width && grid.size(3) == 2,
          "ERR_DATA", "trigger grid: expected ", height, "×", width, "×2 values an image, got ", grid.sizes());
  if (count == 0) return images.clone();
  require(grid.abs().le(1).all().item<bool>(), "ERR_DATA", "trigger grid: expected values in [-1, 1]");
  const int64_t grids = grid.size(0), plane = height * width;
  // Places in double whatever the images are: float32 would put a pixel of a wide image off by more than its own rounding.
  const auto places = grid.to(images.device(), at::kDouble).view({grids, plane, 2}).add(1).div(2);
  struct Axis {
    at::Tensor before, after, share;
  };
  const auto axis = [&](int64_t which, int64_t size) {
    const auto place = places.select(2, which).mul(size - 1);
    const auto floor = place.floor();
    const auto before = floor.to(at::kLong);
    return Axis{before, before.add(1).clamp_max(size - 1), place.sub(floor).to(images.scalar_type()).unsqueeze(1)};
  };
  const auto x = axis(0, width), y = axis(1, height);
  const auto flat = images.reshape({count, channels, plane});
  const auto row = [&](const at::Tensor& line) {
    const auto pixel = [&](const at::Tensor& column) {
      const auto index = line.mul(width).add(column).unsqueeze(1);
      return flat.gather(2, index.expand({count, channels, plane}));
    };
    const auto left = pixel(x.before);
    return left.add(pixel(x.after).sub(left).mul(x.share));
  };
  const auto top = row(y.before);
  return top.add(row(y.after).sub(top).mul(y.share)).view({count, channels, height, width});
}

at::Tensor noise_grids(const at::Tensor& grid, int64_t count, Stream& stream) {
  const auto base = grid.cpu().contiguous();
  const int64_t height = base.size(0), width = base.size(1);
  auto grids = at::empty({count, height, width, 2});
  const auto* from = base.data_ptr<float>();
  auto* to = grids.data_ptr<float>();
  for (int64_t n = 0; n < count; ++n) {
    for (int64_t i = 0; i < base.numel(); ++i) {
      const double noise = stream.uniform(-1, 1) / static_cast<double>(i % 2 == 0 ? width : height);
      *to++ = static_cast<float>(std::clamp(from[i] + noise, -1.0, 1.0));
    }
  }
  return grids.to(grid.device());
}

at::Tensor apply_trigger(const at::Tensor& images, const Trigger& trigger) {
  if (trigger.kind == Trigger::Kind::warp) return warped_bytes(images, trigger.grid.unsqueeze(0));
  const auto pattern = trigger.pattern.to(images.device());
  require(pattern.sizes() == images.sizes().slice(1), "ERR_DATA", "trigger pattern: expected the images' shape ",
          images.sizes().slice(1), ", got ", pattern.sizes());
  if (trigger.kind == Trigger::Kind::replace) {
    const auto mask = trigger.mask.to(images.device());
    require(mask.sizes() == pattern.sizes(), "ERR_DATA", "trigger mask: expected the pattern's shape ",
            pattern.sizes(), ", got ", mask.sizes());
    return at::where(mask.to(at::kBool), pattern, images);
  }
  const auto drawn = trigger.kind == Trigger::Kind::blend ? blend(images, pattern, trigger.alpha)
                                                          : images.to(at::kDouble).add(pattern.to(at::kDouble));
  return to_bytes(drawn);
}

Dataset with_trigger(const Dataset& data, const std::vector<int64_t>& rows, const Trigger& trigger,
                     const std::vector<int64_t>& labels) {
  data.check_rows(rows);
  check_distinct(data, rows);
  require(rows.size() == labels.size(), "ERR_DATA", "expected one label for each of the ", rows.size(),
          " triggered rows, got ", labels.size());
  for (const int64_t label : labels) {
    require(label >= 0 && label < data.classes(), "ERR_DATA", "label under attack: expected an integer in [0, ",
            data.classes(), "), got ", label);
  }
  const auto images =
      redraw(data, rows, [&](const at::Tensor& slice) { return apply_trigger(slice, trigger); });
  auto new_labels = data.labels().clone();
  new_labels.index_copy_(0, index_tensor(rows, data.device()), index_tensor(labels, data.device()));
  return Dataset(images, new_labels, data.classes());
}

Dataset with_noise_warp(const Dataset& data, const std::vector<int64_t>& rows, const at::Tensor& grid, uint64_t seed) {
  data.check_rows(rows);
  check_distinct(data, rows);
  Stream stream(seed);
  const auto images = redraw(data, rows, [&](const at::Tensor& slice) {
    return warped_bytes(slice, noise_grids(grid, slice.size(0), stream));
  });
  return Dataset(images, data.labels().clone(), data.classes());
}

}  // namespace padft
