#include "core/evaluate.h"

#include <algorithm>
#include <limits>

#include "check.h"
#include "core/batches.h"
#include "core/losses.h"
#include "support.h"

namespace padft {
namespace {

using test::constant_bounds;
using test::entry;
using test::made_dataset;
using test::seasoned_network;

constexpr int64_t kRows = 23, kClasses = 4;

Dataset rows() { return made_dataset(kRows, kClasses, 31); }

EvalOptions batches_of(int64_t size) {
  EvalOptions options;
  options.batch_size = size;
  return options;
}

at::Tensor every_row(const Dataset& data) { return gather(data, at::arange(data.count(), at::kLong)); }

/// One statistic of every row and channel, [N, site channels], in one batch.
at::Tensor statistics(Network& network, const Dataset& data, Statistic statistic) {
  at::NoGradGuard no_grad;
  EvalPass pass;
  pass.collect = true;
  pass.statistic = statistic;
  network.features(every_row(data), pass);
  return at::cat(pass.collected, 1);
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(position);
  const auto high = std::min(low + 1, values.size() - 1);
  return values[low] + (position - static_cast<double>(low)) * (values[high] - values[low]);
}

}  // namespace

CASE("evaluate", "logits, features and predictions are the network's, in the rows' order") {
  const auto network = seasoned_network();
  const auto data = rows();
  const Control control;
  at::NoGradGuard no_grad;
  EvalPass pass;
  const auto expected = network->logits(every_row(data), pass);
  EXPECT_CLOSE(evaluate_logits(*network, data, batches_of(23), control), expected, 1e-5);
  EvalPass again;
  const auto features = network->features(every_row(data), again);
  EXPECT_CLOSE(evaluate_features(*network, data, batches_of(5), control), features, 1e-5);
  EXPECT_SAME(predict(*network, data, batches_of(23), control), expected.argmax(1));
}

CASE("evaluate", "the batch size does not matter") {
  const auto network = seasoned_network();
  const auto data = rows();
  const Control control;
  const auto whole = evaluate_logits(*network, data, batches_of(256), control);
  ScoreOptions scoring;
  RangeOptions ranging;
  const auto scores = score(*network, data, scoring, control);
  const auto ranges = activation_ranges(*network, data, ranging, control);
  for (const int64_t size : {1, 4, 22, 23}) {
    EXPECT_CLOSE(evaluate_logits(*network, data, batches_of(size), control), whole, 1e-5);
    scoring.batch_size = ranging.batch_size = size;
    EXPECT_CLOSE(score(*network, data, scoring, control).log_odds, scores.log_odds, 1e-4);
    EXPECT_CLOSE(activation_ranges(*network, data, ranging, control), ranges, 1e-5);
  }
}

CASE("evaluate", "the network's own bounds count") {
  const auto network = seasoned_network();
  const auto data = rows();
  const Control control;
  const auto free = evaluate_logits(*network, data, {}, control);
  network->bounds.mean = constant_bounds(*network, 0.2);
  at::NoGradGuard no_grad;
  EvalPass pass;
  pass.bounds = network->bounds;
  const auto bounded = evaluate_logits(*network, data, {}, control);
  EXPECT_CLOSE(bounded, network->logits(every_row(data), pass), 1e-5);
  EXPECT(!at::allclose(bounded, free, 1e-3, 1e-3));
}

CASE("evaluate", "a score is the losses of the logits") {
  const auto network = seasoned_network();
  const auto data = rows();
  const Control control;
  ScoreOptions options;
  options.alpha = 0.3;
  const auto logits = evaluate_logits(*network, data, {}, control);
  const auto scores = score(*network, data, options, control);
  EXPECT_CLOSE(scores.sce, symmetric_cross_entropy(logits, data.labels(), 0.3, options.log_zero), 1e-4);
  EXPECT_CLOSE(scores.log_odds, log_odds(logits, data.labels()), 1e-4);
  EXPECT_SAME(scores.predicted, logits.argmax(1));
  EXPECT_SAME(scores.alternative, best_other_label(logits, data.labels()));
  EXPECT(scores.alternative.ne(data.labels()).all().item<bool>());
}

CASE("evaluate", "limits hold each row to its own label's row") {
  const auto network = seasoned_network();
  const auto data = rows();
  const Control control;
  for (const auto statistic : {Statistic::mean, Statistic::max}) {
    ScoreOptions options;
    options.batch_size = 6;
    options.limit_statistic = statistic;
    options.limits = test::random_tensor({kClasses, network->site_channels()}, 77, 0.05, 0.4);
    const auto limited = score(*network, data, options, control);
    for (int64_t label = 0; label < kClasses; ++label) {
      (statistic == Statistic::mean ? network->bounds.mean : network->bounds.max) = options.limits[label];
      const auto logits = evaluate_logits(*network, data, {}, control);
      network->bounds = {};
      const auto theirs = data.labels().eq(label);
      EXPECT_CLOSE(limited.log_odds.masked_select(theirs), log_odds(logits, data.labels()).masked_select(theirs), 1e-4);
    }
  }
}

CASE("evaluate", "limits replace the network's own bounds") {
  const auto network = seasoned_network();
  const auto data = rows();
  const Control control;
  const auto free = score(*network, data, {}, control);
  network->bounds.max = constant_bounds(*network, 0.1);
  ScoreOptions options;
  options.limits = at::full({kClasses, network->site_channels()}, std::numeric_limits<float>::infinity());
  EXPECT_CLOSE(score(*network, data, options, control).log_odds, free.log_odds, 1e-5);
  EXPECT_SAME(network->bounds.max, constant_bounds(*network, 0.1));
}

CASE("evaluate", "activation ranges are quantiles over the rows") {
  const auto network = seasoned_network();
  const auto data = rows();
  const Control control;
  for (const auto statistic : {Statistic::mean, Statistic::max}) {
    const auto values = statistics(*network, data, statistic).to(at::kDouble);
    for (const double q : {0.05, 0.5, 0.95, 1.0}) {
      RangeOptions options;
      options.statistic = statistic;
      options.quantile = q;
      const auto ranges = activation_ranges(*network, data, options, control);
      EXPECT(ranges.sizes() == at::IntArrayRef({1, network->site_channels()}));
      EXPECT_CLOSE(ranges[0], at::quantile(values, q, 0), 1e-5);
    }
  }
}

CASE("evaluate", "leave-one-label-out ranges are quantiles over the rows of the other labels") {
  const auto network = seasoned_network();
  const auto data = rows();
  const Control control;
  const auto values = statistics(*network, data, Statistic::mean);
  for (const double q : {0.5, 0.9, 1.0}) {
    RangeOptions options;
    options.quantile = q;
    options.leave_one_label_out = true;
    options.batch_size = 7;
    const auto ranges = activation_ranges(*network, data, options, control);
    EXPECT(ranges.sizes() == at::IntArrayRef({kClasses, network->site_channels()}));
    auto expected = at::empty_like(ranges);
    for (int64_t label = 0; label < kClasses; ++label) {
      for (int64_t channel = 0; channel < values.size(1); ++channel) {
        std::vector<double> others;
        for (int64_t row = 0; row < kRows; ++row) {
          if (row % kClasses != label) others.push_back(values[row][channel].item<double>());
        }
        expected[label][channel] = quantile(others, q);
      }
    }
    EXPECT_CLOSE(ranges, expected, 1e-5);
  }
}

CASE("evaluate", "activation ranges without a quantile are averages over the rows, or those of the other labels") {
  const auto network = seasoned_network();
  const auto data = rows();
  const Control control;
  for (const auto statistic : {Statistic::mean, Statistic::max}) {
    const auto values = statistics(*network, data, statistic).to(at::kDouble);
    RangeOptions options;
    options.statistic = statistic;
    options.quantile = std::nullopt;
    const auto ranges = activation_ranges(*network, data, options, control);
    EXPECT(ranges.sizes() == at::IntArrayRef({1, network->site_channels()}));
    EXPECT_CLOSE(ranges[0], values.mean(0), 1e-5);
    options.leave_one_label_out = true;
    const auto others = activation_ranges(*network, data, options, control);
    for (int64_t label = 0; label < kClasses; ++label) {
      const auto theirs = at::arange(kRows).remainder(kClasses).ne(label).nonzero().squeeze(1);
      EXPECT_CLOSE(others[label], values.index_select(0, theirs).mean(0), 1e-5);
    }
  }
}

CASE("evaluate", "activation ranges ignore the network's own bounds") {
  const auto network = seasoned_network();
  const auto data = rows();
  const Control control;
  const auto free = activation_ranges(*network, data, {}, control);
  network->bounds.mean = constant_bounds(*network, 0.01);
  EXPECT_SAME(activation_ranges(*network, data, {}, control), free);
}

CASE("evaluate", "refuses data and options that do not fit") {
  const auto network = seasoned_network();
  const Control control;
  EXPECT_ERROR(evaluate_logits(*network, made_dataset(4, kClasses, 1, 8, 1), {}, control), "ERR_DATA", "3 channels");
  EXPECT_ERROR(evaluate_logits(*network, made_dataset(4, 3, 1), {}, control), "ERR_MODEL", "4 classes");
  RangeOptions ranging;
  ranging.quantile = 0;
  EXPECT_ERROR(activation_ranges(*network, rows(), ranging, control), "ERR_OPTION", "quantile");
  ranging.quantile = 0.9;
  ranging.leave_one_label_out = true;
  EXPECT_ERROR(activation_ranges(*network, rows().subset({1, 5, 9}), ranging, control), "ERR_DATA", "without label 1");
  ScoreOptions scoring;
  scoring.limits = at::ones({kClasses, 3});
  EXPECT_ERROR(score(*network, rows(), scoring, control), "ERR_OPTION", "score.limits");
}

CASE("evaluate", "an empty data set is an error") {
  const auto network = seasoned_network();
  EXPECT_ERROR(evaluate_logits(*network, rows().subset({}), {}, Control()), "ERR_DATA", "");
  EXPECT_ERROR(activation_ranges(*network, rows().subset({}), {}, Control()), "ERR_DATA", "");
}

CASE("evaluate", "a damaged network is an error wherever the damage lies") {
  const Control control;
  for (const auto* name : {"conv1.weight", "layer1.1.conv2.weight", "layer2.0.conv1.weight", "layer3.1.bn1.weight",
                           "layer4.1.bn2.bias", "layer4.1.conv2.weight", "linear.bias"}) {
    const auto network = seasoned_network();
    entry(*network, name)[0].fill_(std::numeric_limits<float>::quiet_NaN());
    network->state_changed();
    EXPECT_ERROR(evaluate_logits(*network, rows(), {}, control), "ERR_NUMERIC", "NaN");
    EXPECT_ERROR(score(*network, rows(), {}, control), "ERR_NUMERIC", "NaN");
  }
}

CASE("evaluate", "activation ranges and features of a damaged network are an error too") {
  const Control control;
  const auto network = seasoned_network();
  entry(*network, "conv1.weight").fill_(std::numeric_limits<float>::quiet_NaN());
  network->state_changed();
  EXPECT_ERROR(activation_ranges(*network, rows(), {}, control), "ERR_NUMERIC", "");
  EXPECT_ERROR(evaluate_features(*network, rows(), {}, control), "ERR_NUMERIC", "");
}

CASE("evaluate", "reports progress by rows and stops on request, leaving the network usable") {
  const auto network = seasoned_network();
  Control control;
  std::vector<int64_t> done;
  control.on_progress = [&](int64_t rows_done, int64_t total) {
    EXPECT_EQUAL(total, kRows);
    done.push_back(rows_done);
  };
  const auto logits = evaluate_logits(*network, rows(), batches_of(10), control);
  EXPECT((done == std::vector<int64_t>{10, 20, 23}));
  control.on_progress = [&](int64_t rows_done, int64_t) { control.cancelled = rows_done >= 10; };
  EXPECT_ERROR(evaluate_logits(*network, rows(), batches_of(10), control), "ERR_ABORTED", "");
  EXPECT_SAME(evaluate_logits(*network, rows(), batches_of(10), Control()), logits);
}

}  // namespace padft
