// The core's losses, colour changes and gradients against PyTorch's. The tolerances are those of
// test/parity/fixtures/index.json.
#include <torch/csrc/autograd/autograd.h>

#include "check.h"
#include "core/batches.h"
#include "core/losses.h"
#include "fixtures.h"
#include "support.h"

namespace padft {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

constexpr double kAlpha = 0.1, kMargin = 2;
constexpr double kLogZero = -9.210340371976182;

/// |actual − expected| ≤ absolute + relative · |expected| everywhere.
void expect_answer(const at::Tensor& actual, const Tensors& fixture, const std::string& name, double absolute,
                   double relative) {
  const auto expected = fixture.at(name).to(at::kDouble), got = actual.detach().to(at::kDouble);
  if (got.sizes() != expected.sizes()) return test::report(__FILE__, __LINE__, name + ": the shapes differ");
  if (at::allclose(got, expected, relative, absolute)) return;
  test::report(__FILE__, __LINE__,
               concat(name, ": the largest difference is ", (got - expected).abs().max().item<double>()));
}

at::Tensor gradient(const at::Tensor& loss, const at::Tensor& input) {
  return torch::autograd::grad({loss}, {input}, {}, /*retain_graph=*/true)[0];
}

std::shared_ptr<Network> network_of(const std::string& state) {
  NetworkOptions options;
  options.classes = 10;
  options.width = 4;
  options.mean = {0.4914, 0.4822, 0.4465};
  options.std = {0.247, 0.243, 0.261};
  auto network = std::shared_ptr<Network>(make_network("preact-resnet18", options, at::kCPU));
  const auto values = test::read_fixture(state);
  for (const auto& item : network->state()) item.tensor.copy_(values.at(item.name));
  network->state_changed();
  return network;
}

Dataset dataset_of(const at::Tensor& images) {
  return Dataset(images, at::zeros({images.size(0)}, at::kLong), 10);
}

}  // namespace

CASE("parity", "losses and their gradients are PyTorch's") {
  const auto fixture = test::read_fixture("losses");
  const auto leaf = [&](const char* name) { return fixture.at(name).clone().set_requires_grad(true); };
  const auto logits = leaf("logits"), other = leaf("logits.augmented"), labels = fixture.at("labels");
  const auto expect = [&](const at::Tensor& actual, const char* name) {
    expect_answer(actual, fixture, name, 2e-6, 2e-5);
  };
  const auto sce = symmetric_cross_entropy(logits, labels, kAlpha, kLogZero);
  expect(sce, "sce");
  expect(gradient(sce.mean(), logits), "sce.gradient");
  const auto odds = log_odds(logits, labels);
  expect(odds, "logodds");
  expect(gradient(odds.mean(), logits), "logodds.gradient");
  const auto agreement = consistency(logits, other).mean();
  expect(agreement, "consistency");
  expect(gradient(agreement, logits), "consistency.gradient");
  expect(gradient(agreement, other), "consistency.gradient.augmented");
  const auto suspicion = suspect_penalty(logits, labels, kMargin).mean();
  expect(suspicion, "suspects");
  expect(gradient(suspicion, logits), "suspects.gradient");
  const auto mse = at::mse_loss(logits, other);  // as the bounds' fitter takes it
  expect(mse, "mse");
  expect(gradient(mse, logits), "mse.gradient");
}

CASE("parity", "the losses of training anew and their gradients are PyTorch's") {
  const auto fixture = test::read_fixture("anew");
  const auto leaf = [&](const char* name) { return fixture.at(name).clone().set_requires_grad(true); };
  const auto first = leaf("first"), second = leaf("second"), logits = leaf("logits");
  const auto& targets = fixture.at("targets");
  const auto expect = [&](const at::Tensor& actual, const char* name) {
    expect_answer(actual, fixture, name, 2e-6, 2e-5);
  };
  const auto contrast = nt_xent(first, second, 0.5);
  expect(contrast, "ntxent");
  expect(gradient(contrast, first), "ntxent.gradient.first");
  expect(gradient(contrast, second), "ntxent.gradient.second");
  const auto soft = soft_cross_entropy(logits, targets), squared = squared_error(logits, targets);
  expect(soft, "soft");
  expect(gradient(soft.mean(), logits), "soft.gradient");
  expect(squared, "squared");
  expect(gradient(squared.mean(), logits), "squared.gradient");
  expect(sharpen(targets, 0.5), "sharpened");
}

CASE("parity", "flip, brightness and contrast are PyTorch's") {
  const auto fixture = test::read_fixture("augment");
  const auto& brightness = fixture.at("brightness");
  const auto& contrast = fixture.at("contrast");
  const auto data = dataset_of(fixture.at("images"));
  auto table = at::zeros({4, data.count()}, at::kLong);
  table[0].copy_(at::arange(data.count()));
  const auto plain = gather_augmented(data, table, 0);
  const auto same = at::ones_like(brightness);
  const auto expect = [&](const at::Tensor& actual, const char* name) {
    expect_answer(actual, fixture, name, 2e-6, 0);
  };
  expect(adjust_colour(plain, brightness, same), "result.brightness");
  expect(adjust_colour(plain, same, contrast), "result.contrast");
  table[3].copy_(fixture.at("flip"));
  expect(adjust_colour(gather_augmented(data, table, 0), brightness, contrast), "result");
}

CASE("parity", "gradients with respect to the bounds are PyTorch's, in size as in sign") {
  const auto fixture = test::read_fixture("bounds-gradient");
  const auto network = network_of("state-calm");
  const auto data = dataset_of(fixture.at("images"));
  const auto images = gather(data, at::arange(data.count()));
  EvalPass free;
  at::Tensor reference;
  {
    at::NoGradGuard no_grad;
    reference = network->logits(images, free);
  }
  constexpr double lambda = 0.005;
  for (const std::string name : {"max", "mean", "both"}) {
    EvalPass pass;
    at::Tensor pressure = at::zeros({});
    std::vector<std::pair<std::string, at::Tensor>> bounds;
    for (const std::string kind : {"max", "mean"}) {
      if (name != kind && name != "both") continue;
      const auto z = fixture.at("bounds." + kind).clone().set_requires_grad(true);
      (kind == "max" ? pass.bounds.max : pass.bounds.mean) = z;
      bounds.emplace_back(kind, z);
      int64_t offset = 0;
      for (const auto& site : network->sites()) {
        pressure = pressure + z.narrow(0, offset, site.channels).norm();
        offset += site.channels;
      }
    }
    const auto mse = at::mse_loss(network->logits(images, pass), reference);
    const auto loss = mse + lambda * pressure;
    expect_answer(mse, fixture, name + ".mse", 1e-5, 1e-5);
    expect_answer(loss, fixture, name + ".loss", 1e-5, 1e-5);
    for (const auto& [kind, z] : bounds) {
      const auto actual = gradient(loss, z);
      expect_answer(actual, fixture, name + ".gradient." + kind, 1e-5, 1e-5);
      // The penalty alone gives every bound a gradient: the error's must show beside it, beyond the tolerance.
      EXPECT((gradient(mse, z).abs() > 1e-4).sum().item<int64_t>() > 50);
    }
  }
}

}  // namespace padft
