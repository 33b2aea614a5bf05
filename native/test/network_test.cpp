#include "models/network.h"

#include <limits>
#include <set>

#include "check.h"
#include "core/batches.h"
#include "support.h"

namespace padft {
namespace {

using test::constant_bounds;
using test::entry;
using test::Reference;
using test::seasoned_network;
using test::small_network;

at::Tensor images(int64_t count = 3) { return test::channels_last(test::random_tensor({count, 3, 16, 16}, 4, 0, 1)); }

at::Tensor logits(Network& network, const at::Tensor& input, const BoundSet& bounds = {}) {
  at::NoGradGuard no_grad;
  EvalPass pass;
  pass.bounds = bounds;
  return network.logits(input, pass);
}

/// Bounds that bind in about half of the channels: half of each channel's own largest value or mean.
BoundSet binding(Network& network, const at::Tensor& input, bool max, bool mean) {
  at::NoGradGuard no_grad;
  const auto half_of = [&](Statistic statistic) {
    EvalPass pass;
    pass.collect = true;
    pass.statistic = statistic;
    network.features(input, pass);
    return at::cat(pass.collected, 1).amax(0).mul(0.5);
  };
  return {max ? half_of(Statistic::max) : at::Tensor(), mean ? half_of(Statistic::mean) : at::Tensor()};
}

}  // namespace

CASE("network", "has the published size, names and sites") {
  const auto network = small_network(10, 0, 64);
  EXPECT_EQUAL(network->parameter_count(), 11'171'146);
  EXPECT_EQUAL(network->state().size(), 102u);
  EXPECT_EQUAL(network->sites().size(), 16u);
  EXPECT_EQUAL(network->feature_count(), 512);
  EXPECT_EQUAL(network->site_channels(), (64 * 4 + 64 + 128 * 3 + 128 + 256 * 3 + 256 + 512 * 3));
  EXPECT_EQUAL(network->sites()[0].name, "layer1.0.relu1");
  EXPECT_EQUAL(network->sites()[5].name, "layer2.0.relu2");
  EXPECT_EQUAL(network->sites()[4].channels, 64);
  EXPECT_EQUAL(network->sites()[5].channels, 128);
}

CASE("network", "the state's names are PyTorch's, each once, and its learned part is the parameter count") {
  const auto network = small_network(4, 1, 8);
  std::set<std::string> names;
  int64_t learned = 0;
  for (const auto& item : network->state()) {
    names.insert(item.name);
    if (item.learns) learned += item.tensor.numel();
  }
  EXPECT_EQUAL(names.size(), 102u);
  EXPECT_EQUAL(learned, network->parameter_count());
  for (const auto* name : {"conv1.weight", "layer1.0.bn1.weight", "layer1.1.bn2.num_batches_tracked",
                           "layer2.0.shortcut.0.weight", "layer4.1.conv2.weight", "layer3.0.bn1.running_var",
                           "linear.weight", "linear.bias"}) {
    EXPECT(names.count(name) == 1);
  }
  EXPECT(names.count("layer1.0.shortcut.0.weight") == 0);
  EXPECT(entry(*network, "layer2.0.conv1.weight").sizes() == at::IntArrayRef({16, 8, 3, 3}));
  EXPECT(entry(*network, "linear.weight").sizes() == at::IntArrayRef({4, 64}));
}

CASE("network", "starts from PyTorch's distributions, fixed by the seed") {
  const auto network = small_network(4, 3), same = small_network(4, 3), other = small_network(4, 5);
  EXPECT_SAME(network->flat_weights(), same->flat_weights());
  EXPECT(!at::equal(network->flat_weights(), other->flat_weights()));
  const auto weight = entry(*network, "layer3.0.conv2.weight");  // fan-in 32·9
  const double bound = 1 / std::sqrt(32 * 9.0);
  EXPECT(weight.abs().max().item<double>() <= bound);
  EXPECT(weight.abs().max().item<double>() > 0.99 * bound);
  EXPECT_NEAR(weight.var().item<double>(), bound * bound / 3, 0.05 * bound * bound);
  EXPECT(entry(*network, "linear.bias").abs().max().item<double>() <= 1 / std::sqrt(64.0));
  EXPECT_SAME(entry(*network, "layer1.0.bn1.weight"), at::ones({8}));
  EXPECT_SAME(entry(*network, "layer1.0.bn1.bias"), at::zeros({8}));
  EXPECT_SAME(entry(*network, "layer1.0.bn1.running_var"), at::ones({8}));
}

CASE("network", "evaluation with folded batch norms equals the network spelled out") {
  for (const int64_t width : {8, 12, 5}) {  // 5: 1×1 convolutions as matrix products
    const auto network = seasoned_network(4, 2, width);
    const auto input = images();
    at::NoGradGuard no_grad;
    Reference reference(*network);
    EXPECT_CLOSE(logits(*network, input), reference.forward(input, /*training=*/false), 1e-4);
  }
}

CASE("network", "evaluation under bounds equals the network spelled out") {
  const auto network = seasoned_network();
  const auto input = images();
  const auto free = logits(*network, input);
  at::NoGradGuard no_grad;
  Reference reference(*network);
  for (const auto& kinds : std::vector<std::pair<bool, bool>>{{true, false}, {false, true}, {true, true}}) {
    const auto bounds = binding(*network, input, kinds.first, kinds.second);
    const auto bounded = logits(*network, input, bounds);
    EXPECT_CLOSE(bounded, reference.forward(input, false, bounds), 1e-4);
    EXPECT((bounded - free).abs().max().item<double>() > 1e-2);
  }
}

CASE("network", "per-image bounds hold each image to its own row") {
  const auto network = seasoned_network();
  const auto input = images(2);
  const auto tight = binding(*network, input, true, true);
  const auto wide = constant_bounds(*network, 1e6);
  const BoundSet rows{at::stack({tight.max, wide}), at::stack({tight.mean, wide})};
  const auto result = logits(*network, input, rows);
  EXPECT_CLOSE(result[0], logits(*network, input, tight)[0], 1e-5);
  EXPECT_CLOSE(result[1], logits(*network, input)[1], 1e-5);
}

CASE("network", "the classifier of the features is the logits") {
  const auto network = seasoned_network();
  const auto input = images();
  at::NoGradGuard no_grad;
  EvalPass pass;
  const auto features = network->features(input, pass);
  EXPECT(features.sizes() == at::IntArrayRef({3, network->feature_count()}));
  EXPECT_SAME(network->classify(features), logits(*network, input));
  const auto by_hand = at::matmul(features, network->classifier_weight().t()) + network->classifier_bias();
  EXPECT_CLOSE(network->classify(features), by_hand, 1e-5);
  Reference reference(*network);
  reference.forward(input, false);
  EXPECT_CLOSE(features, reference.features, 1e-4);
}

CASE("network", "infinite bounds change nothing") {
  const auto network = seasoned_network();
  const auto input = images();
  const auto infinite = constant_bounds(*network, std::numeric_limits<double>::infinity());
  EXPECT_SAME(logits(*network, input, {infinite, {}}), logits(*network, input));
  EXPECT_SAME(logits(*network, input, {{}, infinite}), logits(*network, input));
  EXPECT_SAME(logits(*network, input, {infinite, infinite}), logits(*network, input));
}

CASE("network", "a pass collects one statistic a site, as the spelled-out network has it") {
  const auto network = seasoned_network();
  const auto input = images();
  const auto bounds = binding(*network, input, true, true);
  at::NoGradGuard no_grad;
  Reference reference(*network);
  reference.forward(input, false, bounds);
  for (const auto statistic : {Statistic::mean, Statistic::max}) {
    EvalPass pass;
    pass.bounds = bounds;
    pass.collect = true;
    pass.statistic = statistic;
    network->features(input, pass);
    EXPECT_EQUAL(pass.collected.size(), 16u);
    for (size_t site = 0; site < pass.collected.size(); ++site) {
      // The mean is noted before its own bound, the largest value after it.
      const auto expected = statistic == Statistic::mean ? reference.unbounded[site].mean({2, 3})
                                                         : reference.sites[site].amax({2, 3});
      EXPECT_CLOSE(pass.collected[site], expected, 1e-4);
    }
  }
}

CASE("network", "state_changed makes written weights count") {
  const auto network = seasoned_network();
  const auto input = images();
  const auto before = logits(*network, input);
  entry(*network, "layer1.0.bn2.running_mean").add_(0.5);
  entry(*network, "conv1.weight").mul_(1.1);
  network->state_changed();
  const auto after = logits(*network, input);
  EXPECT(!at::equal(before, after));
  at::NoGradGuard no_grad;
  EXPECT_CLOSE(after, Reference(*network).forward(input, false), 1e-4);
}

CASE("network", "a clone computes the same and shares nothing") {
  const auto network = seasoned_network();
  network->count_batches(5);
  network->bounds = {constant_bounds(*network, 2), constant_bounds(*network, 1)};
  const auto copy = network->clone(at::kCPU);
  EXPECT(test::changed_since(*copy, test::snapshot(*network)).empty());
  EXPECT_EQUAL(entry(*copy, "layer1.0.bn1.num_batches_tracked").item<int64_t>(), 5);
  const auto input = images();
  EXPECT_SAME(logits(*copy, input, copy->bounds), logits(*network, input, network->bounds));
  const auto before = test::snapshot(*network);
  const auto same = logits(*network, input);
  copy->flat_weights().mul_(2);
  for (const auto& item : copy->state()) item.tensor.add_(1);
  copy->bounds.max.fill_(0);
  copy->state_changed();
  EXPECT(test::changed_since(*network, before).empty());
  EXPECT_SAME(logits(*network, input), same);
  EXPECT_SAME(network->bounds.max, constant_bounds(*network, 2));
}

CASE("network", "training mode: logits, gradients and running statistics equal the network spelled out") {
  for (const int64_t width : {8, 12}) {
    const auto network = seasoned_network(4, 3, width);
    const auto input = test::channels_last(test::random_tensor({6, 3, 16, 16}, 8, 0, 1));
    const auto labels = at::arange(6, at::kLong).remainder(4);
    Reference reference(*network);
    const auto expected = reference.forward(input, /*training=*/true);
    at::cross_entropy_loss(expected, labels).backward();

    network->begin_training(Precision::fp32);
    network->zero_gradients();
    const auto result = network->train_logits(input);
    at::cross_entropy_loss(result, labels).backward();
    network->collect_gradients();
    EXPECT_CLOSE(result, expected, 1e-4);
    double square = 0;
    for (const auto& item : reference.weights) {
      if (item.learns) square += item.tensor.grad().square().sum().item<double>();
    }
    EXPECT_NEAR(network->gradients().square().sum().item<double>(), square, 1e-3 * square);
    // In place, so that the flat buffer's gradient is compared entry by entry: the names' views follow the weights.
    const auto gradients = network->gradients().clone();
    const auto weights = network->flat_weights().clone();
    network->flat_weights().copy_(gradients);
    for (size_t i = 0; i < reference.weights.size(); ++i) {
      const auto& item = reference.weights[i];
      if (item.name.find("num_batches") != std::string::npos) continue;
      const auto& ours = network->state()[i].tensor;
      const auto& theirs = item.learns ? item.tensor.grad() : item.tensor;
      const double scale = theirs.abs().max().item<double>();
      EXPECT_NEAR((ours - theirs).abs().max().item<double>(), 0, 1e-3 * scale + 1e-6);
    }
    network->flat_weights().copy_(weights);
    network->end_training();
  }
}

CASE("network", "both modes give the map that each stage ends with") {
  const auto network = seasoned_network();
  const auto input = images();
  for (const bool training : {false, true}) {
    at::NoGradGuard no_grad;
    Reference reference(*network);
    reference.forward(input, training);
    std::vector<at::Tensor> maps;
    if (training) {
      network->begin_training(Precision::fp32);
      network->train_features(input, &maps);
      network->end_training();
    } else {
      EvalPass pass;
      pass.maps = &maps;
      network->features(input, pass);
    }
    EXPECT_EQUAL(maps.size(), size_t{4});
    for (size_t stage = 0; stage < maps.size(); ++stage) EXPECT_CLOSE(maps[stage], reference.maps[stage], 1e-4);
  }
}

CASE("network", "bfloat16 evaluation stays near float32, under bounds too") {
  const auto network = seasoned_network();
  const auto input = images();
  at::NoGradGuard no_grad;
  const auto bounds = binding(*network, input, true, true);
  for (const auto& held : {BoundSet{}, BoundSet{bounds.max, {}}, bounds}) {
    EvalPass pass;
    pass.precision = Precision::bf16;
    pass.bounds = held;
    const auto low = network->logits(input, pass);
    EXPECT(low.scalar_type() == at::kFloat);
    const auto full = logits(*network, input, held);
    EXPECT_NEAR((low - full).abs().max().item<double>(), 0, 0.05 * full.abs().max().item<double>() + 0.02);
  }
}

CASE("network", "refuses what it cannot be") {
  NetworkOptions options;
  options.mean = {0.5, 0.5, 0.5};
  options.std = {0.2, 0.2, 0.2};
  EXPECT_ERROR(make_network("resnet-1000", options, at::kCPU), "ERR_OPTION", "preact-resnet18");
  auto thin = options;
  thin.std = {0.2};
  EXPECT_ERROR(make_network("preact-resnet18", thin, at::kCPU), "ERR_OPTION", "3 input channels, got 3 and 1");
  auto single = options;
  single.classes = 1;
  EXPECT_ERROR(make_network("preact-resnet18", single, at::kCPU), "ERR_OPTION", "2 classes");
}

}  // namespace padft
