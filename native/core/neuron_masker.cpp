#include "neuron_masker.h"

#include <chrono>

#include "loss_watch.h"
#include "scope.h"
#include "training_scope.h"

namespace padft {
namespace {

/// Where the flat buffer holds `prefix`.`kind` of every batch norm, in the order of the state, which is that of the sites.
at::Tensor norm_positions(Network& network, const std::string& kind) {
  static const std::string kStatistic = ".running_mean";
  std::vector<at::Tensor> parts{at::empty({0}, at::kLong)};  // of a network without batch norms, none
  for (const auto& statistic : network.state()) {
    const auto length = statistic.name.size() - std::min(statistic.name.size(), kStatistic.size());
    if (statistic.name.substr(length) != kStatistic) continue;
    const auto wanted = statistic.name.substr(0, length) + kind;
    for (const auto& entry : network.state()) {
      if (entry.name != wanted) continue;
      const int64_t start = entry.tensor.storage_offset() - network.flat_weights().storage_offset();
      parts.push_back(at::arange(start, start + entry.tensor.numel(), at::kLong));
    }
  }
  return at::cat(parts).to(network.device());
}

}  // namespace

NeuronMasker::NeuronMasker(std::shared_ptr<const Network> victim, Dataset data, const MaskerOptions& options)
    : victim_(std::move(victim)),
      data_(std::move(data)),
      options_(options),
      order_(options.seed),
      noise_(options.seed + 1),
      mask_(at::ones({victim_->site_channels()}, at::TensorOptions().device(victim_->device()))),
      momentum_(at::zeros_like(mask_)) {
  require_fit(*victim_, data_);
  require(data_.count() > 1, "ERR_DATA", "neuron masks: expected at least 2 rows, which batch norm needs, got ", data_.count());
  options_.batch_size = std::min(options.batch_size, data_.count());
}

void NeuronMasker::prepare() {
  if (network_) return;
  auto copy = victim_->clone(victim_->device());
  scale_index_ = norm_positions(*copy, ".weight");
  shift_index_ = norm_positions(*copy, ".bias");
  require(scale_index_.numel() == mask_.numel() && shift_index_.numel() == mask_.numel(), "ERR_MODEL",
          "neuron masks: expected one batch norm a clip site, ", mask_.numel(), " channels, got ", scale_index_.numel());
  scale_ = copy->flat_weights().index_select(0, scale_index_);
  shift_ = copy->flat_weights().index_select(0, shift_index_);
  network_ = std::move(copy);
}

LabelledBatch NeuronMasker::next_batch() {
  const int64_t batch = options_.batch_size;
  if (!plan_.table.defined() || position_ + batch > data_.count()) {
    plan_ = DrawPlan::epoch(data_.count(), options_.crop_padding, options_.flip, order_, data_.device());
    position_ = 0;
  }
  const auto table = plan_.table.narrow(1, position_, batch);
  position_ += batch;
  return {gather_augmented(data_, table, plan_.padding), data_.labels().index_select(0, table[0])};
}

NeuronMasker::Gradient NeuronMasker::gradient(const LabelledBatch& batch, const at::Tensor& scale, const at::Tensor& shift) {
  auto& weights = network_->flat_weights();
  weights.index_copy_(0, scale_index_, scale_ * scale);
  weights.index_copy_(0, shift_index_, shift_ * shift);
  network_->zero_gradients();
  at::Tensor loss;
  {
    at::AutoGradMode with_gradients(true);
    loss = at::cross_entropy_loss(network_->train_logits(batch.images), batch.labels);
    loss.backward();
  }
  network_->collect_gradients();
  // The chain rule through scale·(m + δ) and shift·(1 + ξ).
  const auto& all = network_->gradients();
  return {loss.detach(), all.index_select(0, scale_index_) * scale_, all.index_select(0, shift_index_) * shift_};
}

MaskStepsResult NeuronMasker::steps(int64_t count, const Control& control) {
  const auto start = std::chrono::steady_clock::now();
  at::NoGradGuard no_grad;
  prepare();
  PrecisionScope precision(options_.precision, /*search=*/true);
  const TrainingScope training(*network_, options_.precision);
  const double epsilon = options_.epsilon;
  const auto drawn = [&] {
    auto host = at::empty(scale_.sizes(), at::kFloat);
    auto* out = host.data_ptr<float>();
    for (int64_t i = 0; i < host.numel(); ++i) out[i] = static_cast<float>(noise_.uniform(-epsilon, epsilon));
    return host.to(scale_.device());
  };
  const auto undisturbed = at::ones_like(shift_);
  auto total = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(network_->device()));
  auto sums = at::zeros({2}, at::TensorOptions().dtype(at::kDouble).device(network_->device()));
  const LossWatch watch(total, "loss under the masks", "masks.learningRate", options_.learning_rate, count);
  for (int64_t step = 0; step < count; ++step) {
    control.check();
    const auto batch = next_batch();
    auto of_scale = drawn(), of_shift = drawn();
    if (epsilon > 0) {
      const auto rising = gradient(batch, mask_ + of_scale, 1 + of_shift);
      of_scale.add_(rising.scale.sign(), epsilon).clamp_(-epsilon, epsilon);
      of_shift.add_(rising.shift.sign(), epsilon).clamp_(-epsilon, epsilon);
    }
    const auto disturbed = gradient(batch, mask_ + of_scale, 1 + of_shift);
    const auto natural = gradient(batch, mask_, undisturbed);
    momentum_.mul_(options_.momentum).add_(natural.scale, options_.alpha).add_(disturbed.scale, 1 - options_.alpha);
    mask_.sub_(momentum_, options_.learning_rate).clamp_(0, 1);
    sums.add_(at::stack({natural.loss, disturbed.loss}).to(at::kDouble));
    total.copy_(sums.sum());
    watch.after(step + 1);
    control.report(step + 1, count);
  }
  const auto mean = (sums / static_cast<double>(count)).cpu();
  const auto* values = mean.data_ptr<double>();
  require(at::isfinite(mask_).all().item<bool>(), "ERR_NUMERIC", "a mask is NaN or infinite; lower masks.learningRate (it is ",
          options_.learning_rate, ")");
  return {values[0], values[1],
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

}  // namespace padft
