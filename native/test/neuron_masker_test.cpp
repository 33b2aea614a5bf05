#include "core/neuron_masker.h"

#include <cmath>
#include <functional>

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

struct MaskGradient {
  double loss = 0;
  at::Tensor scale, shift;  // channel after channel in the order of the sites
};

/// ∂CE/∂(a, b) at scale·a and shift·b in training mode; a and b as the other two are.
MaskGradient mask_gradient(const Network& network, const Dataset& data, const at::Tensor& a, const at::Tensor& b) {
  Reference reference(network);
  const auto images = data.images().to(at::kFloat).div(255.f);
  const auto each_norm = [&](const std::string& kind, const std::function<void(const at::Tensor&)>& take) {
    for (const auto& item : reference.weights) {
      const auto& name = item.name;
      if (name.find(".bn") == std::string::npos || name.size() < kind.size()) continue;
      if (name.substr(name.size() - kind.size()) == kind) take(item.tensor);
    }
  };
  const auto multiply = [&](const std::string& kind, const at::Tensor& factors) {
    at::NoGradGuard no_grad;
    int64_t offset = 0;
    each_norm(kind, [&](const at::Tensor& values) {
      values.mul_(factors.narrow(0, offset, values.numel()));
      offset += values.numel();
    });
  };
  multiply(".weight", a);
  multiply(".bias", b);
  const auto loss = at::cross_entropy_loss(reference.forward(images, /*training=*/true), data.labels());
  loss.backward();
  const auto gradients = [&](const std::string& kind, const at::Tensor& factors) {
    std::vector<at::Tensor> parts;
    // A factor's derivative is the victim's value times the gradient, and the values have been multiplied already.
    each_norm(kind, [&](const at::Tensor& values) { parts.push_back((values * values.grad()).detach()); });
    return at::cat(parts) / factors;
  };
  return {loss.item<double>(), gradients(".weight", a), gradients(".bias", b)};
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
  const auto ones = at::ones({network->site_channels()});
  const auto expected = (1 - 0.5 * mask_gradient(*network, data, ones, ones).scale).clamp(0, 1);
  EXPECT_CLOSE(masker.mask(), expected, 1e-4);
  EXPECT(masker.mask().lt(1).any().item<bool>());
  EXPECT(test::changed_since(*network, before).empty());
}

CASE("neuron masker", "a step weighs the loss as it is by alpha, and the one under the disturbance by the rest") {
  const std::shared_ptr<Network> network = seasoned_network(4, 3);
  const auto data = made_dataset(12, 4, 9);
  auto options = masker_options();
  options.epsilon = 0.2;
  options.alpha = 0.2;
  options.learning_rate = 0.5;
  const auto ones = at::ones({network->site_channels()});
  // The same draws: of every scale, then of every shift.
  Stream noise(options.seed + 1);
  const auto drawn = [&] {
    auto values = at::empty(ones.sizes());
    for (int64_t i = 0; i < values.numel(); ++i) {
      values.data_ptr<float>()[i] = static_cast<float>(noise.uniform(-options.epsilon, options.epsilon));
    }
    return values;
  };
  auto of_scale = drawn(), of_shift = drawn();
  const auto rising = mask_gradient(*network, data, 1 + of_scale, 1 + of_shift);
  of_scale = (of_scale + options.epsilon * rising.scale.sign()).clamp(-options.epsilon, options.epsilon);
  of_shift = (of_shift + options.epsilon * rising.shift.sign()).clamp(-options.epsilon, options.epsilon);
  const auto disturbed = mask_gradient(*network, data, 1 + of_scale, 1 + of_shift);
  const auto natural = mask_gradient(*network, data, ones, ones);
  const auto mask_for = [&](double alpha) {
    return (1 - 0.5 * (alpha * natural.scale + (1 - alpha) * disturbed.scale)).clamp(0, 1);
  };
  NeuronMasker masker(network, data, options);
  const auto result = masker.steps(1, Control());
  EXPECT_NEAR(result.loss, natural.loss, 1e-4);
  EXPECT_NEAR(result.robust_loss, disturbed.loss, 1e-3);
  EXPECT_CLOSE(masker.mask(), mask_for(0.2), 1e-3);
  // Weights the other way round would give another mask.
  EXPECT((mask_for(0.8) - mask_for(0.2)).abs().max().item<double>() > 1e-2);
}

CASE("neuron masker", "steps gather momentum") {
  const std::shared_ptr<Network> network = seasoned_network(4, 3);
  auto options = masker_options();
  options.epsilon = 0;
  options.learning_rate = 0.2;
  const auto data = made_dataset(12, 4, 9);
  const auto ones = at::ones({network->site_channels()});
  // Every batch is all rows, so that the order is nothing to it.
  const auto first = mask_gradient(*network, data, ones, ones).scale;
  const auto after = (1 - 0.2 * first).clamp(0, 1);
  const auto second = mask_gradient(*network, data, after.clamp_min(1e-6), ones).scale;
  const auto expected = (after - 0.2 * (0.9 * first + second)).clamp(0, 1);
  NeuronMasker masker(network, data, options);
  masker.steps(2, Control());
  EXPECT_CLOSE(masker.mask(), expected, 1e-3);
  EXPECT((expected - (after - 0.2 * second).clamp(0, 1)).abs().max().item<double>() > 1e-2);
}

CASE("neuron masker", "stops on request") {
  Control control;
  control.cancelled = true;
  NeuronMasker masker(seasoned_network(4, 3), made_dataset(12, 4, 9), masker_options());
  EXPECT_ERROR(masker.steps(3, control), "ERR_ABORTED", "");
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
  EXPECT_ERROR(masker.steps(1, Control()), "ERR_NUMERIC", "lower masks.learningRate");
}

}  // namespace padft
