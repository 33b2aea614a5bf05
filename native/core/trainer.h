// Training of the whole network: SGD with momentum and weight decay on every parameter, one call an epoch.
#pragma once

#include <memory>
#include <optional>
#include <vector>

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

/// What a step descends: as it is, the plain cross-entropy of a batch.
struct Objective {
  double label_smoothing = 0;  ///< of the cross-entropy, in [0, 1)
  /// Below this mean loss a batch is climbed and not descended (local gradient ascent; ABL, Li et al., NeurIPS 2021).
  std::optional<double> ascent_below;
  /// ρ of adaptive SAM (Kwon et al., ICML 2021; Foret et al., ICLR 2021): the gradient is taken at
  /// w + ρ·w²·g / ‖|w|·g‖ over all weights; 0 takes it at w. Running statistics see the first pass alone.
  double radius = 0;
  /// Adds Σ over stages of weight · attention distance to the teacher's map (NAD), the teacher in evaluation mode.
  std::shared_ptr<Network> teacher;
  std::vector<double> attention;  ///< one weight a stage, the last at the end; empty without a teacher

  /// One pass a step, in which nothing but the weights moves: what a CUDA graph can record.
  bool plain() const { return label_smoothing == 0 && !ascent_below && radius == 0 && !teacher; }
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
  Objective objective;
};

struct EpochResult {
  double loss = 0;  ///< mean over the rows seen: cross-entropy and attention distances, before any sign
  int64_t correct = 0;
  int64_t count = 0;
  int64_t steps = 0;
  double seconds = 0;
};

class Trainer {
 public:
  Trainer(std::shared_ptr<Network> network, const TrainerOptions& options);
  ~Trainer();

  /// One pass over `data`. With a recipe, or another objective than the plain one, no step is recorded as a CUDA graph.
  /// Throws ERR_NUMERIC when the loss is no longer a number: the network is then damaged and must be restored from a
  /// checkpoint; ERR_MODEL when a teacher's maps do not fit; ERR_ABORTED in the middle leaves it part-way through the
  /// epoch.
  EpochResult epoch(const Dataset& data, const EpochOptions& options, const Control& control);

  /// float32, in the network's flat order, padding included.
  at::Tensor momentum() const { return momentum_; }
  void set_momentum(const at::Tensor& momentum);

 private:
  struct Recording;
  struct Pass {
    at::Tensor loss, logits;
  };
  /// Forward and backward: leaves the objective's gradient in the network.
  Pass backward(const LabelledBatch& batch, const Objective& objective, Precision precision);
  void step(const LabelledBatch& batch, const Objective& objective, Precision precision);

  std::shared_ptr<Network> network_;
  TrainerOptions options_;
  at::Tensor momentum_;
  // What a step reads and writes besides the network: fixed tensors, so that a recorded step can be replayed.
  at::Tensor learning_rate_, loss_sum_, correct_;
  std::unique_ptr<Recording> recording_;
};

}  // namespace padft
