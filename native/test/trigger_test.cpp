#include "core/trigger.h"

#include "check.h"
#include "support.h"

namespace padft {
namespace {

at::Tensor bytes(const std::vector<int64_t>& values, at::IntArrayRef shape) {
  return at::tensor(values).to(at::kByte).view(shape);
}

Trigger replace(const std::vector<int64_t>& pattern, const std::vector<int64_t>& mask) {
  Trigger trigger;
  trigger.pattern = bytes(pattern, {1, 2, 2});
  trigger.mask = bytes(mask, {1, 2, 2});
  return trigger;
}

Trigger blend(double alpha, const std::vector<int64_t>& pattern) {
  Trigger trigger;
  trigger.kind = Trigger::Kind::blend;
  trigger.alpha = alpha;
  trigger.pattern = bytes(pattern, {1, 2, 2});
  return trigger;
}

Trigger add(const std::vector<double>& pattern) {
  Trigger trigger;
  trigger.kind = Trigger::Kind::add;
  trigger.pattern = at::tensor(pattern).to(at::kFloat).view({1, 2, 2});
  return trigger;
}

/// The grid that takes every pixel from where it is, as PyTorch's linspace rounds it.
at::Tensor identity_grid(int64_t height, int64_t width) {
  const auto x = at::linspace(-1, 1, width).view({1, -1, 1}).expand({height, width, 1});
  const auto y = at::linspace(-1, 1, height).view({-1, 1, 1}).expand({height, width, 1});
  return at::cat({x, y}, 2);
}

Trigger warped(const at::Tensor& grid) {
  Trigger trigger;
  trigger.kind = Trigger::Kind::warp;
  trigger.grid = grid;
  return trigger;
}

at::Tensor random_grid(int64_t height, int64_t width, uint64_t seed) {
  return identity_grid(height, width).add(test::random_tensor({height, width, 2}, seed, -0.2, 0.2)).clamp(-1, 1);
}

}  // namespace

CASE("trigger", "replace shows the pattern where the mask is 1") {
  const auto images = bytes({10, 20, 30, 40, 50, 60, 70, 80}, {2, 1, 2, 2});
  EXPECT_SAME(apply_trigger(images, replace({255, 0, 7, 9}, {1, 1, 0, 0})),
             bytes({255, 0, 30, 40, 255, 0, 70, 80}, {2, 1, 2, 2}));
}

CASE("trigger", "blend weighs and truncates") {
  // 0.8·100 + 0.2·200 = 120; 0.8·1 + 0.2·4 = 1.6; 0.8·255 + 0.2·255 = 255; 0.8·7 + 0.2·0 = 5.6
  EXPECT_SAME(apply_trigger(bytes({100, 1, 255, 7}, {1, 1, 2, 2}), blend(0.2, {200, 4, 255, 0})),
             bytes({120, 1, 255, 5}, {1, 1, 2, 2}));
  const auto image = bytes({1, 2, 3, 4}, {1, 1, 2, 2});
  EXPECT_SAME(apply_trigger(image, blend(0, {9, 9, 9, 9})), image);
  EXPECT_SAME(apply_trigger(image, blend(1, {9, 8, 7, 6})), bytes({9, 8, 7, 6}, {1, 1, 2, 2}));
}

CASE("trigger", "blend rounds each product on its own, for every pair of bytes") {
  auto grid = at::empty({256, 1, 1, 256}, at::kByte);
  for (int x = 0; x < 256; ++x) grid[x].fill_(x);
  for (const double alpha : {0.1, 0.2, 0.3, 0.7}) {
    Trigger trigger;
    trigger.kind = Trigger::Kind::blend;
    trigger.alpha = alpha;
    trigger.pattern = at::arange(256).to(at::kByte).view({1, 1, 256});
    auto expected = at::empty({256, 1, 1, 256}, at::kByte);
    auto* out = expected.data_ptr<uint8_t>();
    for (int x = 0; x < 256; ++x) {
      for (int t = 0; t < 256; ++t) {
        // volatile: the compiler must not fuse the products into the sum.
        volatile double kept = (1.0 - alpha) * x, shown = alpha * t;
        out[x * 256 + t] = static_cast<uint8_t>(kept + shown);
      }
    }
    EXPECT_SAME(apply_trigger(grid, trigger), expected);
  }
}

CASE("trigger", "add clips to a byte and truncates") {
  EXPECT_SAME(apply_trigger(bytes({10, 10, 250, 3}, {1, 1, 2, 2}), add({0.9, -0.5, 10, -8})),
             bytes({10, 9, 255, 0}, {1, 1, 2, 2}));
}

CASE("trigger", "a warp that leaves everything in place changes nothing") {
  const auto data = test::made_dataset(20, 4, 3, 32);
  EXPECT_SAME(apply_trigger(data.images(), warped(identity_grid(32, 32))), data.images());
  const auto wide = data.images().narrow(2, 0, 17);
  EXPECT_SAME(apply_trigger(wide, warped(identity_grid(17, 32))), wide);
}

CASE("trigger", "a warp is a bilinear sample with corners aligned, truncated") {
  // Half-way between 10 and 20, then between 30 and 40, then between those: 15, 35, 25; the corner itself: 40.
  const auto image = bytes({10, 20, 30, 40}, {1, 1, 2, 2});
  const auto grid = at::tensor(std::vector<double>{0, -1, 0, 1, 0, 0, 1, 1}).to(at::kFloat).view({2, 2, 2});
  EXPECT_SAME(apply_trigger(image, warped(grid)), bytes({15, 35, 25, 40}, {1, 1, 2, 2}));
  // A quarter of the way from 10 to 20 is 12.5.
  EXPECT_SAME(apply_trigger(image, warped(at::full({2, 2, 2}, -0.5).index_fill_(2, at::tensor({1}, at::kLong), -1))),
             bytes({12, 12, 12, 12}, {1, 1, 2, 2}));
}

CASE("trigger", "a warp agrees with libtorch's sampler and moves no flat area") {
  const auto images = test::random_tensor({5, 3, 12, 9}, 4, 0, 255).to(at::kDouble);
  const auto grid = random_grid(12, 9, 5);
  const auto expected = at::grid_sampler_2d(images, grid.to(at::kDouble).unsqueeze(0).expand({5, 12, 9, 2}), 0, 0, true);
  EXPECT_CLOSE(warp(images, grid.unsqueeze(0)), expected, 1e-12);
  EXPECT_CLOSE(warp(test::channels_last(images.to(at::kFloat)), grid.unsqueeze(0)), expected.to(at::kFloat), 1e-5);
  for (const int value : {0, 1, 127, 255}) {
    const auto flat = at::full({1, 3, 12, 9}, value, at::kByte);
    EXPECT_SAME(apply_trigger(flat, warped(grid)), flat);
  }
  EXPECT_EQUAL(warp(images.narrow(0, 0, 0), grid.unsqueeze(0)).size(0), 0);
}

CASE("trigger", "each image may have a grid of its own") {
  const auto images = test::random_tensor({2, 3, 6, 6}, 4, 0, 1);
  const auto one = random_grid(6, 6, 7), other = random_grid(6, 6, 8);
  const auto both = warp(images, at::stack({one, other}));
  EXPECT_SAME(both[0], warp(images.narrow(0, 0, 1), one.unsqueeze(0))[0]);
  EXPECT_SAME(both[1], warp(images.narrow(0, 1, 1), other.unsqueeze(0))[0]);
}

CASE("trigger", "noise grids lie within a pixel's share of the grid, differ, and stay in the image") {
  const auto grid = identity_grid(10, 20);
  Stream stream(3), same(3);
  const auto noise = noise_grids(grid, 30, stream);
  EXPECT_SAME(noise, noise_grids(grid, 30, same));
  EXPECT(noise.abs().le(1).all().item<bool>());
  const auto moved = noise.sub(grid).abs();
  EXPECT(moved.select(3, 0).max().item<double>() <= 1.0 / 20 + 1e-6);
  EXPECT(moved.select(3, 1).max().item<double>() <= 1.0 / 10 + 1e-6);
  EXPECT(moved.select(3, 0).max().item<double>() > 0.9 / 20);
  EXPECT(moved.select(3, 1).max().item<double>() > 0.9 / 10);
  EXPECT(!at::equal(noise[0], noise[1]));
}

CASE("trigger", "noise warps the chosen rows by their own grids and changes no label") {
  const auto data = test::made_dataset(9, 3, 5, 8);
  const auto grid = random_grid(8, 8, 2);
  const auto out = with_noise_warp(data, {6, 1}, grid, 11);
  EXPECT_SAME(out.labels(), data.labels());
  Stream stream(11);
  const auto grids = noise_grids(grid, 2, stream);
  for (int64_t row = 0; row < 9; ++row) {
    auto expected = data.images().narrow(0, row, 1);
    if (row == 6 || row == 1) expected = apply_trigger(expected, warped(grids[row == 6 ? 0 : 1]));
    EXPECT_SAME(out.images().narrow(0, row, 1), expected);
  }
  EXPECT(!at::equal(with_noise_warp(data, {6, 1}, grid, 12).images(), out.images()));
}

CASE("trigger", "changes the chosen rows and labels only, and not its input") {
  const auto data = test::made_dataset(9, 3, 5, 2, 1);
  const auto images = data.images().clone();
  const auto labels = data.labels().clone();
  const auto out = with_trigger(data, {7, 2}, replace({1, 2, 3, 4}, {1, 0, 0, 1}), {0, 1});
  for (int64_t row = 0; row < 9; ++row) {
    auto expected = images[row].clone();
    int64_t label = labels[row].item<int64_t>();
    if (row == 7 || row == 2) {
      expected[0][0][0] = 1;
      expected[0][1][1] = 4;
      label = row == 7 ? 0 : 1;
    }
    EXPECT_SAME(out.images()[row], expected);
    EXPECT_EQUAL(out.labels()[row].item<int64_t>(), label);
  }
  EXPECT_SAME(data.images(), images);
  EXPECT_SAME(data.labels(), labels);
  EXPECT_SAME(with_trigger(data, {}, replace({1, 2, 3, 4}, {1, 1, 1, 1}), {}).images(), images);
}

CASE("trigger", "a set larger than one slice is triggered whole") {
  const int64_t count = 9000;
  const auto data = test::made_dataset(count, 2, 6, 2, 1);
  std::vector<int64_t> rows, labels;
  for (int64_t row = 0; row < count; row += 2) {
    rows.push_back(row);
    labels.push_back(1);
  }
  const auto trigger = blend(0.3, {9, 90, 200, 250});
  const auto out = with_trigger(data, rows, trigger, labels);
  const auto index = index_tensor(rows, at::kCPU);
  EXPECT_SAME(out.images().index_select(0, index), apply_trigger(data.images().index_select(0, index), trigger));
  EXPECT_SAME(out.images().index_select(0, index + 1), data.images().index_select(0, index + 1));
  EXPECT(out.labels().eq(1).all().item<bool>());
}

CASE("trigger", "refuses bad rows, labels and shapes") {
  const auto data = test::made_dataset(4, 3, 5, 2, 1);
  const auto trigger = replace({1, 2, 3, 4}, {1, 0, 0, 1});
  EXPECT_ERROR(with_trigger(data, {4}, trigger, {0}), "ERR_DATA", "got 4");
  EXPECT_ERROR(with_trigger(data, {0}, trigger, {3}), "ERR_DATA", "got 3");
  EXPECT_ERROR(with_trigger(data, {2, 0, 2}, trigger, {0, 0, 1}), "ERR_DATA", "each once, got 2 twice");
  EXPECT_ERROR(with_noise_warp(data, {1, 1}, identity_grid(2, 2), 1), "ERR_DATA", "each once, got 1 twice");
  EXPECT_ERROR(with_trigger(data, {0}, trigger, {-1}), "ERR_DATA", "got -1");
  EXPECT_ERROR(with_trigger(data, {0, 1}, trigger, {0}), "ERR_DATA", "one label for each of the 2");
  auto wide = trigger;
  wide.pattern = at::zeros({1, 2, 3}, at::kByte);
  EXPECT_ERROR(with_trigger(data, {0}, wide, {0}), "ERR_DATA", "pattern");
  auto thin = trigger;
  thin.mask = at::zeros({1, 1, 2}, at::kByte);
  EXPECT_ERROR(with_trigger(data, {0}, thin, {0}), "ERR_DATA", "mask");
  EXPECT_ERROR(with_trigger(data, {0}, warped(identity_grid(2, 3)), {0}), "ERR_DATA", "grid");
  EXPECT_ERROR(with_trigger(data, {0}, warped(identity_grid(2, 2).mul(1.01)), {0}), "ERR_DATA", "[-1, 1]");
  EXPECT_ERROR(with_noise_warp(data, {4}, identity_grid(2, 2), 1), "ERR_DATA", "got 4");
}

}  // namespace padft
