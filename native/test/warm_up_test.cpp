#include "core/warm_up.h"

#include <cmath>

#include "check.h"
#include "core/evaluate.h"
#include "core/first_weights.h"
#include "support.h"

namespace padft {
namespace {

using test::made_dataset;

WarmUpOptions whole_batches(int64_t rows, int64_t epochs, double learning_rate) {
  WarmUpOptions options;
  options.epochs = epochs;
  options.batch_size = rows;
  options.learning_rate = learning_rate;
  options.seed = 6;
  return options;
}

}  // namespace

CASE("warm-up", "steps are Adam's on 0.1 · CE + RCE, from a classifier drawn anew") {
  const auto network = test::seasoned_network(3, 2);
  const auto data = made_dataset(12, 3, 4);
  const auto before = test::snapshot(*network);
  const auto features = evaluate_features(*network, data, {}, Control());
  Stream stream(6);
  auto weight = first_weights({3, network->feature_count()}, network->feature_count(), stream).set_requires_grad(true);
  auto bias = first_weights({3}, network->feature_count(), stream).set_requires_grad(true);
  std::vector<at::Tensor> parameters = {weight, bias}, first, second;
  for (const auto& parameter : parameters) {
    first.push_back(at::zeros_like(parameter.detach()));
    second.push_back(at::zeros_like(parameter.detach()));
  }
  double last = 0, right = 0;
  for (int step = 1; step <= 4; ++step) {
    const auto logits = at::addmm(bias, features, weight.t());
    right = logits.argmax(1).eq(data.labels()).to(at::kDouble).mean().item<double>();
    const auto p = at::softmax(logits, 1), label = at::one_hot(data.labels(), 3).to(at::kFloat);
    const auto reverse = p.mul(label.clamp_min(1e-4).log()).sum(1).neg();
    const auto loss = (p.mul(label).sum(1).log() * -0.1 + reverse).mean();
    loss.backward();
    last = loss.item<double>();
    at::NoGradGuard no_grad;
    for (size_t i = 0; i < 2; ++i) {
      const auto gradient = parameters[i].grad();
      first[i] = 0.9 * first[i] + 0.1 * gradient;
      second[i] = 0.999 * second[i] + 0.001 * gradient * gradient;
      const auto rate = (second[i] / (1 - std::pow(0.999, step))).sqrt() + 1e-8;
      parameters[i].sub_(0.02 * (first[i] / (1 - std::pow(0.9, step))) / rate);
      parameters[i].mutable_grad().reset();
    }
  }
  const auto result = warm_up_classifier(*network, data, whole_batches(12, 4, 0.02), Control());
  EXPECT_NEAR(result.loss, last, 1e-3);
  EXPECT_NEAR(result.accuracy, right, 1e-9);
  EXPECT_CLOSE(network->classifier_weight(), weight, 1e-3);
  EXPECT_CLOSE(network->classifier_bias(), bias, 1e-3);
  EXPECT(test::changed_since(*network, before) == (std::vector<std::string>{"linear.weight", "linear.bias"}));
}

CASE("warm-up", "the same seed gives the same bytes, and what the classifier was does not matter") {
  const auto data = made_dataset(40, 4, 3);
  const auto run = [&](uint64_t seed, double was) {
    const auto network = test::seasoned_network();
    network->classifier_weight().fill_(was);
    WarmUpOptions options;
    options.epochs = 2;
    options.batch_size = 16;
    options.seed = seed;
    warm_up_classifier(*network, data, options, Control());
    return network;
  };
  const auto one = run(1, 0);
  EXPECT(test::changed_since(*run(1, 3), test::snapshot(*one)).empty());
  EXPECT(!at::equal(one->flat_weights(), run(2, 0)->flat_weights()));
}

CASE("warm-up", "learns what the features tell, and the network computes with it at once") {
  const auto network = test::seasoned_network();
  const auto data = made_dataset(64, 4, 3);
  predict(*network, data, {}, Control());  // whatever was folded before is stale afterwards
  const auto result = warm_up_classifier(*network, data, whole_batches(16, 60, 0.05), Control());
  EXPECT(result.accuracy > 0.7);
  EXPECT(result.seconds > 0);
  const auto right = predict(*network, data, {}, Control()).eq(data.labels()).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(right, result.accuracy, 0.1);
}

CASE("warm-up", "a rate that diverges leaves the classifier as it was, and it stops on request") {
  const auto network = test::seasoned_network();
  const auto data = made_dataset(32, 4, 3);
  const auto before = test::snapshot(*network);
  EXPECT_ERROR(warm_up_classifier(*network, data, whole_batches(16, 3, 3e37), Control()), "ERR_NUMERIC", "learningRate");
  Control control;
  control.cancelled = true;
  EXPECT_ERROR(warm_up_classifier(*network, data, {}, control), "ERR_ABORTED", "");
  EXPECT(test::changed_since(*network, before).empty());
}

}  // namespace padft
