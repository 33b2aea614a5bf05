#include "core/neuron_masker.h"

#include <cmath>

#include "check.h"
#include "support.h"

namespace padft {
namespace {

using test::made_dataset;
using test::Reference;
using test::seasoned_network;

MaskerOptions masker_options() {
  MaskerOptions options;
  options.batch_size = 12;
  options.crop_padding = 0;
  options.flip = false;
  options.seed = 5;
  return options;
}

/// ∂CE/∂m at scale·m and m = 1 in training mode, channel after channel in the order of the sites.
at::Tensor mask_gradient(const Network& network, const Dataset& data) {
  Reference reference(network);
  const auto images = data.images().to(at::kFloat).div(255.f);
  at::cross_entropy_loss(reference.forward(images, /*training=*/true), data.labels()).backward();
  std::vector<at::Tensor> parts;
  for (const auto& item : reference.weights) {
    const auto& name = item.name;
    if (name.find(".bn") == std::string::npos || name.substr(name.size() - 7) != ".weight") continue;
    parts.push_back((item.tensor * item.tensor.grad()).detach());
  }
  return at::cat(parts);
}

}  // namespace

CASE("neuron masker", "without a disturbance a step is SGD on the masks alone") {
  const std::shared_ptr<Network> network = seasoned_network(4, 3);
  const auto data = made_dataset(12, 4, 9);
  const auto before = test::snapshot(*network);
  auto options = masker_options();
  options.epsilon = 0;
  options.alpha = 0.3;  // both losses are the same
  options.learning_rate = 0.5;
  NeuronMasker masker(network, data, options);
  EXPECT_SAME(masker.mask(), at::ones({network->site_channels()}));
  const auto result = masker.steps(1, Control());
  EXPECT_NEAR(result.loss, result.robust_loss, 1e-6);
  const auto expected = (1 - 0.5 * mask_gradient(*network, data)).clamp(0, 1);
  EXPECT_CLOSE(masker.mask(), expected, 1e-4);
  EXPECT(masker.mask().lt(1).any().item<bool>());
  EXPECT(test::changed_since(*network, before).empty());
}

CASE("neuron masker", "a disturbance raises the loss, and masks stay in [0, 1]") {
  const std::shared_ptr<Network> network = seasoned_network(4, 3);
  const auto data = made_dataset(24, 4, 9);
  auto options = masker_options();
  options.learning_rate = 5;
  NeuronMasker masker(network, data, options);
  const auto result = masker.steps(6, Control());
  EXPECT(result.robust_loss > result.loss);
  const auto mask = masker.mask();
  EXPECT(mask.ge(0).all().item<bool>() && mask.le(1).all().item<bool>());
  EXPECT(mask.eq(0).any().item<bool>());
}

CASE("neuron masker", "the same seed gives the same bytes, another one does not") {
  const std::shared_ptr<Network> network = seasoned_network(4, 3);
  const auto data = made_dataset(24, 4, 9);
  const auto run = [&](uint64_t seed) {
    auto options = masker_options();
    options.seed = seed;
    NeuronMasker masker(network, data, options);
    masker.steps(2, Control());
    masker.steps(1, Control());
    return masker.mask();
  };
  EXPECT_SAME(run(1), run(1));
  EXPECT(!at::equal(run(1), run(2)));
}

CASE("neuron masker", "refuses what batch norm cannot use, data that do not fit, and losses that are no number") {
  const std::shared_ptr<Network> network = seasoned_network(4, 3);
  EXPECT_ERROR(NeuronMasker(network, made_dataset(1, 4, 9), masker_options()), "ERR_DATA", "at least 2 rows");
  EXPECT_ERROR(NeuronMasker(network, made_dataset(12, 3, 9), masker_options()), "ERR_MODEL", "4 classes");
  test::entry(*network, "conv1.weight").fill_(NAN);
  NeuronMasker masker(network, made_dataset(12, 4, 9), masker_options());
  EXPECT_ERROR(masker.steps(1, Control()), "ERR_NUMERIC", "anp.learningRate");
}

}  // namespace padft
