// WaNet's own training (Nguyen and Tran, arXiv 2102.10369, as BackdoorBench runs it): every batch is poisoned anew from
// clean images, with fresh noise, and augmented in its own way.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>

#include "dataset.h"
#include "random.h"

namespace padft {

struct WarpRecipe {
  double rate = 0.1;       ///< share of a batch that is warped and gets the target label
  double cross_ratio = 2;  ///< noise images, warped otherwise and labelled truly, for each of those
  double rotation = 10;    ///< largest angle of the augmentation, degrees
  int64_t target = 0;
  at::Tensor grid;         ///< float32 H×W×2 (see `warp`)

  int64_t poisoned(int64_t batch) const { return static_cast<int64_t>(rate * static_cast<double>(batch)); }
  /// At most what the poisoned ones leave: rounding may ask more of a last, smaller batch.
  int64_t noisy(int64_t batch) const { return std::min(wanted_noise(batch), batch - poisoned(batch)); }
  /// Throws ERR_OPTION when a full batch would have no poisoned image, or more warped ones than images.
  void check(int64_t batch, int64_t classes) const;

 private:
  int64_t wanted_noise(int64_t batch) const {
    return static_cast<int64_t>(cross_ratio * static_cast<double>(poisoned(batch)));
  }
};

struct LabelledBatch {
  at::Tensor images;  ///< float32 [B, C, H, W] in [0, 1], channels-last
  at::Tensor labels;  ///< int64 [B]
};

/// The clean rows [B] poisoned: the first `poisoned(B)` warped by the grid and given the target label, the next `noisy(B)`
/// warped by noise grids of their own, the rest as they are.
LabelledBatch poisoned_batch(const Dataset& data, const at::Tensor& rows, const WarpRecipe& recipe, Stream& stream);

/// One crop (probability 0.8, zero padding after normalisation), one rotation (0.5, nearest pixel) and, with `flip`, one
/// mirror (0.5) for the whole batch, as published. `mean` [C] is the colour of what lies outside.
at::Tensor augmented_batch(const at::Tensor& images, int64_t padding, double rotation, bool flip, const at::Tensor& mean,
                           Stream& stream);

}  // namespace padft
