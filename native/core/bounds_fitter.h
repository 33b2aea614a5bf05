// Activation clipping (paper section III-B, eq. 2): gradient descent on the bounds alone. The network is frozen and
// its unbounded logits are computed once; a step costs one forward and one backward to the bounds.
#pragma once

#include <memory>
#include <optional>

#include "../models/network.h"
#include "control.h"
#include "dataset.h"
#include "random.h"

namespace padft {

struct BoundsFitterOptions {
  enum class Parameters { absolute, fraction };
  enum class Scale { plain, variance };
  Parameters parameters = Parameters::absolute;
  bool per_layer = false;
  /// [site channels]: start (absolute) or reference (fraction); undefined leaves the kind out. An absolute start of +∞
  /// leaves its channel (per layer: the layer of such a channel) unbounded for good, and out of the penalty.
  at::Tensor max;
  at::Tensor mean;
  Scale scale = Scale::plain;  ///< `variance`: MSE divided by the variance of the reference logits
  double margin = 2;
  uint64_t seed = 0;
  Precision precision = Precision::fp32;
};

struct FitStepsOptions {
  int64_t steps = 1;
  double learning_rate = 0.1;
  double lambda = 0.5;
  double mu = 0;
  int64_t batch_size = 200;
  int64_t suspect_batch_size = 64;
};

/// Means over the steps of one call.
struct FitStepsResult {
  double loss = 0, mse = 0, penalty = 0, suspect_loss = 0, accuracy = 0, suspects_kept = 0, seconds = 0;
};

class BoundsFitter {
 public:
  BoundsFitter(std::shared_ptr<Network> network, Dataset data, std::optional<Dataset> suspects,
               BoundsFitterOptions options);

  /// `steps` of Adam on  mean MSE(F(x; Z), F(x)) [/ variance] + λ · penalty + μ · mean softplus(log-odds + margin),
  /// bounds kept ≥ 0 (absolute) or fractions in [0, 1]. The penalty is Σ_l ‖z_l‖₂ (absolute; MM-BM) or the mean
  /// fraction. Throws ERR_NUMERIC when the loss is not a number.
  FitStepsResult steps(const FitStepsOptions& options, const Control& control);

  /// The bounds now, float32 [site channels] each.
  BoundSet bounds() const;

 private:
  struct Kind {
    at::Tensor reference;   // [site channels]; undefined when the kind is left out
    at::Tensor parameter;   // [site channels] or [sites]
    at::Tensor first, second;  // Adam's moments
  };
  void prepare(const Control& control);
  Kind make_kind(const at::Tensor& reference) const;
  at::Tensor expand(const Kind& kind) const;
  at::Tensor penalty() const;
  void adam(Kind& kind, double learning_rate) const;

  std::shared_ptr<Network> network_;
  Dataset data_;
  std::optional<Dataset> suspects_;
  BoundsFitterOptions options_;
  at::Tensor site_of_channel_;  // int64 [site channels]
  Kind max_, mean_;
  BatchCycle rows_, suspect_rows_;
  at::Tensor reference_logits_;
  double scale_ = 1;
  int64_t step_ = 0;
};

}  // namespace padft
