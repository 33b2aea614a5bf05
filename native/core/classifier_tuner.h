// Classifier fine-tuning (paper section III-C). Backbone, batch norms and bounds are frozen, so what the classifier
// sees of an image never changes: features are computed once, and only the linear layer is trained on them. The same
// mathematics as running the whole network at every step.
#pragma once

#include <memory>
#include <optional>

#include "../models/network.h"
#include "control.h"
#include "dataset.h"
#include "random.h"

namespace padft {

struct TunerOptions {
  int64_t draws = 8;   ///< augmented copies per row; 0 draws a fresh copy of every row at every epoch
  double jitter = 0.4;  ///< brightness and contrast factors are U[1 − jitter, 1 + jitter]
  bool flip = true;
  uint64_t seed = 0;
  double momentum = 0.9;
  double weight_decay = 5e-4;
  double alpha = 0.1;
  double log_zero = -9.210340371976182;
  double beta = 0.5;   ///< weight of SCE; 1 − beta weighs consistency
  double nu = 0;       ///< weight of the suspects' term
  double margin = 2;
  Precision precision = Precision::fp32;
  int64_t feature_batch_size = 256;
};

struct TuneEpochOptions {
  double learning_rate = 0.01;
  int64_t batch_size = 256;
};

struct TuneEpochResult {
  double loss = 0, sce = 0, consistency = 0, suspect_loss = 0, accuracy = 0, seconds = 0;
};

class ClassifierTuner {
 public:
  ClassifierTuner(std::shared_ptr<Network> network, Dataset data, std::optional<Dataset> suspects,
                  const TunerOptions& options);

  /// One pass of SGD over the rows: loss = β·SCE + (1 − β)·‖σ(F(x)) − σ(F(x′))‖² (paper eq. 4) + ν · mean
  /// softplus(suspects' log-odds + margin). Trains the network's classifier in place.
  TuneEpochResult epoch(const TuneEpochOptions& options, const Control& control);

  /// One augmented copy of each row given: flip, then brightness, then contrast (paper section III-C); float32 [B, C,
  /// H, W] in [0, 1]. Draws come from `stream`.
  at::Tensor augmented(const at::Tensor& rows, Stream& stream) const;

 private:
  void prepare(const Control& control);
  at::Tensor augmented_features(const Control& control);

  std::shared_ptr<Network> network_;
  Dataset data_;
  std::optional<Dataset> suspects_;
  TunerOptions options_;
  Stream augmentation_, order_;
  BatchCycle suspect_rows_;
  at::Tensor features_, suspect_features_;  // [N, F]
  std::vector<at::Tensor> copies_;          // `draws` tensors [N, F]
  at::Tensor weight_momentum_, bias_momentum_;
};

}  // namespace padft
