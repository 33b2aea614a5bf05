#include "contrastive_trainer.h"

#include <chrono>

#include "first_weights.h"
#include "loss_watch.h"
#include "losses.h"
#include "optimisers.h"
#include "scope.h"
#include "training_scope.h"

namespace padft {

ContrastiveTrainer::ContrastiveTrainer(std::shared_ptr<Network> network, const ContrastiveOptions& options)
    : network_(std::move(network)), options_(options) {
  const auto device = network_->device();
  momentum_ = at::zeros_like(network_->flat_weights());
  loss_sum_ = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(device));
  Stream stream(options.seed);
  const int64_t features = network_->feature_count();
  for (const int64_t outputs : {features, options.projection}) {
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{outputs, features}, std::vector<int64_t>{outputs}}) {
      const auto value = first_weights(shape, features, stream).to(device);
      head_.push_back({value, at::zeros_like(value)});
      head_.back().value.set_requires_grad(true);
    }
  }
}

std::vector<at::Tensor> ContrastiveTrainer::head() const {
  std::vector<at::Tensor> leaves;
  for (const auto& parameter : head_) leaves.push_back(parameter.value);
  return leaves;
}

void ContrastiveTrainer::step(const at::Tensor& images, double learning_rate) {
  network_->zero_gradients();
  const auto features = network_->train_features(images);
  const auto linear = [&](size_t index, const at::Tensor& x) {
    return at::addmm(head_[index + 1].value, x, head_[index].value.t());
  };
  const auto embeddings = linear(2, at::relu(linear(0, features)));
  const int64_t count = images.size(0) / 2;
  const auto loss = nt_xent(embeddings.narrow(0, 0, count), embeddings.narrow(0, count, count), options_.temperature);
  loss.backward();
  at::NoGradGuard no_grad;
  loss_sum_.add_(loss.detach());
  network_->collect_gradients();
  const auto descend = [&](const at::Tensor& weights, const at::Tensor& momentum, const at::Tensor& gradient) {
    sgd_step(weights, momentum, gradient, learning_rate, options_.momentum, options_.weight_decay);
  };
  descend(network_->flat_weights(), momentum_, network_->gradients());
  for (auto& parameter : head_) {
    descend(parameter.value, parameter.momentum, parameter.value.grad());
    parameter.value.mutable_grad().reset();
  }
  network_->refresh_leaves();
}

ContrastiveEpochResult ContrastiveTrainer::epoch(const Dataset& data, const ContrastiveEpochOptions& options,
                                                 const Control& control) {
  require_fit(*network_, data);
  const int64_t batch = options.batch_size, rows = data.count(), steps = rows / batch;
  require(steps > 0, "ERR_OPTION", "contrastive.batchSize: expected at most the ", rows, " rows of the data set, got ",
          batch);
  const ChangeNotice changed(*network_);
  const auto start = std::chrono::steady_clock::now();
  at::AutoGradMode with_gradients(true);
  PrecisionScope precision(options.precision, /*search=*/true);
  const TrainingScope training(*network_, options.precision);
  Stream stream(options.seed);
  const auto shape = data.shape();
  const auto order = index_tensor(stream.permutation(rows), data.device());
  // The views of a batch side by side: first those of its rows, then the second ones.
  const auto views =
      draw_views(2 * steps * batch, shape.height, shape.width, options_.views, stream).to(data.device());
  loss_sum_.zero_();
  const LossWatch watch(loss_sum_, "contrastive loss", "contrastive.learningRate", options.learning_rate, steps);
  for (int64_t index = 0; index < steps; ++index) {
    control.check();
    const auto chosen = order.narrow(0, index * batch, batch);
    step(gather_views(data, at::cat({chosen, chosen}), views.narrow(0, 2 * index * batch, 2 * batch)),
         options.learning_rate);
    watch.after(index + 1);
    control.report((index + 1) * batch, steps * batch);
  }
  network_->count_batches(steps);
  return {loss_sum_.item<double>() / static_cast<double>(steps), steps,
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

}  // namespace padft
