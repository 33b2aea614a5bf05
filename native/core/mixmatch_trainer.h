// Semi-supervised training of the whole network: MixMatch (Berthelot et al., "MixMatch: A Holistic Approach to
// Semi-Supervised Learning", NeurIPS 2019). Some rows keep their given label, the labels of all others are never read.
#pragma once

#include <memory>
#include <vector>

#include "../models/network.h"
#include "control.h"
#include "dataset.h"

namespace padft {

struct MixMatchOptions {
  int64_t steps = 1024;
  int64_t batch_size = 64;        ///< labelled rows a step, and as many unlabelled ones
  double learning_rate = 0.002;
  double sharpening = 0.5;        ///< temperature that guesses are sharpened with
  double mix_alpha = 0.75;        ///< pairs are mixed by Beta(α, α)
  double unlabelled_start = 0;    ///< weight of the unlabelled rows' loss, linear in the step from start to end
  double unlabelled_end = 15;
  int64_t crop_padding = 4;
  bool flip = true;
  uint64_t seed = 0;              ///< of the epoch's batches, views and mixtures
  Precision precision = Precision::fp32;
};

/// Means over the steps.
struct MixMatchResult {
  double loss = 0, labelled_loss = 0, unlabelled_loss = 0;
  double seconds = 0;
};

class MixMatchTrainer {
 public:
  explicit MixMatchTrainer(std::shared_ptr<Network> network);

  /// One epoch, by Adam on every weight. `labelled` are rows of `data` that keep their label, each once; all its other rows
  /// are unlabelled, so there is one numbering of rows and nothing to misalign. A step takes one view (crop and mirror) of
  /// each labelled row and two of each unlabelled one, whose guesses are averaged and sharpened; all 3B are mixed with a
  /// permutation of themselves by max(λ, 1 − λ), one λ a step.
  ///
  /// MixMatch interleaves the mixed rows and passes them in three, so that every batch norm sees both kinds; here one pass
  /// over all of them does that. The pass that guesses is in training mode too and moves the running statistics.
  ///
  /// ERR_OPTION when a batch is larger than either part, ERR_DATA for a row that is not there or there twice; ERR_NUMERIC
  /// when the loss is no longer a number: the network is then damaged.
  MixMatchResult epoch(const Dataset& data, const std::vector<int64_t>& labelled, const MixMatchOptions& options,
                       const Control& control);

 private:
  struct Batch;
  void step(const Batch& batch, const MixMatchOptions& options, double unlabelled_weight);

  std::shared_ptr<Network> network_;
  at::Tensor first_, second_;  // Adam's moments, in the network's flat order
  int64_t adam_steps_ = 0;
  at::Tensor sums_;            // loss, that of labelled and of unlabelled rows
};

}  // namespace padft
