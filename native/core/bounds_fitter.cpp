#include "bounds_fitter.h"

#include <chrono>
#include <cmath>

#include "batches.h"
#include "evaluate.h"
#include "losses.h"
#include "optimisers.h"
#include "scope.h"

namespace padft {
namespace {

at::Tensor site_index(const Network& network) {
  std::vector<int64_t> index;
  for (size_t site = 0; site < network.sites().size(); ++site) {
    index.insert(index.end(), static_cast<size_t>(network.sites()[site].channels), static_cast<int64_t>(site));
  }
  return index_tensor(index, network.device());
}

}  // namespace

BoundsFitter::BoundsFitter(std::shared_ptr<Network> network, Dataset data, std::optional<Dataset> suspects,
                           BoundsFitterOptions options)
    : network_(std::move(network)),
      data_(std::move(data)),
      suspects_(std::move(suspects)),
      options_(std::move(options)),
      site_of_channel_(site_index(*network_)),
      rows_(data_.count(), options_.seed),
      suspect_rows_(suspects_ ? suspects_->count() : 0, options_.seed + 1) {
  require_fit(*network_, data_);
  if (suspects_) require_fit(*network_, *suspects_);
  require(options_.max.defined() || options_.mean.defined(), "ERR_OPTION",
          "clip: expected starting bounds on the largest activation, on the mean, or both; got neither");
  max_ = make_kind(options_.max);
  mean_ = make_kind(options_.mean);
}

BoundsFitter::Kind BoundsFitter::make_kind(const at::Tensor& reference) const {
  Kind kind;
  if (!reference.defined()) return kind;
  require(reference.dim() == 1 && reference.size(0) == network_->site_channels(), "ERR_OPTION",
          "clip bounds: expected one value for each of the ", network_->site_channels(), " channels, got ",
          reference.numel());
  kind.reference = reference.to(network_->device()).to(at::kFloat);
  require(options_.parameters == BoundsFitterOptions::Parameters::absolute || kind.reference.isfinite().all().item<bool>(),
          "ERR_OPTION", "clip bounds: expected finite references, of which shares are learnt");
  const auto sites = static_cast<int64_t>(network_->sites().size());
  if (options_.parameters == BoundsFitterOptions::Parameters::fraction) {
    kind.parameter = at::ones({options_.per_layer ? sites : network_->site_channels()}, kind.reference.options());
  } else if (options_.per_layer) {
    // A layer's one bound starts at the largest of its channels' starts.
    kind.parameter = at::zeros({sites}, kind.reference.options());
    for (int64_t site = 0; site < sites; ++site) {
      kind.parameter[site].copy_(kind.reference.masked_select(site_of_channel_.eq(site)).max());
    }
  } else {
    kind.parameter = kind.reference.clone();
  }
  kind.parameter.set_requires_grad(true);
  kind.first = at::zeros_like(kind.parameter, at::TensorOptions().requires_grad(false));
  kind.second = at::zeros_like(kind.first);
  return kind;
}

at::Tensor BoundsFitter::expand(const Kind& kind) const {
  if (!kind.parameter.defined()) return {};
  const auto values = options_.per_layer ? kind.parameter.index_select(0, site_of_channel_) : kind.parameter;
  return options_.parameters == BoundsFitterOptions::Parameters::fraction ? values * kind.reference : values;
}

at::Tensor BoundsFitter::penalty() const {
  at::Tensor total;
  const auto add = [&](const at::Tensor& term) { total = total.defined() ? total + term : term; };
  int64_t kinds = 0;
  for (const Kind* kind : {&max_, &mean_}) {
    if (!kind->parameter.defined()) continue;
    ++kinds;
    if (options_.parameters == BoundsFitterOptions::Parameters::fraction) {
      add(kind->parameter.mean());
      continue;
    }
    const auto bounded = kind->parameter.masked_fill(kind->parameter.isposinf(), 0);
    if (options_.per_layer) {
      add(bounded.abs().sum());
    } else {
      const auto squares = at::zeros({static_cast<int64_t>(network_->sites().size())}, kind->first.options());
      add(squares.index_add(0, site_of_channel_, bounded.square()).clamp_min(1e-12).sqrt().sum());
    }
  }
  return options_.parameters == BoundsFitterOptions::Parameters::fraction ? total / kinds : total;
}

void BoundsFitter::adam(Kind& kind, double learning_rate) const {
  if (!kind.parameter.defined()) return;
  at::NoGradGuard no_grad;
  adam_step(kind.parameter, kind.first, kind.second, kind.parameter.grad(), step_, learning_rate);
  if (options_.parameters == BoundsFitterOptions::Parameters::fraction) {
    kind.parameter.clamp_(0, 1);
  } else {
    kind.parameter.clamp_min_(0);
  }
  kind.parameter.mutable_grad().reset();
}

// The victim's own logits, once: the published code runs the victim again at every step.
void BoundsFitter::prepare(const Control& control) {
  if (reference_logits_.defined()) return;
  const auto own = network_->bounds;
  network_->bounds = {};
  try {
    EvalOptions evaluation;
    evaluation.precision = options_.precision;
    reference_logits_ = evaluate_logits(*network_, data_, evaluation, control).to(network_->device());
  } catch (...) {
    network_->bounds = own;
    throw;
  }
  network_->bounds = own;
  if (options_.scale == BoundsFitterOptions::Scale::variance) {
    scale_ = 1.0 / std::max(1e-12, reference_logits_.var(/*unbiased=*/false).item<double>());
  }
}

FitStepsResult BoundsFitter::steps(const FitStepsOptions& options, const Control& control) {
  const auto start = std::chrono::steady_clock::now();
  prepare(control);
  PrecisionScope precision(options_.precision);
  at::AutoGradMode with_gradients(true);
  const auto device = network_->device();
  const bool with_suspects = suspects_ && options.mu > 0;
  const int64_t batch = std::min(options.batch_size, data_.count());
  const int64_t suspect_batch = with_suspects ? std::min(options.suspect_batch_size, suspects_->count()) : 0;
  // loss, mse, penalty, suspect loss, correct rows, suspects that keep their label
  auto sums = at::zeros({6}, at::TensorOptions().dtype(at::kDouble).device(device));
  for (int64_t i = 0; i < options.steps; ++i) {
    control.check();
    ++step_;
    const auto rows = index_tensor(rows_.next(batch), device);
    auto images = gather(data_, rows);
    at::Tensor suspect_labels;
    if (with_suspects) {
      const auto suspect_rows = index_tensor(suspect_rows_.next(suspect_batch), device);
      images = at::cat({images, gather(*suspects_, suspect_rows)}).contiguous(at::MemoryFormat::ChannelsLast);
      suspect_labels = suspects_->labels().index_select(0, suspect_rows);
    }
    EvalPass pass;
    pass.precision = options_.precision;
    pass.bounds = {expand(max_), expand(mean_)};
    const auto logits = network_->logits(images, pass);
    const auto own = logits.narrow(0, 0, batch);
    const auto mse = at::mse_loss(own, reference_logits_.index_select(0, rows)) * scale_;
    const auto pressure = penalty();
    auto loss = mse + options.lambda * pressure;
    at::Tensor suspicion = at::zeros({}, loss.options()), kept = suspicion;
    if (with_suspects) {
      const auto theirs = logits.narrow(0, batch, suspect_batch);
      suspicion = suspect_penalty(theirs, suspect_labels, options_.margin).mean();
      loss = loss + options.mu * suspicion;
      kept = theirs.argmax(1).eq(suspect_labels).to(at::kFloat).mean();
    }
    loss.backward();
    adam(max_, options.learning_rate);
    adam(mean_, options.learning_rate);
    at::NoGradGuard no_grad;
    const auto correct = own.argmax(1).eq(data_.labels().index_select(0, rows)).to(at::kFloat).mean();
    sums.add_(at::stack({loss, mse, pressure, suspicion, correct, kept}).detach().to(at::kDouble));
    control.report(i + 1, options.steps);
  }
  const auto host = (sums / static_cast<double>(options.steps)).cpu();
  const auto* mean = host.data_ptr<double>();
  require(std::isfinite(mean[0]), "ERR_NUMERIC", "clipping loss is NaN or infinite at step ", step_,
          "; lower clip.learningRate (it is ", options.learning_rate, ")");
  return {mean[0], mean[1], mean[2], mean[3], mean[4], mean[5],
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

BoundSet BoundsFitter::bounds() const {
  at::NoGradGuard no_grad;
  BoundSet bounds{expand(max_), expand(mean_)};
  if (bounds.max.defined()) bounds.max = bounds.max.detach().clone();
  if (bounds.mean.defined()) bounds.mean = bounds.mean.detach().clone();
  return bounds;
}

}  // namespace padft
