#include "core/mixmatch_trainer.h"

#include <algorithm>
#include <limits>

#include "check.h"
#include "core/evaluate.h"
#include "core/random.h"
#include "support.h"

namespace padft {
namespace {

using test::entry;
using test::made_dataset;
using test::Reference;
using test::small_network;

/// One step over every row once: as many labelled rows as others, nothing cropped or mirrored.
MixMatchOptions one_step(int64_t batch) {
  MixMatchOptions options;
  options.steps = 1;
  options.batch_size = batch;
  options.learning_rate = 0.01;
  options.unlabelled_start = options.unlabelled_end = 7;
  options.crop_padding = 0;
  options.flip = false;
  options.seed = 3;
  return options;
}

MixMatchOptions some_steps(uint64_t seed) {
  MixMatchOptions options;
  options.steps = 6;
  options.batch_size = 8;
  options.crop_padding = 1;
  options.seed = seed;
  return options;
}

std::vector<int64_t> every_other(int64_t count) {
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < count; row += 2) rows.push_back(row);
  return rows;
}

}  // namespace

CASE("mixmatch", "a step is Adam's on MixMatch's loss, guesses without gradient") {
  const auto network = test::seasoned_network(4, 3);
  const auto data = made_dataset(12, 4, 9);
  const std::vector<int64_t> labelled = {1, 2, 6, 7, 10, 11}, others = {0, 3, 4, 5, 8, 9};
  const auto options = one_step(6);
  // The very draws: two orders, a permutation and λ.
  Stream stream(options.seed);
  BatchCycle some(6, stream.below(UINT64_MAX)), rest(6, stream.below(UINT64_MAX));
  std::vector<int64_t> rows, labels;
  for (const int64_t index : some.next(6)) rows.push_back(labelled[index]);
  const auto chosen = rest.next(6);
  for (int view = 0; view < 2; ++view) {
    for (const int64_t index : chosen) rows.push_back(others[index]);
  }
  // Crops of padding 0 draw two zeros a row.
  for (size_t i = 0; i < 2 * rows.size(); ++i) EXPECT_EQUAL(stream.below(1), 0u);
  const auto partners = index_tensor(stream.permutation(18), at::kCPU);
  const double drawn = stream.beta(0.75), lambda = std::max(drawn, 1 - drawn);

  Reference reference(*network);
  const auto images = data.images().index_select(0, index_tensor(rows, at::kCPU)).to(at::kFloat).div(255.f);
  at::Tensor targets;
  {
    at::NoGradGuard no_grad;
    const auto p = at::softmax(reference.forward(images.narrow(0, 6, 12), /*training=*/true), 1);
    const auto mean = (p.narrow(0, 0, 6) + p.narrow(0, 6, 6)) / 2;
    const auto guess = mean.square() / mean.square().sum(1, true);  // T = 0.5
    auto given = at::zeros({6, 4});
    for (int64_t i = 0; i < 6; ++i) given[i][data.labels()[rows[static_cast<size_t>(i)]].item<int64_t>()] = 1;
    targets = at::cat({given, guess, guess});
  }
  const auto mix = [&](const at::Tensor& values) {
    return lambda * values + (1 - lambda) * values.index_select(0, partners);
  };
  const auto logits = reference.forward(mix(images), /*training=*/true);
  const auto q = mix(targets);
  const auto ce = -(q.narrow(0, 0, 6) * at::log_softmax(logits.narrow(0, 0, 6), 1)).sum(1).mean();
  const auto mse = (at::softmax(logits.narrow(0, 6, 12), 1) - q.narrow(0, 6, 12)).square().mean();
  (ce + 7 * mse).backward();
  MixMatchTrainer trainer(network);
  const auto result = trainer.epoch(data, labelled, options, Control());
  EXPECT_NEAR(result.labelled_loss, ce.item<double>(), 1e-4);
  EXPECT_NEAR(result.unlabelled_loss, mse.item<double>(), 1e-5);
  EXPECT_NEAR(result.loss, ce.item<double>() + 7 * mse.item<double>(), 1e-4);
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < reference.weights.size(); ++i) {
    const auto& item = reference.weights[i];
    const auto& got = network->state()[i].tensor;
    if (item.name.find("num_batches") != std::string::npos) {
      EXPECT_EQUAL(got.item<int64_t>(), 2);
      continue;
    }
    if (!item.learns) {
      EXPECT_CLOSE(got, item.tensor, 1e-3);
      continue;
    }
    // Adam's first step is the learning rate by the gradient's sign, where that is not lost in rounding.
    const auto own = item.tensor.detach(), gradient = item.tensor.grad();
    const auto expected = own - 0.01 * gradient / (gradient.abs() + 1e-8);
    const auto clear = gradient.abs() > 0.01 * gradient.abs().max();
    EXPECT(gradient.abs().max().item<double>() > 1e-6);
    EXPECT(clear.any().item<bool>());
    EXPECT_CLOSE(got.masked_select(clear), expected.masked_select(clear), 1e-4);
  }
}

CASE("mixmatch", "Adam's moments last from epoch to epoch") {
  const auto network = test::seasoned_network(4, 3), twice = test::seasoned_network(4, 3);
  const auto data = made_dataset(16, 4, 9);
  auto options = some_steps(2);
  MixMatchTrainer trainer(network), first(twice), second(twice);
  for (int epoch = 0; epoch < 2; ++epoch) trainer.epoch(data, every_other(16), options, Control());
  first.epoch(data, every_other(16), options, Control());
  second.epoch(data, every_other(16), options, Control());
  EXPECT(!at::equal(network->flat_weights(), twice->flat_weights()));
}

CASE("mixmatch", "the weight of the unlabelled rows grows linearly in the step") {
  const auto network = small_network();
  auto options = some_steps(2);
  options.learning_rate = 0;
  options.unlabelled_end = 12;
  const auto result = MixMatchTrainer(network).epoch(made_dataset(64, 4, 3), every_other(64), options, Control());
  // Weights 0, 2, 4, 6, 8 and 10; the losses of the steps are alike at a rate of 0.
  EXPECT_NEAR((result.loss - result.labelled_loss) / result.unlabelled_loss, 5, 0.5);
}

CASE("mixmatch", "labels of rows that are not labelled are never read") {
  const auto data = made_dataset(48, 4, 3);
  const auto run = [&](const Dataset& set) {
    const auto network = small_network();
    MixMatchTrainer(network).epoch(set, every_other(48), some_steps(1), Control());
    return network;
  };
  auto labels = data.labels().clone();
  for (int64_t row = 1; row < 48; row += 2) labels[row] = 3 - labels[row].item<int64_t>();
  const auto one = run(data);
  EXPECT(test::changed_since(*run(Dataset(data.images(), labels, 4)), test::snapshot(*one)).empty());
  labels[0] = 3 - labels[0].item<int64_t>();
  EXPECT(!at::equal(one->flat_weights(), run(Dataset(data.images(), labels, 4))->flat_weights()));
}

CASE("mixmatch", "learns from few labels and many images") {
  const auto network = small_network();
  const auto data = made_dataset(96, 4, 3);
  std::vector<int64_t> labelled;
  for (int64_t row = 0; row < 24; ++row) labelled.push_back(row);
  MixMatchTrainer trainer(network);
  MixMatchResult first, last;
  for (uint64_t epoch = 0; epoch < 10; ++epoch) {
    last = trainer.epoch(data, labelled, some_steps(epoch), Control());
    if (epoch == 0) first = last;
  }
  EXPECT(last.labelled_loss < first.labelled_loss);
  EXPECT(last.seconds > 0);
  const auto right = predict(*network, data, {}, Control()).eq(data.labels()).sum().item<int64_t>();
  EXPECT(right > 60);
}

CASE("mixmatch", "the same seed gives the same bytes, another one does not") {
  const auto data = made_dataset(48, 4, 3);
  const auto run = [&](uint64_t seed) {
    const auto network = small_network();
    MixMatchTrainer(network).epoch(data, every_other(48), some_steps(seed), Control());
    return network;
  };
  const auto one = run(1);
  EXPECT(test::changed_since(*run(1), test::snapshot(*one)).empty());
  EXPECT(!at::equal(one->flat_weights(), run(2)->flat_weights()));
}

CASE("mixmatch", "refuses parts and rows that do not fit, and stops on request") {
  const auto network = small_network();
  const auto before = test::snapshot(*network);
  MixMatchTrainer trainer(network);
  const auto data = made_dataset(20, 4, 3);
  const auto options = some_steps(1);
  EXPECT_ERROR(trainer.epoch(data, {0, 1, 2}, options, Control()), "ERR_OPTION",
               "at most the 3 rows of the smaller of 3 labelled and 17 others, got 8");
  std::vector<int64_t> most;
  for (int64_t row = 0; row < 15; ++row) most.push_back(row);
  EXPECT_ERROR(trainer.epoch(data, most, options, Control()), "ERR_OPTION", "at most the 5 rows");
  EXPECT_ERROR(trainer.epoch(data, {0, 1, 2, 3, 4, 5, 6, 20}, options, Control()), "ERR_DATA", "20");
  EXPECT_ERROR(trainer.epoch(data, {0, 1, 2, 3, 4, 5, 6, 6}, options, Control()), "ERR_DATA", "row 6 is there twice");
  EXPECT_ERROR(trainer.epoch(made_dataset(20, 3, 3), every_other(20), options, Control()), "ERR_MODEL", "4 classes");
  Control control;
  control.cancelled = true;
  EXPECT_ERROR(trainer.epoch(data, every_other(20), options, control), "ERR_ABORTED", "");
  EXPECT(test::changed_since(*network, before).empty());
  EXPECT(!network->gradients().defined());
}

CASE("mixmatch", "a loss that is not a number is an error") {
  const auto network = small_network();
  entry(*network, "conv1.weight")[0].fill_(std::numeric_limits<float>::quiet_NaN());
  network->state_changed();
  MixMatchTrainer trainer(network);
  EXPECT_ERROR(trainer.epoch(made_dataset(32, 4, 3), every_other(32), some_steps(1), Control()), "ERR_NUMERIC",
               "learningRate");
}

CASE("mixmatch", "bfloat16 keeps float32 weights and learns") {
  const auto network = small_network();
  const auto data = made_dataset(48, 4, 3);
  MixMatchTrainer trainer(network);
  auto options = some_steps(1);
  options.precision = Precision::bf16;
  const auto first = trainer.epoch(data, every_other(48), options, Control());
  MixMatchResult last;
  for (options.seed = 2; options.seed < 10; ++options.seed) last = trainer.epoch(data, every_other(48), options, Control());
  EXPECT(network->flat_weights().scalar_type() == at::kFloat);
  EXPECT(last.labelled_loss < first.labelled_loss);
}

}  // namespace padft
