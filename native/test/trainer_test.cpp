#include "core/trainer.h"

#include <cmath>
#include <limits>

#include "check.h"
#include "core/evaluate.h"
#include "support.h"

namespace padft {
namespace {

using test::entry;
using test::made_dataset;
using test::Reference;
using test::small_network;

EpochOptions epoch_options(uint64_t seed, double learning_rate = 0.05) {
  EpochOptions options;
  options.batch_size = 16;
  options.learning_rate_start = options.learning_rate_end = learning_rate;
  options.crop_padding = 1;
  options.seed = seed;
  return options;
}

/// One batch in the data's order, unaugmented: what a reference can follow.
EpochOptions plain_options(int64_t rows, double learning_rate) {
  auto options = epoch_options(0, learning_rate);
  options.batch_size = rows;
  options.crop_padding = 0;
  options.flip = false;
  return options;
}

/// Every weight after one step without momentum and decay at this rate along the reference's gradient.
void expect_step(const Network& network, const Reference& before, double rate) {
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < before.weights.size(); ++i) {
    const auto& item = before.weights[i];
    if (!item.learns) continue;
    const auto moved = network.state()[i].tensor - item.tensor.detach();
    const auto expected = item.tensor.grad() * -rate;
    EXPECT_NEAR((moved - expected).abs().max().item<double>(), 0, 2e-3 * expected.abs().max().item<double>() + 2e-6);
  }
}

at::Tensor scaled(const Dataset& data) { return data.images().to(at::kFloat).div(255.f); }

EpochOptions one_step(int64_t rows, const Objective& objective) {
  auto options = plain_options(rows, 0.1);
  options.objective = objective;
  return options;
}

constexpr TrainerOptions kBare{/*momentum=*/0, /*weight_decay=*/0};

}  // namespace

CASE("trainer", "learns a data set that can be learnt") {
  const auto network = small_network();
  const auto data = made_dataset(64, 4, 3);
  Trainer trainer(network, {});
  const Control control;
  const auto first = trainer.epoch(data, epoch_options(1), control);
  EpochResult last;
  for (uint64_t seed = 2; seed <= 8; ++seed) last = trainer.epoch(data, epoch_options(seed), control);
  EXPECT(last.loss < 0.5 * first.loss);
  EXPECT(last.correct > 48);
  EXPECT_EQUAL(last.count, 64);
  EXPECT_EQUAL(last.steps, 4);
  EXPECT(last.seconds > 0);
  const auto right = predict(*network, data, {}, control).eq(data.labels()).sum().item<int64_t>();
  EXPECT(right > 48);
  EXPECT_EQUAL(entry(*network, "layer4.1.bn2.num_batches_tracked").item<int64_t>(), 32);
}

CASE("trainer", "a step is PyTorch's SGD with momentum and weight decay on every parameter") {
  const auto network = test::seasoned_network(4, 3);
  const auto data = made_dataset(12, 4, 9);
  TrainerOptions options;
  options.momentum = 0.8;
  options.weight_decay = 0.01;
  Trainer trainer(network, options);
  const auto momentum = test::random_tensor({network->flat_weights().numel()}, 5, -0.01, 0.01);
  trainer.set_momentum(momentum);
  // The momentum entry by entry: the state's views follow the flat order.
  const auto weights = network->flat_weights().clone();
  network->flat_weights().copy_(momentum);
  const auto velocity = test::snapshot(*network);
  network->flat_weights().copy_(weights);

  Reference reference(*network);
  const auto images = data.images().to(at::kFloat).div(255.f);
  const auto loss = at::cross_entropy_loss(reference.forward(images, /*training=*/true), data.labels());
  loss.backward();
  const auto result = trainer.epoch(data, plain_options(12, 0.1), Control());
  EXPECT_NEAR(result.loss, loss.item<double>(), 1e-4);
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < reference.weights.size(); ++i) {
    const auto& item = reference.weights[i];
    if (item.name.find("num_batches") != std::string::npos) continue;
    auto expected = item.tensor.detach();
    if (item.learns) expected = expected - 0.1 * (0.8 * velocity[i].tensor + item.tensor.grad() + 0.01 * expected);
    EXPECT_CLOSE(network->state()[i].tensor, expected, 1e-3);
  }
}

CASE("trainer", "the learning rate falls linearly by the step") {
  // With zero momentum and gradients made irrelevant by a huge weight decay, weights shrink by (1 − lr·wd) a step.
  const auto network = small_network();
  const auto before = entry(*network, "linear.weight").clone();
  TrainerOptions options;
  options.momentum = 0;
  options.weight_decay = 1e4;
  Trainer trainer(network, options);
  auto epoch = epoch_options(1, 4e-5);
  epoch.learning_rate_end = 0;
  trainer.epoch(made_dataset(64, 4, 3), epoch, Control());  // 4 steps at 4, 3, 2, 1 · 1e-5
  EXPECT_CLOSE(entry(*network, "linear.weight"), before.mul(0.6 * 0.7 * 0.8 * 0.9), 1e-3);
}

CASE("trainer", "the same seed gives the same bytes, another one does not") {
  const auto data = made_dataset(48, 4, 3);
  const auto run = [&](uint64_t seed) {
    const auto network = small_network();
    Trainer trainer(network, {});
    for (uint64_t epoch = 0; epoch < 2; ++epoch) trainer.epoch(data, epoch_options(seed + epoch), Control());
    return network;
  };
  const auto one = run(1), same = run(1), other = run(7);
  EXPECT(test::changed_since(*same, test::snapshot(*one)).empty());
  EXPECT(!at::equal(one->flat_weights(), other->flat_weights()));
}

CASE("trainer", "training goes on from a copy and its momentum as if it had not stopped") {
  const auto data = made_dataset(48, 4, 3);
  const auto network = small_network();
  Trainer trainer(network, {});
  trainer.epoch(data, epoch_options(1), Control());
  const std::shared_ptr<Network> copy = network->clone(at::kCPU);
  Trainer resumed(copy, {});
  EXPECT_EQUAL(resumed.momentum().abs().sum().item<double>(), 0.0);
  resumed.set_momentum(trainer.momentum().clone());
  EXPECT_SAME(resumed.momentum(), trainer.momentum());
  trainer.epoch(data, epoch_options(2), Control());
  resumed.epoch(data, epoch_options(2), Control());
  EXPECT(test::changed_since(*copy, test::snapshot(*network)).empty());
  EXPECT_SAME(resumed.momentum(), trainer.momentum());
}

CASE("trainer", "a last batch that is not full is dropped or kept as asked") {
  const auto data = made_dataset(40, 4, 3);
  const auto network = small_network();
  Trainer trainer(network, {});
  auto options = epoch_options(1);
  const auto dropped = trainer.epoch(data, options, Control());
  EXPECT_EQUAL(dropped.steps, 2);
  EXPECT_EQUAL(dropped.count, 32);
  options.drop_last = false;
  const auto kept = trainer.epoch(data, options, Control());
  EXPECT_EQUAL(kept.steps, 3);
  EXPECT_EQUAL(kept.count, 40);
}

CASE("trainer", "refuses batches it cannot make, and momentum of another size") {
  const auto network = small_network();
  const auto before = test::snapshot(*network);
  Trainer trainer(network, {});
  auto options = epoch_options(1);
  EXPECT_ERROR(trainer.epoch(made_dataset(15, 4, 3), options, Control()), "ERR_OPTION", "at most the 15 rows");
  options.drop_last = false;
  EXPECT_ERROR(trainer.epoch(made_dataset(17, 4, 3), options, Control()), "ERR_OPTION", "one row");
  EXPECT_ERROR(trainer.epoch(made_dataset(16, 3, 3), options, Control()), "ERR_MODEL", "4 classes");
  EXPECT_ERROR(trainer.set_momentum(at::zeros({3})), "ERR_MODEL", "got 3");
  EXPECT(test::changed_since(*network, before).empty());
}

CASE("trainer", "a loss that is not a number is an error, wherever it came from") {
  const auto data = made_dataset(32, 4, 3);
  for (const auto* name : {"linear.bias", "layer4.1.conv2.weight", "layer2.0.conv1.weight", "conv1.weight"}) {
    const auto network = small_network();
    entry(*network, name)[0].fill_(std::numeric_limits<float>::quiet_NaN());
    network->state_changed();
    Trainer trainer(network, {});
    EXPECT_ERROR(trainer.epoch(data, epoch_options(1), Control()), "ERR_NUMERIC", "learningRate");
  }
}

CASE("trainer", "a learning rate that makes training diverge is an error") {
  for (const double learning_rate : {1e12, 1e30}) {
    const auto network = small_network();
    Trainer trainer(network, {});
    EXPECT_ERROR(trainer.epoch(made_dataset(64, 4, 3), epoch_options(1, learning_rate), Control()), "ERR_NUMERIC",
                 "learningRate");
  }
}

CASE("trainer", "batch norm over a single value is refused, or leaves the running statistics finite") {
  const auto network = small_network();
  Trainer trainer(network, {});
  auto options = plain_options(1, 0.01);  // one image of 8×8: the last stage's maps are 1×1
  try {
    trainer.epoch(made_dataset(4, 4, 3), options, Control());
  } catch (const Error& error) {
    EXPECT_EQUAL(std::string(error.code()), "ERR_OPTION");
  }
  EXPECT(at::isfinite(entry(*network, "layer4.1.bn2.running_var")).all().item<bool>());
}

CASE("trainer", "stops on request, and the network can be used and trained afterwards") {
  const auto network = small_network();
  const auto data = made_dataset(64, 4, 3);
  Trainer trainer(network, {});
  Control control;
  control.cancelled = true;
  const auto before = test::snapshot(*network);
  EXPECT_ERROR(trainer.epoch(data, epoch_options(1), control), "ERR_ABORTED", "");
  EXPECT(test::changed_since(*network, before).empty());
  control.cancelled = false;
  control.on_progress = [&](int64_t done, int64_t total) {
    EXPECT_EQUAL(total, 64);
    control.cancelled = done >= 32;
  };
  EXPECT_ERROR(trainer.epoch(data, epoch_options(1), control), "ERR_ABORTED", "");
  EXPECT(!network->gradients().defined());
  const auto logits = evaluate_logits(*network, data, {}, Control());
  at::NoGradGuard no_grad;
  EXPECT_CLOSE(logits, Reference(*network).forward(data.images().to(at::kFloat).div(255.f), false), 1e-3);
  EXPECT_EQUAL(trainer.epoch(data, epoch_options(2), Control()).steps, 4);
}

CASE("trainer", "bfloat16 keeps float32 weights and learns") {
  const auto network = small_network();
  const auto data = made_dataset(32, 4, 3);
  Trainer trainer(network, {});
  auto options = epoch_options(1);
  options.precision = Precision::bf16;
  const auto first = trainer.epoch(data, options, Control());
  EpochResult last;
  for (uint64_t seed = 2; seed < 6; ++seed) {
    options.seed = seed;
    last = trainer.epoch(data, options, Control());
  }
  EXPECT(network->flat_weights().scalar_type() == at::kFloat);
  EXPECT(last.loss < first.loss);
}

CASE("trainer", "label smoothing spreads its share over all classes") {
  const auto network = test::seasoned_network(4, 3);
  const auto data = made_dataset(12, 4, 9);
  Reference reference(*network);
  const auto logs = at::log_softmax(reference.forward(scaled(data), /*training=*/true), 1);
  const auto own = logs.gather(1, data.labels().view({-1, 1})).mean();
  const auto loss = -(0.7 * own + 0.3 * logs.mean());
  loss.backward();
  Objective objective;
  objective.label_smoothing = 0.3;
  const auto result = Trainer(network, kBare).epoch(data, one_step(12, objective), Control());
  EXPECT_NEAR(result.loss, loss.item<double>(), 1e-4);
  expect_step(*network, reference, 0.1);
}

CASE("trainer", "climbs below a loss when that is given") {
  const auto data = made_dataset(12, 4, 9);
  const auto step = [&](const Objective& objective, double rate) {
    const auto network = test::seasoned_network(4, 3);
    Reference reference(*network);
    const auto loss = at::cross_entropy_loss(reference.forward(scaled(data), /*training=*/true), data.labels());
    loss.backward();
    const auto result = Trainer(network, kBare).epoch(data, one_step(12, objective), Control());
    EXPECT_NEAR(result.loss, loss.item<double>(), 1e-4);
    expect_step(*network, reference, rate);
    return result.loss;
  };
  Objective objective;
  const double loss = step(objective, 0.1);
  objective.ascent_below = loss + 0.1;
  step(objective, -0.1);
  objective.ascent_below = loss - 0.1;
  step(objective, 0.1);
}

CASE("trainer", "adaptive SAM takes the gradient at w + ρ·w²·g / ‖|w|·g‖ and statistics at w") {
  const auto network = test::seasoned_network(4, 3);
  const auto data = made_dataset(12, 4, 9);
  const double radius = 0.4;
  Reference reference(*network), moved(*network);
  const auto loss = at::cross_entropy_loss(reference.forward(scaled(data), /*training=*/true), data.labels());
  loss.backward();
  double square = 0;
  for (const auto& item : reference.weights) {
    if (item.learns) square += (item.tensor * item.tensor.grad()).square().sum().item<double>();
  }
  {
    at::NoGradGuard no_grad;
    for (size_t i = 0; i < moved.weights.size(); ++i) {
      const auto& item = reference.weights[i];
      if (item.learns) moved.weights[i].tensor.add_(item.tensor.square() * item.tensor.grad(), radius / std::sqrt(square));
    }
  }
  at::cross_entropy_loss(moved.forward(scaled(data), /*training=*/true), data.labels()).backward();
  // The step starts at w, whatever the gradient's place.
  double apart = 0;
  for (size_t i = 0; i < moved.weights.size(); ++i) {
    auto& item = reference.weights[i];
    if (!item.learns) continue;
    apart += (item.tensor.grad() - moved.weights[i].tensor.grad()).abs().sum().item<double>();
    item.tensor.mutable_grad() = moved.weights[i].tensor.grad();
  }
  EXPECT(apart > 0.1);
  Objective objective;
  objective.radius = radius;
  const auto result = Trainer(network, kBare).epoch(data, one_step(12, objective), Control());
  EXPECT_NEAR(result.loss, loss.item<double>(), 1e-4);
  expect_step(*network, reference, 0.1);
  for (size_t i = 0; i < reference.weights.size(); ++i) {
    const auto& item = reference.weights[i];
    if (item.name.find("running_") == std::string::npos) continue;
    EXPECT_CLOSE(network->state()[i].tensor, item.tensor, 1e-4);
  }
}

CASE("trainer", "a teacher's attention is approached by its weight a stage, the last at the end") {
  const auto network = test::seasoned_network(4, 3);
  const std::shared_ptr<Network> teacher = test::seasoned_network(4, 8);
  const auto before = test::snapshot(*teacher);
  const auto data = made_dataset(12, 4, 9, /*size=*/16);  // the last map must hold more than one pixel
  Reference reference(*network), wanted(*teacher);
  auto loss = at::cross_entropy_loss(reference.forward(scaled(data), /*training=*/true), data.labels());
  {
    at::NoGradGuard no_grad;
    wanted.forward(scaled(data), /*training=*/false);
  }
  const auto attention = [](const at::Tensor& map) {
    const auto energy = map.pow(2).sum(1).view({map.size(0), -1});
    return energy / energy.norm(2, 1, true);
  };
  const double weights[] = {30, 70};
  for (int i = 0; i < 2; ++i) {
    loss = loss + weights[i] * at::mse_loss(attention(reference.maps[2 + i]), attention(wanted.maps[2 + i]));
  }
  loss.backward();
  Objective objective;
  objective.teacher = teacher;
  objective.attention = {weights[0], weights[1]};
  const auto result = Trainer(network, kBare).epoch(data, one_step(12, objective), Control());
  EXPECT_NEAR(result.loss, loss.item<double>(), 1e-3);
  expect_step(*network, reference, 0.1);
  EXPECT(test::changed_since(*teacher, before).empty());
  objective.attention = {1, 1, 1, 1, 1};
  EXPECT_ERROR(Trainer(network, kBare).epoch(data, one_step(12, objective), Control()), "ERR_MODEL", "at least 5 stages");
  objective.teacher = network;
  EXPECT_ERROR(Trainer(network, kBare).epoch(data, one_step(12, objective), Control()), "ERR_OPTION", "other than the trained one");
}

}  // namespace padft
