#include "classifier_tuner.h"

#include <chrono>
#include <cmath>

#include <torch/csrc/autograd/autograd.h>

#include "batches.h"
#include "evaluate.h"
#include "losses.h"
#include "optimisers.h"
#include "scope.h"

namespace padft {

ClassifierTuner::ClassifierTuner(std::shared_ptr<Network> network, Dataset data, std::optional<Dataset> suspects,
                                 const TunerOptions& options)
    : network_(std::move(network)),
      data_(std::move(data)),
      suspects_(std::move(suspects)),
      options_(options),
      augmentation_(options.seed),
      order_(options.seed + 1),
      suspect_rows_(suspects_ ? suspects_->count() : 0, options.seed + 2) {
  require_fit(*network_, data_);
  if (suspects_) require_fit(*network_, *suspects_);
  weight_momentum_ = at::zeros_like(network_->classifier_weight());
  bias_momentum_ = at::zeros_like(network_->classifier_bias());
}

at::Tensor ClassifierTuner::augmented(const at::Tensor& rows, Stream& stream) const {
  const int64_t count = rows.size(0);
  auto table = at::zeros({4, count}, at::kLong);
  auto factors = at::empty({2, count});
  auto* mirrored = table.data_ptr<int64_t>() + 3 * count;
  auto* factor = factors.data_ptr<float>();
  for (int64_t i = 0; i < count; ++i) {
    if (options_.flip) mirrored[i] = static_cast<int64_t>(stream.below(2));
    factor[i] = static_cast<float>(stream.uniform(1 - options_.jitter, 1 + options_.jitter));
    factor[count + i] = static_cast<float>(stream.uniform(1 - options_.jitter, 1 + options_.jitter));
  }
  table[0].copy_(rows);
  const auto device = data_.device();
  factors = factors.to(device);
  return adjust_colour(gather_augmented(data_, table.to(device), 0), factors[0], factors[1]);
}

at::Tensor ClassifierTuner::augmented_features(const Control& control) {
  at::NoGradGuard no_grad;
  PrecisionScope precision(options_.precision);
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < data_.count(); begin += options_.feature_batch_size) {
    control.check();
    const int64_t end = std::min(data_.count(), begin + options_.feature_batch_size);
    EvalPass pass;
    pass.precision = options_.precision;
    pass.bounds = network_->bounds;
    parts.push_back(network_->features(augmented(at::arange(begin, end, at::kLong), augmentation_), pass));
  }
  return at::cat(parts);
}

void ClassifierTuner::prepare(const Control& control) {
  if (features_.defined()) return;
  EvalOptions evaluation;
  evaluation.precision = options_.precision;
  evaluation.batch_size = options_.feature_batch_size;
  const auto device = network_->device();
  std::vector<at::Tensor> copies;
  for (int64_t draw = 0; draw < options_.draws; ++draw) copies.push_back(augmented_features(control));
  if (suspects_ && options_.nu > 0) {
    suspect_features_ = evaluate_features(*network_, *suspects_, evaluation, control).to(device);
  }
  copies_ = std::move(copies);
  features_ = evaluate_features(*network_, data_, evaluation, control).to(device);
}

TuneEpochResult ClassifierTuner::epoch(const TuneEpochOptions& options, const Control& control) {
  const auto start = std::chrono::steady_clock::now();
  prepare(control);
  PrecisionScope precision(options_.precision);
  const auto device = network_->device();
  const int64_t rows = data_.count();
  at::Tensor exact;
  if (options_.draws == 0) exact = augmented_features(control);
  auto weight = network_->classifier_weight().detach().clone().set_requires_grad(true);
  auto bias = network_->classifier_bias().detach().clone().set_requires_grad(true);
  auto weight_momentum = weight_momentum_.clone(), bias_momentum = bias_momentum_.clone();
  const auto order = index_tensor(order_.permutation(rows), device);
  // loss, sce, consistency, suspect loss, correct rows; each weighted by the batch's size
  auto sums = at::zeros({5}, at::TensorOptions().dtype(at::kDouble).device(device));
  at::AutoGradMode with_gradients(true);
  const auto classify = [&](const at::Tensor& features) { return at::addmm(bias, features, weight.t()); };
  for (int64_t begin = 0; begin < rows; begin += options.batch_size) {
    control.check();
    const int64_t size = std::min(options.batch_size, rows - begin);
    const auto index = order.narrow(0, begin, size);
    const auto labels = data_.labels().index_select(0, index);
    // One of the K copies for the whole batch, drawn anew each time; rows meet all copies over the epochs.
    const auto& copies = options_.draws == 0 ? exact : copies_[order_.below(static_cast<uint64_t>(options_.draws))];
    const auto logits = classify(features_.index_select(0, index));
    const auto other = classify(copies.index_select(0, index));
    const auto sce = symmetric_cross_entropy(logits, labels, options_.alpha, options_.log_zero).mean();
    const auto agreement = consistency(logits, other).mean();
    auto loss = options_.beta * sce + (1 - options_.beta) * agreement;
    at::Tensor suspicion = at::zeros({}, loss.options());
    if (suspect_features_.defined()) {
      const auto chosen = index_tensor(suspect_rows_.next(std::min(options.batch_size, suspects_->count())), device);
      suspicion = suspect_penalty(classify(suspect_features_.index_select(0, chosen)),
                                  suspects_->labels().index_select(0, chosen), options_.margin).mean();
      loss = loss + options_.nu * suspicion;
    }
    const auto gradients = torch::autograd::grad({loss}, {weight, bias});
    at::NoGradGuard no_grad;
    sgd_step(weight, weight_momentum, gradients[0], options.learning_rate, options_.momentum, options_.weight_decay);
    sgd_step(bias, bias_momentum, gradients[1], options.learning_rate, options_.momentum, options_.weight_decay);
    const auto correct = logits.argmax(1).eq(labels).to(at::kFloat).mean();
    sums.add_(at::stack({loss, sce, agreement, suspicion, correct}).detach().to(at::kDouble), static_cast<double>(size));
  }
  const auto host = (sums / static_cast<double>(rows)).cpu();
  const auto* mean = host.data_ptr<double>();
  require(std::isfinite(mean[0]), "ERR_NUMERIC", "fine-tuning loss is NaN or infinite; lower tune.learningRate (it is ",
          options.learning_rate, ")");
  at::NoGradGuard no_grad;
  network_->classifier_weight().copy_(weight.detach());
  network_->classifier_bias().copy_(bias.detach());
  weight_momentum_ = weight_momentum;
  bias_momentum_ = bias_momentum;
  network_->state_changed();
  return {mean[0], mean[1], mean[2], mean[3], mean[4],
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

}  // namespace padft
