#include "maximum_margin.h"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "random.h"
#include "scope.h"

namespace padft {
namespace {

// Drawn on the host: a CUDA run starts from the same images as a CPU run.
at::Tensor random_images(const MarginOptions& options, int64_t channels, Stream& stream) {
  auto images = at::empty({options.images, channels, options.height, options.width});
  auto* pixel = images.data_ptr<float>();
  for (int64_t i = 0; i < images.numel(); ++i) pixel[i] = static_cast<float>(stream.uniform());
  return images;
}

/// float32 [N]: the logit of `target` above the best other one.
at::Tensor margin_of(const at::Tensor& logits, int64_t target) {
  auto others = at::cat({logits.narrow(1, 0, target), logits.narrow(1, target + 1, logits.size(1) - target - 1)}, 1);
  return logits.select(1, target) - std::get<0>(others.max(1));
}

}  // namespace

MaximumMargins maximum_margins(Network& network, const MarginOptions& options, const Control& control) {
  require(options.images >= 1 && options.steps >= 1, "ERR_OPTION", "inspect: expected at least one image and one step, got ",
          options.images, " and ", options.steps);
  PrecisionScope precision(options.precision);
  at::AutoGradMode with_gradients(true);
  const int64_t classes = network.options().classes;
  MaximumMargins result{at::zeros({classes}, at::kDouble), at::zeros({classes}, at::kLong)};
  Stream stream(options.seed);
  for (int64_t target = 0; target < classes; ++target) {
    auto images = random_images(options, network.options().input_channels, stream)
                      .to(network.device())
                      .contiguous(at::MemoryFormat::ChannelsLast)
                      .set_requires_grad(true);
    double last = 0, reached = 0;
    int64_t step = 0;
    while (step < options.steps) {
      control.check();
      EvalPass pass;
      pass.precision = options.precision;
      pass.bounds = network.bounds;
      const auto margins = margin_of(network.logits(images.clamp(0, 1), pass), target);
      const auto total = margins.sum();
      const auto figures = at::stack({total.detach(), margins.detach().max()}).to(at::kDouble).cpu();
      const double now = figures[0].item<double>();
      reached = figures[1].item<double>();
      require(std::isfinite(now), "ERR_NUMERIC", "inspect: the margin of class ", target, " is NaN or infinite at step ",
              step + 1, "; the model holds values that are no numbers, or inspect.learningRate (", options.learning_rate,
              ") is too large");
      ++step;
      const bool settled = step > 1 && std::abs(now - last) <= options.tolerance * std::abs(last);
      if (settled || step == options.steps) break;
      last = now;
      const auto gradient = torch::autograd::grad({total}, {images})[0];
      at::NoGradGuard no_grad;
      images.add_(gradient, options.learning_rate);
    }
    result.margins[target] = reached;
    result.steps[target] = step;
    control.report(target + 1, classes);
  }
  return result;
}

}  // namespace padft
