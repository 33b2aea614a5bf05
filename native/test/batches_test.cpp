#include "core/batches.h"

#include <algorithm>

#include "check.h"
#include "support.h"

namespace padft {
namespace {

// One image of 1×3×3 with pixels 1 … 9, another with ten times that.
Dataset nine() {
  const std::vector<uint8_t> images = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90};
  const std::vector<int32_t> labels = {0, 1};
  return Dataset::from_host(images.data(), labels.data(), {2, 1, 3, 3, 2}, at::kCPU);
}

at::Tensor table(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong).view({4, static_cast<int64_t>(values.size()) / 4});
}

at::Tensor pixels(const std::vector<double>& values, at::IntArrayRef shape) {
  return at::tensor(values).to(at::kFloat).view(shape).div(255.f);
}

}  // namespace

CASE("batches", "gather scales the rows asked for to [0, 1]") {
  const auto data = test::made_dataset(7, 3, 2, 5);
  const auto rows = at::tensor({6, 0, 3, 3}, at::kLong);
  const auto batch = gather(data, rows);
  EXPECT_SAME(batch, data.images().index_select(0, rows).to(at::kFloat).div(255.f));
  EXPECT(batch.is_contiguous(at::MemoryFormat::ChannelsLast));
}

CASE("batches", "gather reads a slice of a larger index and odd channel counts") {
  for (const int64_t channels : {1, 2, 5}) {
    const auto data = test::made_dataset(9, 3, 2, 4, channels);
    const auto rows = at::tensor({8, 1, 7, 2, 6, 3}, at::kLong);
    const auto part = rows.view({2, 3}).select(1, 1);  // 1, 6: strided
    EXPECT_SAME(gather(data, part), data.images().index_select(0, part).to(at::kFloat).div(255.f));
  }
}

CASE("batches", "a crop moves the image and fills with black") {
  // Offsets 0 … 2 with padding 1: offset 1 leaves the image where it is.
  EXPECT_SAME(gather_augmented(nine(), table({0, 1, 1, 0}), 1), pixels({1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 1, 3, 3}));
  EXPECT_SAME(gather_augmented(nine(), table({0, 0, 1, 0}), 1), pixels({0, 0, 0, 1, 2, 3, 4, 5, 6}, {1, 1, 3, 3}));
  EXPECT_SAME(gather_augmented(nine(), table({0, 2, 1, 0}), 1), pixels({4, 5, 6, 7, 8, 9, 0, 0, 0}, {1, 1, 3, 3}));
  EXPECT_SAME(gather_augmented(nine(), table({0, 1, 0, 0}), 1), pixels({0, 1, 2, 0, 4, 5, 0, 7, 8}, {1, 1, 3, 3}));
  EXPECT_SAME(gather_augmented(nine(), table({0, 2, 2, 0}), 1), pixels({5, 6, 0, 8, 9, 0, 0, 0, 0}, {1, 1, 3, 3}));
}

CASE("batches", "the mirror is applied after the crop") {
  EXPECT_SAME(gather_augmented(nine(), table({0, 0, 0, 1}), 0), pixels({3, 2, 1, 6, 5, 4, 9, 8, 7}, {1, 1, 3, 3}));
  EXPECT_SAME(gather_augmented(nine(), table({0, 1, 0, 1}), 1), pixels({2, 1, 0, 5, 4, 0, 8, 7, 0}, {1, 1, 3, 3}));
}

CASE("batches", "each row of a batch has its own crop and mirror") {
  const auto batch = gather_augmented(nine(), table({1, 0, /*dy*/ 1, 2, /*dx*/ 1, 1, /*flip*/ 1, 0}), 1);
  EXPECT_SAME(batch[0], pixels({30, 20, 10, 60, 50, 40, 90, 80, 70}, {1, 3, 3}));
  EXPECT_SAME(batch[1], pixels({4, 5, 6, 7, 8, 9, 0, 0, 0}, {1, 3, 3}));
  EXPECT(batch.is_contiguous(at::MemoryFormat::ChannelsLast));
}

CASE("batches", "all channels of a pixel move together") {
  const auto data = test::made_dataset(3, 3, 8, 6, 3);
  const auto batch = gather_augmented(data, table({2, 3, 1, 1}), 2);  // down by 1, right by −1, then mirrored
  const auto padded = at::constant_pad_nd(data.images()[2].to(at::kFloat).div(255.f), {2, 2, 2, 2}, 0);
  EXPECT_SAME(batch[0], padded.narrow(1, 3, 6).narrow(2, 1, 6).flip({2}));
}

CASE("batches", "an epoch's plan covers every row once and draws in range") {
  Stream stream(9);
  const auto plan = DrawPlan::epoch(500, 4, true, stream, at::kCPU);
  EXPECT_EQUAL(plan.padding, 4);
  EXPECT_SAME(std::get<0>(plan.table[0].sort()), at::arange(500, at::kLong));
  for (const int row : {1, 2}) {
    EXPECT_EQUAL(plan.table[row].min().item<int64_t>(), 0);
    EXPECT_EQUAL(plan.table[row].max().item<int64_t>(), 8);
  }
  EXPECT_NEAR(plan.table[3].sum().item<int64_t>(), 250, 50);
  EXPECT(plan.table[3].ge(0).logical_and(plan.table[3].le(1)).all().item<bool>());
}

CASE("batches", "a plan without augmentation leaves every row as it is") {
  Stream stream(9), same(9);
  const auto plan = DrawPlan::epoch(40, 0, false, stream, at::kCPU);
  EXPECT_EQUAL(plan.table.narrow(0, 1, 3).abs().sum().item<int64_t>(), 0);
  EXPECT_SAME(plan.table, DrawPlan::epoch(40, 0, false, same, at::kCPU).table);
  const auto data = test::made_dataset(40, 4, 3, 4);
  EXPECT_SAME(gather_augmented(data, plan.table, 0), gather(data, plan.table[0]));
}

CASE("batches", "colour follows the formula: brightness, clamp, contrast about the mean grey, clamp") {
  const auto images = test::random_tensor({3, 3, 4, 5}, 12, 0, 1);
  const std::vector<double> brightness = {0.6, 1.4, 1.0}, contrast = {1.4, 0.6, 1.0};
  auto expected = at::empty_like(images);
  for (int64_t n = 0; n < 3; ++n) {
    const auto lit = [&](int64_t c, int64_t y, int64_t x) {
      return std::min(1.0, std::max(0.0, brightness[n] * images[n][c][y][x].item<double>()));
    };
    double grey = 0;
    for (int64_t y = 0; y < 4; ++y) {
      for (int64_t x = 0; x < 5; ++x) grey += 0.2989 * lit(0, y, x) + 0.587 * lit(1, y, x) + 0.114 * lit(2, y, x);
    }
    grey /= 20;
    for (int64_t c = 0; c < 3; ++c) {
      for (int64_t y = 0; y < 4; ++y) {
        for (int64_t x = 0; x < 5; ++x) {
          const double value = contrast[n] * lit(c, y, x) + (1 - contrast[n]) * grey;
          expected[n][c][y][x] = std::min(1.0, std::max(0.0, value));
        }
      }
    }
  }
  const auto result = adjust_colour(test::channels_last(images), at::tensor(brightness).to(at::kFloat),
                                    at::tensor(contrast).to(at::kFloat));
  EXPECT_CLOSE(result, expected, 1e-6);
  EXPECT_CLOSE(result[2], images[2], 1e-6);
  EXPECT(result.is_contiguous(at::MemoryFormat::ChannelsLast));
}

CASE("batches", "colour refuses images without three channels") {
  const auto one = at::ones({2});
  EXPECT_ERROR(adjust_colour(at::zeros({2, 1, 4, 4}), one, one), "ERR_DATA", "3 channels, got 1");
}

}  // namespace padft
