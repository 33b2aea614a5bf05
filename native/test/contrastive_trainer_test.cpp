#include "core/contrastive_trainer.h"

#include <limits>

#include "check.h"
#include "core/losses.h"
#include "support.h"

namespace padft {
namespace {

using test::entry;
using test::made_dataset;
using test::Reference;
using test::small_network;

ContrastiveEpochOptions epoch_options(uint64_t seed, double learning_rate = 0.05, int64_t batch = 16) {
  ContrastiveEpochOptions options;
  options.batch_size = batch;
  options.learning_rate = learning_rate;
  options.seed = seed;
  return options;
}

/// Views that are the images themselves.
ContrastiveOptions plain_views() {
  ContrastiveOptions options;
  options.projection = 6;
  options.views.smallest_crop = 1;
  options.views.jitter_probability = options.views.grey_probability = 0;
  options.views.flip = false;
  options.seed = 5;
  return options;
}

}  // namespace

CASE("contrastive", "a step is SGD on the backbone and the head, by the gradient of NT-Xent") {
  const auto network = test::seasoned_network(4, 3);
  const auto data = made_dataset(10, 4, 9);
  auto options = plain_views();
  options.weight_decay = 0.01;
  options.temperature = 0.3;
  ContrastiveTrainer trainer(network, options);
  std::vector<at::Tensor> head;
  for (const auto& leaf : trainer.head()) head.push_back(leaf.detach().clone().set_requires_grad(true));
  Reference reference(*network);
  const auto images = data.images().to(at::kFloat).div(255.f);
  reference.forward(at::cat({images, images}), /*training=*/true);
  const auto hidden = at::relu(at::addmm(head[1], reference.features, head[0].t()));
  const auto embeddings = at::addmm(head[3], hidden, head[2].t());
  EXPECT_EQUAL(embeddings.size(1), 6);
  // Every embedding against the 19 others, spelled out.
  std::vector<at::Tensor> terms;
  for (int64_t i = 0; i < 20; ++i) {
    std::vector<at::Tensor> similarities;
    for (int64_t j = 0; j < 20; ++j) {
      if (j != i) similarities.push_back(at::cosine_similarity(embeddings[i], embeddings[j], 0) / 0.3);
    }
    const auto partner = at::cosine_similarity(embeddings[i], embeddings[(i + 10) % 20], 0) / 0.3;
    terms.push_back(at::logsumexp(at::stack(similarities), {0}) - partner);
  }
  const auto loss = at::stack(terms).mean();
  loss.backward();
  // The order of the rows moves nothing: the loss is a mean over all of them, and so are batch norm's statistics.
  const auto result = trainer.epoch(data, epoch_options(1, 0.1, 10), Control());
  EXPECT_EQUAL(result.steps, 1);
  EXPECT_NEAR(result.loss, loss.item<double>(), 1e-4);
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < reference.weights.size(); ++i) {
    const auto& item = reference.weights[i];
    if (item.name.find("num_batches") != std::string::npos) continue;
    auto expected = item.tensor.detach();
    if (item.learns) {
      const auto gradient = item.tensor.grad();
      EXPECT_EQUAL(gradient.defined(), item.name.find("linear") == std::string::npos);
      if (gradient.defined()) EXPECT(gradient.abs().max().item<double>() > 1e-6);
      expected = expected - 0.1 * ((gradient.defined() ? gradient : at::zeros_like(expected)) + 0.01 * expected);
    }
    EXPECT_CLOSE(network->state()[i].tensor, expected, 1e-3);
  }
  for (size_t i = 0; i < head.size(); ++i) {
    const auto own = head[i].detach();
    EXPECT_CLOSE(trainer.head()[i], own - 0.1 * (head[i].grad() + 0.01 * own), 1e-3);
  }
}

CASE("contrastive", "momentum lasts from epoch to epoch") {
  const auto data = made_dataset(8, 4, 9);
  const auto change = [&](double momentum, int epochs) {
    const auto network = test::seasoned_network(4, 3);
    auto options = plain_views();
    options.momentum = momentum;
    ContrastiveTrainer trainer(network, options);
    for (int epoch = 0; epoch + 1 < epochs; ++epoch) trainer.epoch(data, epoch_options(1, 1e-3, 8), Control());
    const auto before = network->flat_weights().clone();
    trainer.epoch(data, epoch_options(1, 1e-3, 8), Control());
    return (network->flat_weights() - before).norm().item<double>();
  };
  EXPECT_NEAR(change(0.9, 1) / change(0, 1), 1, 1e-3);
  EXPECT_NEAR(change(0.9, 2) / change(0, 2), 1.9, 0.1);
}

CASE("contrastive", "learns to tell images apart by their views, and reads no label") {
  const auto learnt = [&](const Dataset& data) {
    const auto network = small_network();
    ContrastiveTrainer trainer(network, {});
    const auto first = trainer.epoch(data, epoch_options(1), Control());
    ContrastiveEpochResult last;
    for (uint64_t seed = 2; seed <= 8; ++seed) last = trainer.epoch(data, epoch_options(seed), Control());
    EXPECT(last.loss < first.loss - 0.1);
    EXPECT(first.loss < 5);  // near log 31 = 3.4 where nothing is learnt yet
    EXPECT_EQUAL(last.steps, 4);
    EXPECT_EQUAL(entry(*network, "layer4.1.bn2.num_batches_tracked").item<int64_t>(), 32);
    return network;
  };
  const auto data = made_dataset(70, 4, 3);
  const auto network = learnt(data);
  const auto unlabelled = learnt(Dataset(data.images(), at::zeros_like(data.labels()), 4));
  EXPECT(test::changed_since(*unlabelled, test::snapshot(*network)).empty());
}

CASE("contrastive", "the same seed gives the same bytes, another one does not") {
  const auto data = made_dataset(48, 4, 3);
  const auto run = [&](uint64_t head, uint64_t seed) {
    const auto network = small_network();
    ContrastiveOptions options;
    options.seed = head;
    ContrastiveTrainer trainer(network, options);
    trainer.epoch(data, epoch_options(seed), Control());
    return network;
  };
  const auto one = run(1, 1);
  EXPECT(test::changed_since(*run(1, 1), test::snapshot(*one)).empty());
  EXPECT(!at::equal(one->flat_weights(), run(1, 2)->flat_weights()));
  EXPECT(!at::equal(one->flat_weights(), run(2, 1)->flat_weights()));
}

CASE("contrastive", "refuses batches it cannot make, and stops on request") {
  const auto network = small_network();
  const auto before = test::snapshot(*network);
  ContrastiveTrainer trainer(network, {});
  EXPECT_ERROR(trainer.epoch(made_dataset(15, 4, 3), epoch_options(1), Control()), "ERR_OPTION", "at most the 15 rows");
  EXPECT_ERROR(trainer.epoch(made_dataset(16, 3, 3), epoch_options(1), Control()), "ERR_MODEL", "4 classes");
  Control control;
  control.cancelled = true;
  EXPECT_ERROR(trainer.epoch(made_dataset(16, 4, 3), epoch_options(1), control), "ERR_ABORTED", "");
  EXPECT(test::changed_since(*network, before).empty());
  EXPECT(!network->gradients().defined());
}

CASE("contrastive", "a loss that is not a number is an error") {
  const auto network = small_network();
  entry(*network, "conv1.weight")[0].fill_(std::numeric_limits<float>::quiet_NaN());
  network->state_changed();
  ContrastiveTrainer trainer(network, {});
  EXPECT_ERROR(trainer.epoch(made_dataset(32, 4, 3), epoch_options(1), Control()), "ERR_NUMERIC", "learningRate");
}

CASE("contrastive", "bfloat16 keeps float32 weights and learns") {
  const auto network = small_network();
  const auto data = made_dataset(32, 4, 3);
  ContrastiveTrainer trainer(network, {});
  auto options = epoch_options(1);
  options.precision = Precision::bf16;
  const auto first = trainer.epoch(data, options, Control());
  for (options.seed = 2; options.seed < 10; ++options.seed) trainer.epoch(data, options, Control());
  EXPECT(network->flat_weights().scalar_type() == at::kFloat);
  // The first epoch's views again: from other ones the loss of 32 rows goes up and down by more than it falls.
  options.seed = 1;
  const auto last = trainer.epoch(data, options, Control());
  EXPECT(last.loss < first.loss);
}

}  // namespace padft
