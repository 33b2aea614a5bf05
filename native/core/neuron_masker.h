// Adversarial neuron pruning: which channels a network needs least when its batch norms are disturbed (Wu and Wang,
// "Adversarial Neuron Pruning Purifies Backdoored Deep Models", NeurIPS 2021).
#pragma once

#include <memory>

#include "../models/network.h"
#include "batches.h"
#include "control.h"
#include "dataset.h"
#include "random.h"
#include "warp_recipe.h"

namespace padft {

struct MaskerOptions {
  int64_t batch_size = 128;     ///< rows a step; all of them where there are fewer
  double epsilon = 0.4;         ///< largest relative disturbance of a batch norm's scale and shift
  double alpha = 0.2;           ///< weight of the loss without disturbance against the one under it, in [0, 1]
  double learning_rate = 0.2;   ///< of SGD on the masks
  double momentum = 0.9;
  int64_t crop_padding = 4;
  bool flip = true;
  uint64_t seed = 0;
  Precision precision = Precision::fp32;
};

struct MaskStepsResult {
  double loss = 0;         ///< mean cross-entropy under the masks alone
  double robust_loss = 0;  ///< and under masks and disturbance
  double seconds = 0;
};

/// Works on a copy, which the first steps make: the victim is left as it is.
class NeuronMasker {
 public:
  /// Throws what `require_fit` does, and ERR_DATA for a single row, which batch norm cannot use.
  NeuronMasker(std::shared_ptr<const Network> victim, Dataset data, const MaskerOptions& options);

  /// One step draws a disturbance δ of every scale and ξ of every shift from U(−ε, ε), moves it by ε along the sign of
  /// its gradient to where the loss is larger and back into [−ε, ε], and then moves the masks m, held in [0, 1], down
  /// α·CE(m) + (1 − α)·CE(m, δ, ξ): the batch norms run with scale·(m + δ) and shift·(1 + ξ), in training mode.
  /// Throws ERR_NUMERIC when the loss is no longer a number, ERR_ABORTED.
  MaskStepsResult steps(int64_t count, const Control& control);

  /// float32 [site channels] in [0, 1], in the order of the sites: 1 for a channel that is needed.
  at::Tensor mask() const { return mask_.clone(); }

 private:
  struct Gradient {
    at::Tensor loss, scale, shift;
  };
  void prepare();
  LabelledBatch next_batch();
  Gradient gradient(const LabelledBatch& batch, const at::Tensor& scale, const at::Tensor& shift);

  std::shared_ptr<const Network> victim_;
  std::unique_ptr<Network> network_;  // the copy
  Dataset data_;
  MaskerOptions options_;
  Stream order_, noise_;
  DrawPlan plan_;
  int64_t position_ = 0;
  // Where the flat buffer holds the batch norms' scales and shifts, int64, and what they are in the victim.
  at::Tensor scale_index_, shift_index_, scale_, shift_;
  at::Tensor mask_, momentum_;
};

}  // namespace padft
