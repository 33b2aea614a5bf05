// Everything that reads a network without changing it: predictions, logits, features, scores, activation ranges.
// Evaluation mode, no augmentation, rows in order; results are on the host.
#pragma once

#include <optional>

#include "../models/network.h"
#include "control.h"
#include "dataset.h"

namespace padft {

struct EvalOptions {
  int64_t batch_size = 256;
  Precision precision = Precision::fp32;
};

/// float32 [N, classes], under the network's own bounds.
at::Tensor evaluate_logits(Network& network, const Dataset& data, const EvalOptions& options, const Control& control);
/// float32 [N, feature_count]: what the classifier sees, under the network's own bounds.
at::Tensor evaluate_features(Network& network, const Dataset& data, const EvalOptions& options, const Control& control);
/// int64 [N].
at::Tensor predict(Network& network, const Dataset& data, const EvalOptions& options, const Control& control);

struct ScoreOptions : EvalOptions {
  double alpha = 0.1;                      ///< weight of the cross-entropy in SCE
  double log_zero = -9.210340371976182;    ///< ln 1e-4
  Statistic limit_statistic = Statistic::mean;
  at::Tensor limits;  ///< [classes, site channels]: holds each row to its label's limits; undefined scores the net as it is
};

struct Scores {
  at::Tensor sce, log_odds;           ///< float32 [N]
  at::Tensor predicted, alternative;  ///< int64 [N]
};

/// One score a row for its given label (paper section III-A). With `limits`, the network's own bounds are replaced by
/// the limits of each row's label.
Scores score(Network& network, const Dataset& data, const ScoreOptions& options, const Control& control);

struct RangeOptions : EvalOptions {
  Statistic statistic = Statistic::mean;
  std::optional<double> quantile = 0.95;  ///< in (0, 1], linear between order statistics (NumPy's default); none: the mean
  bool leave_one_label_out = false;       ///< row c: over the rows of every label but c
};

/// float32 [classes, site channels], or [1, site channels] over all rows. The network runs unbounded.
at::Tensor activation_ranges(Network& network, const Dataset& data, const RangeOptions& options,
                             const Control& control);

}  // namespace padft
