#include "core/dataset.h"

#include "check.h"
#include "support.h"

namespace padft {
namespace {

const DatasetShape kShape{3, 1, 2, 2, 4};
const std::vector<uint8_t> kImages = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255};

Dataset sample() {
  const std::vector<int32_t> labels = {0, 3, 2};
  return Dataset::from_host(kImages.data(), labels.data(), kShape, at::kCPU);
}

}  // namespace

CASE("dataset", "copies the bytes and labels it is given") {
  auto images = kImages;
  std::vector<int32_t> labels = {0, 3, 2};
  const auto data = Dataset::from_host(images.data(), labels.data(), kShape, at::kCPU);
  images.assign(images.size(), 0);
  labels.assign(labels.size(), 0);
  EXPECT_SAME(data.images(), at::tensor({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255}).to(at::kByte).view({3, 1, 2, 2}));
  EXPECT_SAME(data.labels(), at::tensor({0, 3, 2}, at::kLong));
  EXPECT_EQUAL(data.count(), 3);
  EXPECT_EQUAL(data.classes(), 4);
  EXPECT_EQUAL(data.shape().pixels(), 4);
  EXPECT_EQUAL(data.bytes(), 12 + 3 * 8);
}

CASE("dataset", "refuses labels outside the classes and names the row") {
  const std::vector<int32_t> high = {0, 4, 2}, negative = {0, 1, -1};
  EXPECT_ERROR(Dataset::from_host(kImages.data(), high.data(), kShape, at::kCPU), "ERR_DATA", "row 1");
  EXPECT_ERROR(Dataset::from_host(kImages.data(), negative.data(), kShape, at::kCPU), "ERR_DATA", "got -1");
}

CASE("dataset", "refuses empty extents") {
  const std::vector<int32_t> labels = {0, 1, 2};
  for (int extent = 0; extent < 5; ++extent) {
    auto shape = kShape;
    (extent == 0 ? shape.count : extent == 1 ? shape.channels : extent == 2 ? shape.height
                               : extent == 3 ? shape.width : shape.classes) = 0;
    EXPECT_ERROR(Dataset::from_host(kImages.data(), labels.data(), shape, at::kCPU), "ERR_DATA", "at least one");
  }
}

CASE("dataset", "a subset holds the rows in the order asked for, also twice") {
  const auto part = sample().subset({2, 0, 2});
  EXPECT_SAME(part.labels(), at::tensor({2, 0, 2}, at::kLong));
  EXPECT_SAME(part.images(), at::tensor({9, 10, 11, 255, 1, 2, 3, 4, 9, 10, 11, 255}).to(at::kByte).view({3, 1, 2, 2}));
  EXPECT_EQUAL(part.classes(), 4);
  EXPECT_EQUAL(sample().subset({}).count(), 0);
}

CASE("dataset", "a subset refuses rows that do not exist") {
  EXPECT_ERROR(sample().subset({0, 3}), "ERR_DATA", "got 3");
  EXPECT_ERROR(sample().subset({-1}), "ERR_DATA", "got -1");
}

CASE("dataset", "a subset shares no memory with its source") {
  const auto data = sample();
  const auto part = data.subset({0, 1});
  part.images().fill_(0);
  part.labels().fill_(1);
  EXPECT_EQUAL(data.images()[0][0][0][0].item<int>(), 1);
  EXPECT_EQUAL(data.labels()[0].item<int64_t>(), 0);
}

CASE("dataset", "an index tensor is the indices") {
  EXPECT_SAME(index_tensor({5, 0, 7}, at::kCPU), at::tensor({5, 0, 7}, at::kLong));
  EXPECT_EQUAL(index_tensor({}, at::kCPU).numel(), 0);
}

}  // namespace padft
