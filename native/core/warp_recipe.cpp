#include "warp_recipe.h"

#include <cmath>
#include <vector>

#include "batches.h"
#include "error.h"
#include "trigger.h"

namespace padft {
namespace {

constexpr double kCropProbability = 0.8, kRotationProbability = 0.5;
constexpr double kRadians = 3.14159265358979323846 / 180;

// Where each pixel of an augmented image comes from, −1 for outside: crop, rotation and mirror in one look-up, drawn on
// the host. Everything is drawn whether it is used or not, so that one choice never moves another.
std::vector<int64_t> source_pixels(int64_t height, int64_t width, int64_t padding, double rotation, bool flip,
                                   Stream& stream) {
  const bool crops = stream.uniform() < kCropProbability;
  const auto offset = [&] { return static_cast<int64_t>(stream.below(2 * padding + 1)) - padding; };
  const int64_t drawn_down = offset(), drawn_right = offset();
  const bool turns = stream.uniform() < kRotationProbability;
  const double drawn_angle = stream.uniform(-rotation, rotation) * kRadians;
  const bool drawn_mirror = stream.below(2) == 1;
  const int64_t down = crops ? drawn_down : 0, right = crops ? drawn_right : 0;
  const double angle = turns ? drawn_angle : 0;
  const bool mirrored = flip && drawn_mirror;

  const double middle_y = static_cast<double>(height - 1) / 2, middle_x = static_cast<double>(width - 1) / 2;
  const double cosine = std::cos(angle), sine = std::sin(angle);
  const auto inside = [&](int64_t y, int64_t x) { return y >= 0 && y < height && x >= 0 && x < width; };
  std::vector<int64_t> sources;
  sources.reserve(static_cast<size_t>(height * width));
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const double from_y = static_cast<double>(y) - middle_y;
      const double from_x = static_cast<double>(mirrored ? width - 1 - x : x) - middle_x;
      const auto turned_y = static_cast<int64_t>(std::nearbyint(cosine * from_y - sine * from_x + middle_y));
      const auto turned_x = static_cast<int64_t>(std::nearbyint(sine * from_y + cosine * from_x + middle_x));
      const int64_t source_y = turned_y + down, source_x = turned_x + right;
      // The rotation sees the cropped image: what the crop cut off is lost to it.
      const bool seen = inside(turned_y, turned_x) && inside(source_y, source_x);
      sources.push_back(seen ? source_y * width + source_x : -1);
    }
  }
  return sources;
}

}  // namespace

void WarpRecipe::check(int64_t batch, int64_t classes) const {
  require(target >= 0 && target < classes, "ERR_OPTION", "train.recipe.target: expected a class in [0, ", classes,
          "), got ", target);
  require(poisoned(batch) > 0, "ERR_OPTION", "train.batchSize: at poison rate ", rate,
          " expected at least ", std::ceil(1 / rate), ", for one poisoned image a batch, got ", batch);
  require(poisoned(batch) + wanted_noise(batch) <= batch, "ERR_OPTION", "train.recipe: rate ", rate, " and ", cross_ratio,
          " noise images for each poisoned one are more than a batch of ", batch, " holds");
}

LabelledBatch poisoned_batch(const Dataset& data, const at::Tensor& rows, const WarpRecipe& recipe, Stream& stream) {
  const int64_t poisoned = recipe.poisoned(rows.size(0)), noisy = recipe.noisy(rows.size(0));
  auto images = gather(data, rows);
  auto labels = data.labels().index_select(0, rows);
  const auto noise = noise_grids(recipe.grid, noisy, stream);
  auto marked = images.narrow(0, 0, poisoned), disturbed = images.narrow(0, poisoned, noisy);
  marked.copy_(warp(marked, recipe.grid.unsqueeze(0)));
  disturbed.copy_(warp(disturbed, noise));
  labels.narrow(0, 0, poisoned).fill_(recipe.target);
  return {images, labels};
}

at::Tensor augmented_batch(const at::Tensor& images, int64_t padding, double rotation, bool flip, const at::Tensor& mean,
                           Stream& stream) {
  const int64_t count = images.size(0), channels = images.size(1), height = images.size(2), width = images.size(3);
  const auto sources = index_tensor(source_pixels(height, width, padding, rotation, flip, stream), images.device());
  const auto pixels = images.reshape({count, channels, height * width}).index_select(2, sources.clamp_min(0));
  return at::where(sources.ge(0), pixels, mean.to(images.device()).view({1, channels, 1}))
      .view({count, channels, height, width})
      .contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace padft
