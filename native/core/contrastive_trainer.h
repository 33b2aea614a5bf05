// Contrastive training without labels: SimCLR (Chen et al., "A Simple Framework for Contrastive Learning of Visual
// Representations", ICML 2020). The backbone learns to give two views of an image alike features, and no label is read.
#pragma once

#include <memory>
#include <vector>

#include "../models/network.h"
#include "control.h"
#include "dataset.h"
#include "views.h"

namespace padft {

struct ContrastiveOptions {
  int64_t projection = 128;  ///< length of the embeddings that are compared
  double temperature = 0.5;
  double momentum = 0.9;
  double weight_decay = 1e-4;
  ViewOptions views;
  uint64_t seed = 0;         ///< of the projection head's first weights
};

struct ContrastiveEpochOptions {
  int64_t batch_size = 512;
  double learning_rate = 0.4;
  uint64_t seed = 0;         ///< of the epoch's order and views
  Precision precision = Precision::fp32;
};

struct ContrastiveEpochResult {
  double loss = 0;           ///< mean NT-Xent over the steps
  int64_t steps = 0;
  double seconds = 0;
};

class ContrastiveTrainer {
 public:
  /// Draws the projection head features → features → `projection`: linear, ReLU, linear, by PyTorch's defaults.
  ContrastiveTrainer(std::shared_ptr<Network> network, const ContrastiveOptions& options);

  /// One pass over `data` without its last, smaller batch: SGD with momentum and weight decay on the backbone and the
  /// head. The classifier, which has no gradient here, is decayed like the rest. ERR_OPTION when a batch is larger than
  /// the set; ERR_NUMERIC when the loss is no longer a number: the network is then damaged.
  ContrastiveEpochResult epoch(const Dataset& data, const ContrastiveEpochOptions& options, const Control& control);

  /// The head's leaves in order: weight, bias, weight, bias.
  std::vector<at::Tensor> head() const;

 private:
  struct Parameter {
    at::Tensor value, momentum;
  };
  void step(const at::Tensor& images, double learning_rate);

  std::shared_ptr<Network> network_;
  ContrastiveOptions options_;
  at::Tensor momentum_, loss_sum_;
  std::vector<Parameter> head_;
};

}  // namespace padft
