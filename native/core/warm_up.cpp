#include "warm_up.h"

#include <chrono>
#include <cmath>

#include <torch/csrc/autograd/autograd.h>

#include "evaluate.h"
#include "first_weights.h"
#include "losses.h"
#include "optimisers.h"
#include "scope.h"
#include "training_scope.h"

namespace padft {

WarmUpResult warm_up_classifier(Network& network, const Dataset& data, const WarmUpOptions& options,
                                const Control& control) {
  const auto begin_time = std::chrono::steady_clock::now();
  EvalOptions evaluation;
  evaluation.precision = options.precision;
  evaluation.batch_size = options.feature_batch_size;
  const auto device = network.device();
  const auto features = evaluate_features(network, data, evaluation, control).to(device);
  PrecisionScope precision(options.precision);
  at::AutoGradMode with_gradients(true);
  Stream stream(options.seed);
  std::vector<at::Tensor> leaves, first, second;
  for (const auto& trained : {network.classifier_weight(), network.classifier_bias()}) {
    const auto value = first_weights(trained.sizes(), network.feature_count(), stream).to(device);
    first.push_back(at::zeros_like(value));
    second.push_back(at::zeros_like(value));
    leaves.push_back(value.detach().set_requires_grad(true));
  }
  // symmetric_cross_entropy weighs its terms a and 1 − a: α and 1 are 1 + α times α / (1 + α) and 1 / (1 + α).
  const double total = 1 + options.alpha, share = options.alpha / total;
  const int64_t rows = data.count();
  const auto sums = at::zeros({2}, at::TensorOptions().dtype(at::kDouble).device(device));  // loss, right rows
  int64_t step = 0;
  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    const auto order = index_tensor(stream.permutation(rows), device);
    sums.zero_();
    for (int64_t begin = 0; begin < rows; begin += options.batch_size) {
      control.check();
      const auto chosen = order.narrow(0, begin, std::min(options.batch_size, rows - begin));
      const auto labels = data.labels().index_select(0, chosen);
      const auto logits = at::addmm(leaves[1], features.index_select(0, chosen), leaves[0].t());
      const auto losses = symmetric_cross_entropy(logits, labels, share, options.log_zero) * total;
      const auto gradients = torch::autograd::grad({losses.mean()}, leaves);
      ++step;
      for (size_t i = 0; i < leaves.size(); ++i) {
        adam_step(leaves[i], first[i], second[i], gradients[i], step, options.learning_rate);
      }
      at::NoGradGuard no_grad;
      sums.add_(at::stack({losses.detach().sum().to(at::kDouble), logits.argmax(1).eq(labels).sum().to(at::kDouble)}));
    }
    control.report(epoch + 1, options.epochs);
  }
  const auto mean = (sums / static_cast<double>(rows)).cpu();
  require(std::isfinite(mean[0].item<double>()), "ERR_NUMERIC",
          "warm-up loss is NaN or infinite; lower warmUp.learningRate (it is ", options.learning_rate, ")");
  at::NoGradGuard no_grad;
  const ChangeNotice changed(network);
  network.classifier_weight().copy_(leaves[0].detach());
  network.classifier_bias().copy_(leaves[1].detach());
  return {mean[0].item<double>(), mean[1].item<double>(),
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_time).count()};
}

}  // namespace padft
