#include "mixmatch_trainer.h"

#include <algorithm>
#include <chrono>

#include "batches.h"
#include "loss_watch.h"
#include "losses.h"
#include "optimisers.h"
#include "random.h"
#include "scope.h"
#include "training_scope.h"

namespace padft {
namespace {

// The rows that are not labelled, in order.
std::vector<int64_t> others(const Dataset& data, const std::vector<int64_t>& labelled) {
  data.check_rows(labelled);
  std::vector<bool> taken(static_cast<size_t>(data.count()), false);
  for (const int64_t row : labelled) {
    require(!taken[row], "ERR_DATA", "mixmatch.labelled: row ", row, " is there twice");
    taken[row] = true;
  }
  std::vector<int64_t> rest;
  for (int64_t row = 0; row < data.count(); ++row) {
    if (!taken[row]) rest.push_back(row);
  }
  return rest;
}

// Everything that an epoch draws, at once: one transfer, and the device never waits for the host.
struct Draws {
  at::Tensor views;     // int64 [4, steps · 3B], as gather_augmented reads it: a step's labelled rows, then both views
  at::Tensor partners;  // int64 [steps · 3B]: which of its step's rows each is mixed with
  std::vector<double> lambda;  // max(λ, 1 − λ) of each step

  Draws(const std::vector<int64_t>& labelled, const std::vector<int64_t>& unlabelled, const MixMatchOptions& options,
        at::Device device) {
    Stream stream(options.seed);
    // Orders of their own, so that the size of one part does not move the batches of the other.
    BatchCycle some(static_cast<int64_t>(labelled.size()), stream.below(UINT64_MAX));
    BatchCycle rest(static_cast<int64_t>(unlabelled.size()), stream.below(UINT64_MAX));
    const int64_t batch = options.batch_size, total = options.steps * 3 * batch;
    auto table = at::empty({4, total}, at::kLong), mates = at::empty({total}, at::kLong);
    auto* row = table.data_ptr<int64_t>();
    auto* mate = mates.data_ptr<int64_t>();
    const auto offset = [&] { return static_cast<int64_t>(stream.below(2 * options.crop_padding + 1)); };
    const auto add = [&](int64_t value) {
      row[0] = value;
      row[total] = offset();
      row[2 * total] = offset();
      row[3 * total] = options.flip ? static_cast<int64_t>(stream.below(2)) : 0;
      ++row;
    };
    for (int64_t step = 0; step < options.steps; ++step) {
      for (const int64_t index : some.next(batch)) add(labelled[index]);
      const auto chosen = rest.next(batch);
      for (int view = 0; view < 2; ++view) {
        for (const int64_t index : chosen) add(unlabelled[index]);
      }
      for (const int64_t index : stream.permutation(3 * batch)) *mate++ = index;
      const double drawn = stream.beta(options.mix_alpha);
      lambda.push_back(std::max(drawn, 1 - drawn));
    }
    views = table.to(device);
    partners = mates.to(device);
  }
};

at::Tensor mixed(const at::Tensor& values, const at::Tensor& partners, double lambda) {
  return values.mul(lambda).add(values.index_select(0, partners), 1 - lambda);
}

}  // namespace

struct MixMatchTrainer::Batch {
  at::Tensor images;    // [3B, C, H, W]: labelled, then both views of the unlabelled
  at::Tensor labels;    // int64 [B]
  at::Tensor partners;  // int64 [3B]
  double lambda;
};

MixMatchTrainer::MixMatchTrainer(std::shared_ptr<Network> network) : network_(std::move(network)) {
  first_ = at::zeros_like(network_->flat_weights());
  second_ = at::zeros_like(first_);
  sums_ = at::zeros({3}, first_.options().dtype(at::kDouble));
}

void MixMatchTrainer::step(const Batch& batch, const MixMatchOptions& options, double unlabelled_weight) {
  const int64_t size = batch.labels.size(0);
  at::Tensor images, targets;
  {
    at::NoGradGuard no_grad;
    const auto seen = at::softmax(network_->train_logits(batch.images.narrow(0, size, 2 * size)), 1);
    const auto guess = sharpen((seen.narrow(0, 0, size) + seen.narrow(0, size, size)) / 2, options.sharpening);
    const auto given = at::one_hot(batch.labels, network_->options().classes).to(at::kFloat);
    images = mixed(batch.images, batch.partners, batch.lambda).contiguous(at::MemoryFormat::ChannelsLast);
    targets = mixed(at::cat({given, guess, guess}), batch.partners, batch.lambda);
  }
  network_->zero_gradients();
  const auto logits = network_->train_logits(images);
  const auto labelled = soft_cross_entropy(logits.narrow(0, 0, size), targets.narrow(0, 0, size)).mean();
  const auto unlabelled =
      squared_error(logits.narrow(0, size, 2 * size), targets.narrow(0, size, 2 * size)).mean();
  const auto loss = labelled + unlabelled_weight * unlabelled;
  loss.backward();
  at::NoGradGuard no_grad;
  sums_.add_(at::stack({loss, labelled, unlabelled}).detach());
  network_->collect_gradients();
  adam_step(network_->flat_weights(), first_, second_, network_->gradients(), ++adam_steps_, options.learning_rate);
  network_->refresh_leaves();
}

MixMatchResult MixMatchTrainer::epoch(const Dataset& data, const std::vector<int64_t>& labelled,
                                      const MixMatchOptions& options, const Control& control) {
  require_fit(*network_, data);
  const auto unlabelled = others(data, labelled);
  const int64_t batch = options.batch_size;
  const auto fewest = static_cast<int64_t>(std::min(labelled.size(), unlabelled.size()));
  require(batch <= fewest, "ERR_OPTION", "mixmatch.batchSize: expected at most the ", fewest,
          " rows of the smaller of ", labelled.size(), " labelled and ", unlabelled.size(), " others, got ", batch);
  const ChangeNotice changed(*network_);
  const auto start = std::chrono::steady_clock::now();
  at::AutoGradMode with_gradients(true);
  PrecisionScope precision(options.precision, /*search=*/true);
  const TrainingScope training(*network_, options.precision);
  const Draws draws(labelled, unlabelled, options, data.device());
  sums_.zero_();
  const LossWatch watch(sums_[0], "MixMatch's loss", "mixmatch.learningRate", options.learning_rate, options.steps);
  for (int64_t index = 0; index < options.steps; ++index) {
    control.check();
    const auto table = draws.views.narrow(1, index * 3 * batch, 3 * batch);
    const double share = static_cast<double>(index) / static_cast<double>(options.steps);
    step({gather_augmented(data, table, options.crop_padding),
          data.labels().index_select(0, table[0].narrow(0, 0, batch)),
          draws.partners.narrow(0, index * 3 * batch, 3 * batch), draws.lambda[index]},
         options, options.unlabelled_start + share * (options.unlabelled_end - options.unlabelled_start));
    watch.after(index + 1);
    control.report(index + 1, options.steps);
  }
  network_->count_batches(2 * options.steps);
  const auto mean = (sums_ / static_cast<double>(options.steps)).cpu();
  return {mean[0].item<double>(), mean[1].item<double>(), mean[2].item<double>(),
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

}  // namespace padft
