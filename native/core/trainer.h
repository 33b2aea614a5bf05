// Training of the whole network: SGD with momentum and weight decay on every parameter, one call an epoch.
#pragma once

#include <memory>
#include <optional>

#include "../models/network.h"
#include "batches.h"
#include "control.h"
#include "dataset.h"
#include "warp_recipe.h"

namespace padft {

struct TrainerOptions {
  double momentum = 0.9;
  double weight_decay = 5e-4;
};

struct EpochOptions {
  int64_t batch_size = 128;
  bool drop_last = true;
  double learning_rate_start = 0.01;  ///< linear in the step from start to end
  double learning_rate_end = 0.01;
  int64_t crop_padding = 4;
  bool flip = true;
  uint64_t seed = 0;
  Precision precision = Precision::fp32;
  /// Poisons every batch of clean data; `crop_padding` and `flip` are then those of its own augmentation.
  std::optional<WarpRecipe> recipe;
};

struct EpochResult {
  double loss = 0;  ///< mean cross-entropy over the rows seen
  int64_t correct = 0;
  int64_t count = 0;
  int64_t steps = 0;
  double seconds = 0;
};

class Trainer {
 public:
  Trainer(std::shared_ptr<Network> network, const TrainerOptions& options);
  ~Trainer();

  /// One pass over `data`. With a recipe a step is never recorded as a CUDA graph. Throws ERR_NUMERIC when the loss is no longer a number: the network is then damaged and
  /// must be restored from a checkpoint; ERR_ABORTED in the middle leaves it part-way through the epoch.
  EpochResult epoch(const Dataset& data, const EpochOptions& options, const Control& control);

  /// float32, in the network's flat order, padding included.
  at::Tensor momentum() const { return momentum_; }
  void set_momentum(const at::Tensor& momentum);

 private:
  struct Recording;
  void step(const LabelledBatch& batch);

  std::shared_ptr<Network> network_;
  TrainerOptions options_;
  at::Tensor momentum_;
  // What a step reads and writes besides the network: fixed tensors, so that a recorded step can be replayed.
  at::Tensor learning_rate_, loss_sum_, correct_;
  std::unique_ptr<Recording> recording_;
};

}  // namespace padft
