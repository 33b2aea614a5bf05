#include "dataset.h"

#include <cstring>

#include "error.h"

namespace padft {

at::Tensor index_tensor(const std::vector<int64_t>& rows, at::Device device) {
  auto host = at::empty({static_cast<int64_t>(rows.size())}, at::kLong);
  if (!rows.empty()) std::memcpy(host.data_ptr<int64_t>(), rows.data(), rows.size() * sizeof(int64_t));
  return host.to(device);
}

Dataset::Dataset(at::Tensor images, at::Tensor labels, int64_t classes)
    : images_(std::move(images)), labels_(std::move(labels)), classes_(classes) {}

Dataset Dataset::from_host(const uint8_t* images, const int32_t* labels, const DatasetShape& shape,
                           at::Device device) {
  require(shape.count > 0 && shape.channels > 0 && shape.height > 0 && shape.width > 0 && shape.classes > 0,
          "ERR_DATA", "a data set needs at least one row, channel, pixel and class");
  auto label_host = at::empty({shape.count}, at::kLong);
  auto* out = label_host.data_ptr<int64_t>();
  for (int64_t i = 0; i < shape.count; ++i) {
    require(labels[i] >= 0 && labels[i] < shape.classes, "ERR_DATA", "label of row ", i, ": expected an integer in [0, ",
            shape.classes, "), got ", labels[i]);
    out[i] = labels[i];
  }
  auto image_host = at::empty({shape.count, shape.channels, shape.height, shape.width}, at::kByte);
  std::memcpy(image_host.data_ptr<uint8_t>(), images, static_cast<size_t>(shape.count * shape.pixels()));
  return Dataset(image_host.to(device), label_host.to(device), shape.classes);
}

DatasetShape Dataset::shape() const {
  return {images_.size(0), images_.size(1), images_.size(2), images_.size(3), classes_};
}

int64_t Dataset::bytes() const {
  return images_.numel() + labels_.numel() * static_cast<int64_t>(sizeof(int64_t));
}

void Dataset::check_rows(const std::vector<int64_t>& rows) const {
  for (const int64_t row : rows) {
    require(row >= 0 && row < count(), "ERR_DATA", "row index: expected an integer in [0, ", count(), "), got ", row);
  }
}

Dataset Dataset::subset(const std::vector<int64_t>& rows) const {
  check_rows(rows);
  const auto index = index_tensor(rows, device());
  return Dataset(images_.index_select(0, index), labels_.index_select(0, index), classes_);
}

}  // namespace padft
