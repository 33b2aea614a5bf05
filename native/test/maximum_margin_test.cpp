#include "core/maximum_margin.h"

#include <torch/csrc/autograd/autograd.h>

#include <limits>

#include "check.h"
#include "core/random.h"
#include "support.h"

namespace padft {
namespace {

using test::constant_bounds;
using test::entry;
using test::seasoned_network;

constexpr int64_t kClasses = 4;

MarginOptions small() {
  MarginOptions options;
  options.images = 3;
  options.height = options.width = 16;
  options.steps = 6;
  options.learning_rate = 0.05;
  options.tolerance = 0;
  options.seed = 5;
  return options;
}

}  // namespace

CASE("maximum margin", "is plain gradient ascent on clamped pixels, class by class") {
  const auto network = seasoned_network(kClasses);
  const auto options = small();
  const auto found = maximum_margins(*network, options, Control());
  test::Reference reference(*network);
  Stream stream(options.seed);
  for (int64_t target = 0; target < kClasses; ++target) {
    auto images = at::empty({options.images, 3, options.height, options.width});
    for (int64_t i = 0; i < images.numel(); ++i) images.data_ptr<float>()[i] = static_cast<float>(stream.uniform());
    images.set_requires_grad(true);
    at::Tensor margins;
    for (int64_t step = 0; step < options.steps; ++step) {
      const auto logits = reference.forward(images.clamp(0, 1), false);
      auto masked = logits.clone();
      masked.select(1, target).fill_(-1e9);
      margins = logits.select(1, target) - masked.amax(1);
      if (step + 1 == options.steps) break;
      const auto gradient = torch::autograd::grad({margins.sum()}, {images})[0];
      at::NoGradGuard no_grad;
      images.add_(gradient, options.learning_rate);
    }
    EXPECT_NEAR(found.margins[target].item<double>(), margins.max().item<double>(), 1e-3);
    EXPECT(found.steps[target].item<int64_t>() == options.steps);
  }
}

CASE("maximum margin", "grows with the steps, and stops when it no longer does") {
  const auto network = seasoned_network(kClasses);
  auto options = small();
  options.steps = 1;
  const auto first = maximum_margins(*network, options, Control());
  options.steps = 30;
  const auto later = maximum_margins(*network, options, Control());
  EXPECT(later.margins.gt(first.margins).all().item<bool>());
  options.tolerance = 1;
  const auto early = maximum_margins(*network, options, Control());
  EXPECT(early.steps.lt(30).all().item<bool>());
  EXPECT_SAME(maximum_margins(*network, options, Control()).margins, early.margins);
  options.seed = 6;
  EXPECT(!at::equal(maximum_margins(*network, options, Control()).margins, early.margins));
}

CASE("maximum margin", "is that of the bounded network") {
  const auto network = seasoned_network(kClasses);
  const auto free = maximum_margins(*network, small(), Control());
  network->bounds.max = constant_bounds(*network, 0.05);
  const auto bounded = maximum_margins(*network, small(), Control());
  EXPECT(bounded.margins.max().item<double>() < free.margins.max().item<double>());
}

CASE("maximum margin", "leaves the network as it was, stops on request, and refuses numbers that are none") {
  const auto network = seasoned_network(kClasses);
  const auto before = test::snapshot(*network);
  std::vector<int64_t> reported;
  Control control;
  control.on_progress = [&](int64_t done, int64_t) { reported.push_back(done); };
  maximum_margins(*network, small(), control);
  EXPECT(test::changed_since(*network, before).empty());
  EXPECT((reported == std::vector<int64_t>{1, 2, 3, 4}));
  Control stopped;
  stopped.cancelled = true;
  EXPECT_ERROR(maximum_margins(*network, small(), stopped), "ERR_ABORTED", "");
  at::NoGradGuard no_grad;
  entry(*network, "linear.bias")[1] = std::numeric_limits<float>::quiet_NaN();
  network->state_changed();
  EXPECT_ERROR(maximum_margins(*network, small(), Control()), "ERR_NUMERIC", "inspect");
}

}  // namespace padft
