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

at::Tensor nt_xent(const at::Tensor& first, const at::Tensor& second, double temperature) {
  const int64_t count = first.size(0);
  const auto all = at::cat({first, second});
  const auto unit = all / all.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-12);
  const auto self = at::eye(2 * count, all.options().requires_grad(false)).to(at::kBool);
  const auto similarity = unit.matmul(unit.t()).div(temperature)
                              .masked_fill(self, -std::numeric_limits<float>::infinity());
  const auto partner = at::arange(2 * count, self.options().dtype(at::kLong)).add(count).remainder(2 * count);
  return at::cross_entropy_loss(similarity, partner);
}

at::Tensor soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  return at::log_softmax(logits, 1).mul(targets).sum(1).neg();
}

at::Tensor squared_error(const at::Tensor& logits, const at::Tensor& targets) {
  return (at::softmax(logits, 1) - targets).square().mean(1);
}

at::Tensor sharpen(const at::Tensor& probabilities, double temperature) {
  return at::softmax(probabilities.log().div(temperature), 1);  // powers themselves could all be 0
}

}  // namespace padft
