// A data set on a device: raw uint8 images and their labels, immutable once made.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace padft {

struct DatasetShape {
  int64_t count = 0;
  int64_t channels = 0;
  int64_t height = 0;
  int64_t width = 0;
  int64_t classes = 0;

  int64_t pixels() const { return channels * height * width; }
};

class Dataset {
 public:
  /// Copies N×C×H×W bytes and N labels to `device`. Throws ERR_DATA when a label is outside [0, classes): checked
  /// on the host, because a bad label on a GPU poisons the whole process.
  static Dataset from_host(const uint8_t* images, const int32_t* labels, const DatasetShape& shape, at::Device device);

  Dataset(at::Tensor images, at::Tensor labels, int64_t classes);

  const at::Tensor& images() const { return images_; }  ///< uint8 [N, C, H, W]
  const at::Tensor& labels() const { return labels_; }  ///< int64 [N]
  DatasetShape shape() const;
  int64_t count() const { return labels_.size(0); }
  int64_t classes() const { return classes_; }
  at::Device device() const { return images_.device(); }
  int64_t bytes() const;

  /// The rows in the order given. Throws ERR_DATA when an index is not in [0, count).
  Dataset subset(const std::vector<int64_t>& rows) const;

  /// Throws ERR_DATA naming the first index outside [0, count).
  void check_rows(const std::vector<int64_t>& rows) const;

 private:
  at::Tensor images_;
  at::Tensor labels_;
  int64_t classes_;
};

/// Indices as a tensor on a device.
at::Tensor index_tensor(const std::vector<int64_t>& rows, at::Device device);

}  // namespace padft
