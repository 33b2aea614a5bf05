#include "core/classifier_tuner.h"

#include <limits>

#include "check.h"
#include "core/batches.h"
#include "core/evaluate.h"
#include "core/losses.h"
#include "support.h"

namespace padft {
namespace {

using test::made_dataset;
using test::seasoned_network;

constexpr int64_t kClasses = 4;

Dataset rows() { return made_dataset(32, kClasses, 12); }

TunerOptions tuner_options(int64_t draws = 2) {
  TunerOptions options;
  options.draws = draws;
  options.feature_batch_size = 20;
  return options;
}

TuneEpochOptions epoch_options(double learning_rate = 0.05, int64_t batch_size = 12) {
  return {learning_rate, batch_size};
}

}  // namespace

CASE("classifier tuner", "changes the classifier only") {
  const auto network = seasoned_network(kClasses);
  network->bounds.mean = test::constant_bounds(*network, 0.7);
  const auto before = test::snapshot(*network);
  ClassifierTuner tuner(network, rows(), std::nullopt, tuner_options());
  tuner.epoch(epoch_options(), Control());
  EXPECT((test::changed_since(*network, before) == std::vector<std::string>{"linear.weight", "linear.bias"}));
  EXPECT_SAME(network->bounds.mean, test::constant_bounds(*network, 0.7));
}

CASE("classifier tuner", "epochs reduce the loss, with kept copies and with fresh ones") {
  for (const int64_t draws : {0, 3}) {
    const auto network = seasoned_network(kClasses);
    ClassifierTuner tuner(network, rows(), std::nullopt, tuner_options(draws));
    const auto first = tuner.epoch(epoch_options(), Control());
    TuneEpochResult last;
    for (int i = 0; i < 8; ++i) last = tuner.epoch(epoch_options(), Control());
    EXPECT(last.loss < 0.8 * first.loss);
    EXPECT(last.accuracy > first.accuracy);
    EXPECT_NEAR(last.loss, 0.5 * last.sce + 0.5 * last.consistency, 1e-6);
    EXPECT_EQUAL(last.suspect_loss, 0.0);
    const auto right = predict(*network, rows(), {}, Control()).eq(rows().labels()).to(at::kDouble).mean();
    EXPECT(right.item<double>() > first.accuracy);
  }
}

CASE("classifier tuner", "one batch is one step of SGD on the features") {
  const auto network = seasoned_network(kClasses);
  network->bounds.max = test::constant_bounds(*network, 1.5);  // features are taken under the bounds
  const auto data = rows();
  const auto features = evaluate_features(*network, data, {}, Control());
  auto weight = network->classifier_weight().clone().set_requires_grad(true);
  auto bias = network->classifier_bias().clone().set_requires_grad(true);
  const auto logits = at::addmm(bias, features, weight.t());
  auto options = tuner_options();
  options.beta = 1;  // consistency needs the random copies; left out
  options.weight_decay = 0.02;
  const auto loss = symmetric_cross_entropy(logits, data.labels(), options.alpha, options.log_zero).mean();
  loss.backward();
  ClassifierTuner tuner(network, data, std::nullopt, options);
  const auto result = tuner.epoch(epoch_options(0.1, 32), Control());
  EXPECT_NEAR(result.loss, loss.item<double>(), 1e-4);
  EXPECT_NEAR(result.accuracy, logits.argmax(1).eq(data.labels()).to(at::kDouble).mean().item<double>(), 1e-6);
  EXPECT_CLOSE(network->classifier_weight(), weight - 0.1 * (weight.grad() + 0.02 * weight), 1e-4);
  EXPECT_CLOSE(network->classifier_bias(), bias - 0.1 * (bias.grad() + 0.02 * bias), 1e-4);
}

CASE("classifier tuner", "copies are mirrored and recoloured, as drawn from the stream") {
  const auto network = seasoned_network(kClasses);
  const auto data = rows();
  const auto index = at::tensor({5, 0, 9, 31, 8, 2, 3, 30}, at::kLong);
  const auto plain = gather(data, index);
  auto options = tuner_options();
  options.jitter = 0;
  options.flip = false;
  Stream stream(1);
  EXPECT_CLOSE(ClassifierTuner(network, data, std::nullopt, options).augmented(index, stream), plain, 1e-6);

  options.flip = true;
  const auto mirrored = ClassifierTuner(network, data, std::nullopt, options).augmented(index, stream);
  int64_t flipped = 0;
  for (int64_t i = 0; i < index.size(0); ++i) {
    const bool same = at::allclose(mirrored[i], plain[i], 1e-6, 1e-6);
    EXPECT(same || at::allclose(mirrored[i], plain[i].flip({2}), 1e-6, 1e-6));
    flipped += same ? 0 : 1;
  }
  EXPECT(flipped > 0 && flipped < index.size(0));

  options.flip = false;
  options.jitter = 0.4;
  const ClassifierTuner coloured(network, data, std::nullopt, options);
  Stream draws(3), again(3);
  auto factors = at::empty({2, index.size(0)});
  for (int64_t i = 0; i < index.size(0); ++i) {
    factors[0][i] = draws.uniform(0.6, 1.4);
    factors[1][i] = draws.uniform(0.6, 1.4);
  }
  EXPECT_SAME(coloured.augmented(index, again), adjust_colour(plain, factors[0], factors[1]));
}

CASE("classifier tuner", "the same seed gives the same bytes") {
  const auto run = [](uint64_t seed) {
    const auto network = seasoned_network(kClasses);
    auto options = tuner_options();
    options.seed = seed;
    ClassifierTuner tuner(network, rows(), std::nullopt, options);
    for (int i = 0; i < 2; ++i) tuner.epoch(epoch_options(), Control());
    return network->classifier_weight().clone();
  };
  EXPECT_SAME(run(1), run(1));
  EXPECT(!at::equal(run(1), run(2)));
}

CASE("classifier tuner", "suspects lose their label when asked") {
  const auto run = [](double nu) {
    const auto network = seasoned_network(kClasses);
    const auto images = made_dataset(8, kClasses, 90);
    const Dataset suspects(images.images(), at::full({8}, 2, at::kLong), kClasses);
    auto options = tuner_options();
    options.nu = nu;
    ClassifierTuner tuner(network, rows(), suspects, options);
    const auto first = tuner.epoch(epoch_options(), Control());
    TuneEpochResult last;
    for (int i = 0; i < 6; ++i) last = tuner.epoch(epoch_options(), Control());
    const auto odds = log_odds(evaluate_logits(*network, suspects, {}, Control()), suspects.labels()).mean();
    return std::make_tuple(first.suspect_loss, last.suspect_loss, odds.item<double>());
  };
  const auto without = run(0), with = run(2);
  EXPECT_EQUAL(std::get<0>(without), 0.0);
  EXPECT(std::get<1>(with) < std::get<0>(with));
  EXPECT(std::get<2>(with) < std::get<2>(without));
}

CASE("classifier tuner", "a stop or a bad loss leaves the classifier as it was") {
  const auto network = seasoned_network(kClasses);
  const auto before = test::snapshot(*network);
  ClassifierTuner tuner(network, rows(), std::nullopt, tuner_options());
  Control control;
  control.cancelled = true;
  EXPECT_ERROR(tuner.epoch(epoch_options(), control), "ERR_ABORTED", "");
  EXPECT(test::changed_since(*network, before).empty());
  EXPECT_ERROR(tuner.epoch(epoch_options(1e38), Control()), "ERR_NUMERIC", "tune.learningRate");
  EXPECT(test::changed_since(*network, before).empty());
}

CASE("classifier tuner", "works again after a bad loss") {
  const auto network = seasoned_network(kClasses);
  ClassifierTuner tuner(network, rows(), std::nullopt, tuner_options());
  EXPECT_ERROR(tuner.epoch(epoch_options(1e38), Control()), "ERR_NUMERIC", "");
  EXPECT(std::isfinite(tuner.epoch(epoch_options(), Control()).loss));
}

CASE("classifier tuner", "refuses data that do not fit") {
  const auto network = seasoned_network(kClasses);
  EXPECT_ERROR(ClassifierTuner(network, made_dataset(8, 3, 1), std::nullopt, {}), "ERR_MODEL", "4 classes");
  EXPECT_ERROR(ClassifierTuner(network, rows(), made_dataset(8, 3, 1), {}), "ERR_MODEL", "4 classes");
}

}  // namespace padft
