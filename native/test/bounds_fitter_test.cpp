#include "core/bounds_fitter.h"

#include <limits>

#include "check.h"
#include "core/evaluate.h"
#include "support.h"

namespace padft {
namespace {

using test::made_dataset;
using test::seasoned_network;
using Parameters = BoundsFitterOptions::Parameters;

constexpr int64_t kClasses = 4;

struct Setup {
  std::shared_ptr<Network> network = seasoned_network(kClasses);
  Dataset data = made_dataset(24, kClasses, 8);
  BoundsFitterOptions options;

  explicit Setup(Parameters parameters, bool max = true, bool mean = true) {
    options.parameters = parameters;
    options.max = max ? range(Statistic::max) : at::Tensor();
    options.mean = mean ? range(Statistic::mean) : at::Tensor();
  }
  at::Tensor range(Statistic statistic) {
    RangeOptions ranging;
    ranging.statistic = statistic;
    return activation_ranges(*network, data, ranging, Control())[0];
  }
  BoundsFitter fitter() const { return BoundsFitter(network, data, std::nullopt, options); }
};

FitStepsOptions fit(int64_t steps, double learning_rate, double lambda) {
  FitStepsOptions options;
  options.steps = steps;
  options.learning_rate = learning_rate;
  options.lambda = lambda;
  options.batch_size = 12;
  return options;
}

double norms_by_site(const Network& network, const at::Tensor& bounds) {
  double sum = 0;
  int64_t offset = 0;
  for (const auto& site : network.sites()) {
    sum += std::sqrt(bounds.narrow(0, offset, site.channels).to(at::kDouble).square().sum().item<double>());
    offset += site.channels;
  }
  return sum;
}

}  // namespace

CASE("bounds fitter", "starts where it was told to") {
  const Setup absolute(Parameters::absolute), fraction(Parameters::fraction);
  EXPECT_SAME(absolute.fitter().bounds().max, absolute.options.max);
  EXPECT_SAME(absolute.fitter().bounds().mean, absolute.options.mean);
  EXPECT_SAME(fraction.fitter().bounds().max, fraction.options.max);
  const Setup max_only(Parameters::absolute, true, false), mean_only(Parameters::fraction, false, true);
  EXPECT(!max_only.fitter().bounds().mean.defined());
  EXPECT(!mean_only.fitter().bounds().max.defined());
}

CASE("bounds fitter", "the first step moves every absolute bound by the learning rate and stops at 0") {
  const Setup setup(Parameters::absolute);
  auto fitter = setup.fitter();
  // The penalty outweighs everything: the gradient of every bound above 0 is positive, and Adam's first step is the
  // learning rate.
  const auto result = fitter.steps(fit(1, 0.05, 1e6), Control());
  const auto expect_moved = [](const at::Tensor& bound, const at::Tensor& start) {
    const auto positive = start > 0;
    EXPECT(positive.sum().item<int64_t>() > 100);
    EXPECT_CLOSE(bound.masked_select(positive), (start - 0.05).clamp_min(0).masked_select(positive), 1e-4);
  };
  expect_moved(fitter.bounds().max, setup.options.max);
  expect_moved(fitter.bounds().mean, setup.options.mean);
  const double penalty =
      norms_by_site(*setup.network, setup.options.max) + norms_by_site(*setup.network, setup.options.mean);
  EXPECT_NEAR(result.penalty, penalty, 1e-4 * penalty);
}

CASE("bounds fitter", "bounds stay at or above 0") {
  const Setup setup(Parameters::absolute);
  auto fitter = setup.fitter();
  fitter.steps(fit(12, 0.5, 10), Control());
  const auto bounds = fitter.bounds();
  EXPECT(bounds.max.ge(0).all().item<bool>());
  EXPECT(bounds.mean.ge(0).all().item<bool>());
  EXPECT(bounds.mean.eq(0).any().item<bool>());
}

CASE("bounds fitter", "fractions stay in [0, 1] and their penalty is their mean") {
  const Setup setup(Parameters::fraction);
  auto fitter = setup.fitter();
  const auto first = fitter.steps(fit(1, 0.3, 0.5), Control());
  EXPECT_NEAR(first.penalty, 1, 1e-6);
  fitter.steps(fit(8, 0.3, 0.5), Control());
  const auto bounds = fitter.bounds();
  for (const auto& bound : {bounds.max, bounds.mean}) EXPECT(bound.ge(0).all().item<bool>());
  EXPECT((bounds.max <= setup.options.max).all().item<bool>());
  EXPECT((bounds.mean <= setup.options.mean).all().item<bool>());
}

CASE("bounds fitter", "a larger λ gives tighter bounds and a larger error") {
  const auto run = [](double lambda) {
    const Setup setup(Parameters::fraction);
    auto fitter = setup.fitter();
    fitter.steps(fit(10, 0.05, lambda), Control());
    const auto last = fitter.steps(fit(2, 0.05, lambda), Control());
    return std::make_pair((fitter.bounds().max / setup.options.max.clamp_min(1e-6)).mean().item<double>(), last.mse);
  };
  const auto mild = run(0.01), strong = run(100);
  EXPECT(strong.first < mild.first - 0.1);
  EXPECT(strong.second > mild.second);
  EXPECT_NEAR(strong.first, 1 - 12 * 0.05, 0.1);  // Adam moves at most the learning rate a step
}

CASE("bounds fitter", "a start of infinity leaves its channels unbounded and out of the penalty") {
  const double infinity = std::numeric_limits<double>::infinity();
  Setup setup(Parameters::absolute);
  const auto bounded = setup.network->sites()[0].channels;
  const auto starts = [&](const at::Tensor& range) {
    auto values = at::full_like(range, infinity);
    values.narrow(0, 0, bounded).copy_(range.narrow(0, 0, bounded) * 0.5);
    return values;
  };
  setup.options.max = starts(setup.options.max);
  setup.options.mean = starts(setup.options.mean);
  auto fitter = setup.fitter();
  const auto first = fitter.steps(fit(1, 0.05, 0.5), Control());
  // The other sites add no more than the root of their norm's floor.
  double penalty = 0;
  for (const auto& start : {setup.options.max, setup.options.mean}) {
    penalty += start.narrow(0, 0, bounded).to(at::kDouble).square().sum().sqrt().item<double>();
  }
  EXPECT_NEAR(first.penalty, penalty, 1e-4);
  EXPECT(first.mse > 0);
  EXPECT(std::isfinite(fitter.steps(fit(3, 0.05, 0.5), Control()).loss));
  const auto bounds = fitter.bounds();
  const auto check = [&](const at::Tensor& bound, const at::Tensor& start) {
    EXPECT(bound.narrow(0, bounded, bound.numel() - bounded).isposinf().all().item<bool>());
    EXPECT(bound.narrow(0, 0, bounded).ne(start.narrow(0, 0, bounded)).any().item<bool>());
    EXPECT(bound.narrow(0, 0, bounded).isfinite().all().item<bool>());
  };
  check(bounds.max, setup.options.max);
  check(bounds.mean, setup.options.mean);
  Setup shares(Parameters::fraction);
  shares.options.max[0] = infinity;
  EXPECT_ERROR(shares.fitter(), "ERR_OPTION", "expected finite references");
}

CASE("bounds fitter", "an infinite bound is none") {
  const Setup setup(Parameters::absolute);
  const auto free = evaluate_logits(*setup.network, setup.data, {}, Control());
  const auto none = at::full_like(setup.options.max, std::numeric_limits<float>::infinity());
  setup.network->bounds = {none, none};
  EXPECT_CLOSE(evaluate_logits(*setup.network, setup.data, {}, Control()), free, 1e-6);
}

CASE("bounds fitter", "wide bounds without a penalty leave the logits and the bounds as they are") {
  Setup setup(Parameters::absolute);
  setup.options.max = setup.options.max * 0 + 1e4;
  setup.options.mean = setup.options.mean * 0 + 1e4;
  auto fitter = setup.fitter();
  // Four batches of 12 from 24 rows: each row is seen twice.
  const auto result = fitter.steps(fit(4, 0.1, 0), Control());
  EXPECT_NEAR(result.mse, 0, 1e-9);
  EXPECT_NEAR(result.loss, 0, 1e-9);
  EXPECT_SAME(fitter.bounds().max, setup.options.max);
  const auto right = predict(*setup.network, setup.data, {}, Control()).eq(setup.data.labels());
  EXPECT_NEAR(result.accuracy, right.to(at::kDouble).mean().item<double>(), 1e-6);
}

CASE("bounds fitter", "the error is measured against the unbounded network's logits") {
  Setup setup(Parameters::absolute);
  setup.options.max = setup.options.max * 0.5;
  setup.options.mean = at::Tensor();
  const auto free = evaluate_logits(*setup.network, setup.data, {}, Control());
  // The network's own bounds must play no part.
  setup.network->bounds.max = test::constant_bounds(*setup.network, 0.3);
  auto fitter = setup.fitter();
  auto options = fit(1, 1e-9, 0);
  options.batch_size = 24;
  const auto plain = fitter.steps(options, Control()).mse;
  EXPECT_SAME(setup.network->bounds.max, test::constant_bounds(*setup.network, 0.3));
  setup.network->bounds = {setup.options.max, {}};
  const auto bounded = evaluate_logits(*setup.network, setup.data, {}, Control());
  setup.network->bounds = {};
  const double expected = (bounded - free).square().mean().item<double>();
  EXPECT(expected > 1e-4);
  EXPECT_NEAR(plain, expected, 1e-3 * expected);
  setup.options.scale = BoundsFitterOptions::Scale::variance;
  auto scaled = setup.fitter();
  const double variance = free.var(/*unbiased=*/false).item<double>();
  EXPECT_NEAR(scaled.steps(options, Control()).mse, expected / variance, 1e-3 * expected / variance);
}

CASE("bounds fitter", "per layer: one value a site") {
  for (const auto parameters : {Parameters::absolute, Parameters::fraction}) {
    Setup setup(parameters);
    setup.options.per_layer = true;
    auto fitter = setup.fitter();
    const auto start = fitter.bounds().max;
    fitter.steps(fit(4, 0.05, 1), Control());
    const auto end = fitter.bounds().max;
    int64_t offset = 0;
    for (const auto& site : setup.network->sites()) {
      const auto reference = setup.options.max.narrow(0, offset, site.channels);
      const auto begun = start.narrow(0, offset, site.channels), fitted = end.narrow(0, offset, site.channels);
      if (parameters == Parameters::absolute) {
        EXPECT_SAME(begun, at::full_like(reference, reference.max().item<float>()));
        EXPECT_SAME(fitted, at::full_like(reference, fitted[0].item<float>()));
      } else {
        const auto share = fitted.sum().item<double>() / reference.sum().item<double>();
        EXPECT_CLOSE(fitted, reference * share, 1e-4);
      }
      offset += site.channels;
    }
  }
}

CASE("bounds fitter", "changes nothing in the network") {
  const Setup setup(Parameters::fraction);
  const auto before = test::snapshot(*setup.network);
  auto fitter = setup.fitter();
  fitter.steps(fit(3, 0.1, 1), Control());
  EXPECT(test::changed_since(*setup.network, before).empty());
  EXPECT(!setup.network->bounds.any());
  EXPECT(!setup.network->flat_weights().requires_grad());
}

CASE("bounds fitter", "the same seed gives the same bytes, also when the steps come in two calls") {
  const auto run = [](uint64_t seed, bool split) {
    Setup setup(Parameters::fraction);
    setup.options.seed = seed;
    auto fitter = setup.fitter();
    for (int i = 0; i < (split ? 2 : 1); ++i) fitter.steps(fit(split ? 2 : 4, 0.05, 0.05), Control());
    return fitter.bounds().max;
  };
  const auto once = run(1, false);
  EXPECT_SAME(run(1, false), once);
  EXPECT_SAME(run(1, true), once);
  EXPECT(!at::equal(run(2, false), once));
}

CASE("bounds fitter", "suspects are pushed away from their label when asked") {
  const Setup setup(Parameters::fraction);
  // Suspects carry the label the network gives them, so there is something to take away.
  const auto images = made_dataset(10, kClasses, 55);
  const Dataset suspects(images.images(), predict(*setup.network, images, {}, Control()), kClasses);
  const auto run = [&](double mu, int64_t steps) {
    BoundsFitter fitter(setup.network, setup.data, suspects, setup.options);
    auto options = fit(steps, 0.05, 0);
    options.mu = mu;
    fitter.steps(options, Control());
    options.steps = 1;
    return fitter.steps(options, Control());
  };
  const auto ignored = run(0, 1);
  EXPECT_EQUAL(ignored.suspect_loss, 0.0);
  EXPECT_EQUAL(ignored.suspects_kept, 0.0);
  const auto early = run(10, 1), late = run(10, 12);
  EXPECT(late.suspect_loss < early.suspect_loss);
  EXPECT(early.suspects_kept > 0.5);
}

CASE("bounds fitter", "refuses bounds that do not fit and a loss that is not a number") {
  Setup setup(Parameters::absolute);
  setup.options.max = at::ones({3});
  EXPECT_ERROR(setup.fitter(), "ERR_OPTION", "got 3");
  setup.options.max = setup.options.mean = at::Tensor();
  EXPECT_ERROR(setup.fitter(), "ERR_OPTION", "neither");
  Setup damaged(Parameters::absolute);
  damaged.options.max = at::full_like(damaged.options.max, std::numeric_limits<float>::quiet_NaN());
  auto fitter = damaged.fitter();
  EXPECT_ERROR(fitter.steps(fit(2, 0.1, 1), Control()), "ERR_NUMERIC", "clip");
}

CASE("bounds fitter", "stops on request and can go on") {
  const Setup setup(Parameters::fraction);
  auto fitter = setup.fitter();
  Control control;
  control.on_progress = [&](int64_t done, int64_t total) {
    // The victim's logits report rows first; steps come after.
    if (total == 5) control.cancelled = done >= 2;
  };
  EXPECT_ERROR(fitter.steps(fit(5, 0.05, 1), control), "ERR_ABORTED", "");
  EXPECT(std::isfinite(fitter.steps(fit(2, 0.05, 1), Control()).loss));
}

}  // namespace padft
