#include "losses.h"

#include <limits>

namespace padft {
namespace {

at::Tensor without_given(const at::Tensor& logits, const at::Tensor& labels) {
  return logits.scatter(1, labels.unsqueeze(1), -std::numeric_limits<float>::infinity());
}

}  // namespace

at::Tensor symmetric_cross_entropy(const at::Tensor& logits, const at::Tensor& labels, double alpha, double log_zero) {
  const auto log_p = at::log_softmax(logits, 1).gather(1, labels.unsqueeze(1)).squeeze(1);
  return log_p.mul(-alpha).add((1 - log_p.exp()).mul(-(1 - alpha) * log_zero));
}

at::Tensor log_odds(const at::Tensor& logits, const at::Tensor& labels) {
  return logits.gather(1, labels.unsqueeze(1)).squeeze(1) - at::logsumexp(without_given(logits, labels), {1});
}

at::Tensor best_other_label(const at::Tensor& logits, const at::Tensor& labels) {
  return without_given(logits, labels).argmax(1);
}

at::Tensor consistency(const at::Tensor& logits, const at::Tensor& augmented_logits) {
  return (at::softmax(logits, 1) - at::softmax(augmented_logits, 1)).square().sum(1);
}

at::Tensor suspect_penalty(const at::Tensor& logits, const at::Tensor& labels, double margin) {
  return at::softplus(log_odds(logits, labels) + margin);
}

at::Tensor attention_distance(const at::Tensor& map, const at::Tensor& other) {
  const auto attention = [](const at::Tensor& values) {
    const auto energy = values.to(at::kFloat).square().sum(1).flatten(1);
    // A silent map has no direction; the smallest length keeps its gradient finite.
    return energy / energy.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12);
  };
  return (attention(map) - attention(other)).square().mean(1);
}

}  // namespace padft
