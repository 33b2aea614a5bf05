#include "evaluate.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "batches.h"
#include "losses.h"
#include "scope.h"

namespace padft {
namespace {

// Runs `body(images, labels)` over the rows in order and joins the rows of what it returns, on the host.
std::vector<at::Tensor> in_batches(const Network& network, const Dataset& data, const EvalOptions& options,
                                   const Control& control, size_t outputs,
                                   const std::function<std::vector<at::Tensor>(const at::Tensor&, const at::Tensor&)>& body) {
  require_fit(network, data);
  at::NoGradGuard no_grad;
  PrecisionScope precision(options.precision);
  std::vector<std::vector<at::Tensor>> parts(outputs);
  const auto rows = at::arange(data.count(), at::TensorOptions().dtype(at::kLong).device(data.device()));
  for (int64_t begin = 0; begin < data.count(); begin += options.batch_size) {
    control.check();
    const int64_t size = std::min(options.batch_size, data.count() - begin);
    const auto images = gather(data, rows.narrow(0, begin, size));
    const auto results = body(images, data.labels().narrow(0, begin, size));
    for (size_t i = 0; i < outputs; ++i) parts[i].push_back(results[i]);
    control.report(begin + size, data.count());
  }
  std::vector<at::Tensor> joined;
  for (auto& part : parts) joined.push_back(at::cat(part).cpu());
  return joined;
}

void require_finite(const at::Tensor& values, const char* what) {
  if (at::isfinite(values).all().item<bool>()) return;
  const auto bad = at::isfinite(values).logical_not().view({values.size(0), -1}).any(1).nonzero();
  fail("ERR_NUMERIC", what, ": row ", bad[0].item<int64_t>(), " and ", bad.size(0) - 1,
       " more are NaN or infinite; the model's weights are damaged, or its training diverged");
}

struct Labelled {
  float value;
  int32_t label;
};

// The mean of the `count` values whose label is not `left_out`.
float mean_without(const std::vector<Labelled>& values, int64_t count, int32_t left_out) {
  double sum = 0;
  for (const auto& item : values) sum += item.label == left_out ? 0 : item.value;
  return static_cast<float>(sum / static_cast<double>(count));
}

// The q-quantile of the values whose label is not `left_out`, from values sorted from largest to smallest.
float quantile_without(const std::vector<Labelled>& descending, int64_t count, double q, int32_t left_out) {
  const double position = q * static_cast<double>(count - 1);
  const auto low = static_cast<int64_t>(std::floor(position));
  const int64_t high = std::min(low + 1, count - 1);
  const double share = position - static_cast<double>(low);
  int64_t rank = count;  // ascending rank of the value just passed, counting only labels that take part
  float high_value = 0;
  for (const auto& item : descending) {
    if (item.label == left_out) continue;
    --rank;
    if (rank == high) high_value = item.value;
    if (rank == low) return static_cast<float>(item.value + share * (high_value - item.value));
  }
  return high_value;
}

}  // namespace

void require_fit(const Network& network, const Dataset& data) {
  require(data.count() > 0, "ERR_DATA", "data set: expected at least one row, got none");
  require(data.shape().channels == network.options().input_channels, "ERR_DATA", "data set: expected ",
          network.options().input_channels, " channels for this model, got ", data.shape().channels);
  require(data.classes() == network.options().classes, "ERR_MODEL", "data set: expected ", network.options().classes,
          " classes for this model, got ", data.classes());
  require(data.device() == network.device(), "ERR_DEVICE", "data set: expected it on the model's device ",
          network.device().str(), ", got ", data.device().str());
}

at::Tensor evaluate_logits(Network& network, const Dataset& data, const EvalOptions& options, const Control& control) {
  auto result = in_batches(network, data, options, control, 1, [&](const at::Tensor& images, const at::Tensor&) {
    EvalPass pass;
    pass.bounds = network.bounds;
    pass.precision = options.precision;
    return std::vector<at::Tensor>{network.logits(images, pass)};
  });
  require_finite(result[0], "logits");
  return result[0];
}

at::Tensor evaluate_features(Network& network, const Dataset& data, const EvalOptions& options,
                             const Control& control) {
  auto result = in_batches(network, data, options, control, 1, [&](const at::Tensor& images, const at::Tensor&) {
    EvalPass pass;
    pass.bounds = network.bounds;
    pass.precision = options.precision;
    return std::vector<at::Tensor>{network.features(images, pass)};
  });
  require_finite(result[0], "features");
  return result[0];
}

at::Tensor predict(Network& network, const Dataset& data, const EvalOptions& options, const Control& control) {
  return evaluate_logits(network, data, options, control).argmax(1);
}

Scores score(Network& network, const Dataset& data, const ScoreOptions& options, const Control& control) {
  at::Tensor limits;
  if (options.limits.defined()) {
    require(options.limits.dim() == 2 && options.limits.size(0) == data.classes() &&
                options.limits.size(1) == network.site_channels(),
            "ERR_OPTION", "score.limits: expected ", data.classes(), " × ", network.site_channels(), " values, got ",
            options.limits.sizes());
    limits = options.limits.to(data.device());
  }
  const auto result = in_batches(network, data, options, control, 4, [&](const at::Tensor& images, const at::Tensor& labels) {
    EvalPass pass;
    pass.precision = options.precision;
    if (limits.defined()) {
      (options.limit_statistic == Statistic::mean ? pass.bounds.mean : pass.bounds.max) = limits.index_select(0, labels);
    } else {
      pass.bounds = network.bounds;
    }
    const auto logits = network.logits(images, pass);
    return std::vector<at::Tensor>{symmetric_cross_entropy(logits, labels, options.alpha, options.log_zero),
                                   log_odds(logits, labels), logits.argmax(1), best_other_label(logits, labels)};
  });
  require_finite(result[1], "scores");
  return {result[0], result[1], result[2], result[3]};
}

at::Tensor activation_ranges(Network& network, const Dataset& data, const RangeOptions& options,
                             const Control& control) {
  require(!options.quantile || (*options.quantile > 0 && *options.quantile <= 1), "ERR_OPTION",
          "ranges.quantile: expected a number in (0, 1], got ", options.quantile.value_or(0));
  const auto rows = in_batches(network, data, options, control, 1, [&](const at::Tensor& images, const at::Tensor&) {
    EvalPass pass;
    pass.precision = options.precision;
    pass.collect = true;
    pass.statistic = options.statistic;
    network.features(images, pass);
    return std::vector<at::Tensor>{at::cat(pass.collected, 1)};
  })[0];
  require_finite(rows, "activations");
  const auto values = rows.t().contiguous();  // [channels, N]
  const auto label_tensor = data.labels().cpu();
  const auto* labels = label_tensor.data_ptr<int64_t>();
  const int64_t channels = values.size(0), count = values.size(1);
  const int64_t groups = options.leave_one_label_out ? data.classes() : 1;
  std::vector<int64_t> taking_part(static_cast<size_t>(groups), count);
  if (options.leave_one_label_out) {
    for (int64_t i = 0; i < count; ++i) --taking_part[labels[i]];
    for (int64_t c = 0; c < groups; ++c) {
      require(taking_part[c] > 0, "ERR_DATA", "activation ranges without label ", c, ": no row of another label is left");
    }
  }
  const auto without = [&](int64_t c) { return options.leave_one_label_out ? static_cast<int32_t>(c) : -1; };
  auto ranges = at::empty({groups, channels});
  auto* out = ranges.data_ptr<float>();
  at::parallel_for(0, channels, 8, [&](int64_t first, int64_t last) {
    std::vector<Labelled> column(static_cast<size_t>(count));
    for (int64_t channel = first; channel < last; ++channel) {
      const float* in = values.data_ptr<float>() + channel * count;
      for (int64_t i = 0; i < count; ++i) column[i] = {in[i], static_cast<int32_t>(labels[i])};
      if (!options.quantile) {
        for (int64_t c = 0; c < groups; ++c) {
          out[c * channels + channel] = mean_without(column, taking_part[c], without(c));
        }
        continue;
      }
      std::sort(column.begin(), column.end(), [](const Labelled& a, const Labelled& b) { return a.value > b.value; });
      for (int64_t c = 0; c < groups; ++c) {
        out[c * channels + channel] = quantile_without(column, taking_part[c], *options.quantile, without(c));
      }
    }
  });
  return ranges;
}

}  // namespace padft
