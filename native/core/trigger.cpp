#include "trigger.h"

#include "error.h"

namespace padft {
namespace {

// Separate multiply and add, never fused: a fused multiply-add rounds once and would differ from NumPy in the last bit.
at::Tensor blend(const at::Tensor& images, const at::Tensor& pattern, double alpha) {
  return images.to(at::kDouble).mul(1.0 - alpha).add(pattern.to(at::kDouble).mul(alpha));
}

}  // namespace

at::Tensor apply_trigger(const at::Tensor& images, const Trigger& trigger) {
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
  return drawn.clamp(0, 255).to(at::kByte);  // a double → uint8 conversion truncates
}

Dataset with_trigger(const Dataset& data, const std::vector<int64_t>& rows, const Trigger& trigger,
                     const std::vector<int64_t>& labels) {
  data.check_rows(rows);
  require(rows.size() == labels.size(), "ERR_DATA", "expected one label for each of the ", rows.size(),
          " triggered rows, got ", labels.size());
  for (const int64_t label : labels) {
    require(label >= 0 && label < data.classes(), "ERR_DATA", "label under attack: expected an integer in [0, ",
            data.classes(), "), got ", label);
  }
  auto images = data.images().clone();
  auto new_labels = data.labels().clone();
  // In slices, so that the double-precision copies of a large set stay small.
  constexpr size_t kSlice = 4096;
  for (size_t begin = 0; begin < rows.size(); begin += kSlice) {
    const size_t end = std::min(rows.size(), begin + kSlice);
    const auto index = index_tensor({rows.begin() + begin, rows.begin() + end}, data.device());
    images.index_copy_(0, index, apply_trigger(images.index_select(0, index), trigger));
    new_labels.index_copy_(0, index, index_tensor({labels.begin() + begin, labels.begin() + end}, data.device()));
  }
  return Dataset(images, new_labels, data.classes());
}

}  // namespace padft
