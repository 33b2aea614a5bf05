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
  EXPECT_ERROR(with_trigger(data, {0}, trigger, {-1}), "ERR_DATA", "got -1");
  EXPECT_ERROR(with_trigger(data, {0, 1}, trigger, {0}), "ERR_DATA", "one label for each of the 2");
  auto wide = trigger;
  wide.pattern = at::zeros({1, 2, 3}, at::kByte);
  EXPECT_ERROR(with_trigger(data, {0}, wide, {0}), "ERR_DATA", "pattern");
  auto thin = trigger;
  thin.mask = at::zeros({1, 1, 2}, at::kByte);
  EXPECT_ERROR(with_trigger(data, {0}, thin, {0}), "ERR_DATA", "mask");
}

}  // namespace padft
