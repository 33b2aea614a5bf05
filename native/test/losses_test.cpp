#include "core/losses.h"

#include <cmath>

#include <algorithm>

#include "check.h"
#include "support.h"

namespace padft {
namespace {

constexpr double kLogZero = -9.210340371976182;

struct Sample {
  at::Tensor logits = test::random_tensor({40, 5}, 21, -6, 6);
  at::Tensor labels = at::arange(40, at::kLong).remainder(5);
  int64_t label(int64_t row) const { return row % 5; }
  double logit(int64_t row, int64_t k) const { return logits[row][k].item<double>(); }
  /// log Σ exp over the classes but `skip` (−1: all).
  double log_sum(int64_t row, int64_t skip = -1) const {
    double sum = 0;
    for (int64_t k = 0; k < 5; ++k) sum += k == skip ? 0 : std::exp(logit(row, k));
    return std::log(sum);
  }
  double probability(int64_t row, int64_t k) const { return std::exp(logit(row, k) - log_sum(row)); }
};

}  // namespace

CASE("losses", "symmetric cross-entropy equals the sum over all classes") {
  const Sample s;
  for (const double alpha : {0.1, 0.5, 1.0}) {
    const auto sce = symmetric_cross_entropy(s.logits, s.labels, alpha, kLogZero);
    for (int64_t row = 0; row < 40; ++row) {
      const double ce = s.log_sum(row) - s.logit(row, s.label(row));
      double reverse = 0;  // −Σ p_k · log q_k with log q = 0 at the label and log_zero elsewhere
      for (int64_t k = 0; k < 5; ++k) reverse -= s.probability(row, k) * (k == s.label(row) ? 0 : kLogZero);
      EXPECT_NEAR(sce[row].item<double>(), alpha * ce + (1 - alpha) * reverse, 2e-5);
    }
  }
}

CASE("losses", "log-odds compare the label with all others") {
  const Sample s;
  const auto odds = log_odds(s.logits, s.labels);
  for (int64_t row = 0; row < 40; ++row) {
    EXPECT_NEAR(odds[row].item<double>(), s.logit(row, s.label(row)) - s.log_sum(row, s.label(row)), 2e-5);
    const double p = s.probability(row, s.label(row));
    EXPECT_NEAR(odds[row].item<double>(), std::log(p / (1 - p)), 1e-4);
  }
}

CASE("losses", "sorting by SCE and by falling log-odds is the same order") {
  const Sample s;
  const auto sce = symmetric_cross_entropy(s.logits, s.labels, 0.1, kLogZero);
  const auto odds = log_odds(s.logits, s.labels);
  EXPECT_SAME(std::get<1>(sce.sort(0, /*descending=*/false)), std::get<1>(odds.sort(0, /*descending=*/true)));
}

CASE("losses", "log-odds tell apart what SCE no longer can") {
  const auto logits = at::tensor({60.f, 0.f, 80.f, 0.f}).view({2, 2});
  const auto labels = at::zeros({2}, at::kLong);
  const auto sce = symmetric_cross_entropy(logits, labels, 0.1, kLogZero);
  EXPECT_EQUAL(sce[0].item<float>(), sce[1].item<float>());
  EXPECT_SAME(log_odds(logits, labels), at::tensor({60.f, 80.f}));
}

CASE("losses", "the best other label is the best after the given one is struck out") {
  const auto logits = at::tensor({5.f, 1.f, 2.f, 0.f, 9.f, 3.f, -1.f, -2.f, -3.f}).view({3, 3});
  EXPECT_SAME(best_other_label(logits, at::tensor({0, 0, 0}, at::kLong)), at::tensor({2, 1, 1}, at::kLong));
  EXPECT_SAME(best_other_label(logits, at::tensor({2, 1, 1}, at::kLong)), at::tensor({0, 2, 0}, at::kLong));
}

CASE("losses", "consistency is the squared distance of the probabilities") {
  const Sample s;
  const auto other = test::random_tensor({40, 5}, 22, -6, 6);
  Sample t;
  t.logits = other;
  const auto distance = consistency(s.logits, other);
  for (int64_t row = 0; row < 40; ++row) {
    double expected = 0;
    for (int64_t k = 0; k < 5; ++k) expected += std::pow(s.probability(row, k) - t.probability(row, k), 2);
    EXPECT_NEAR(distance[row].item<double>(), expected, 1e-5);
  }
  EXPECT_EQUAL(consistency(other, other).abs().max().item<float>(), 0.f);
}

CASE("losses", "the suspects' penalty is a softplus of the log-odds above −margin") {
  const Sample s;
  const auto penalty = suspect_penalty(s.logits, s.labels, 2);
  for (int64_t row = 0; row < 40; ++row) {
    const double odds = s.logit(row, s.label(row)) - s.log_sum(row, s.label(row));
    EXPECT_NEAR(penalty[row].item<double>(), std::log1p(std::exp(odds + 2)), 1e-4);
  }
}

CASE("losses", "every loss has a finite gradient, also where the network is certain") {
  for (const double scale : {1.0, 50.0}) {
    auto logits = test::random_tensor({20, 4}, 3, -scale, scale).set_requires_grad(true);
    const auto labels = at::arange(20, at::kLong).remainder(4);
    (symmetric_cross_entropy(logits, labels, 0.1, kLogZero) + suspect_penalty(logits, labels, 2) +
     consistency(logits, logits.detach().flip({1}))).sum().backward();
    EXPECT(at::isfinite(logits.grad()).all().item<bool>());
    EXPECT(logits.grad().abs().sum().item<double>() > 0);
  }
}

CASE("losses", "attention distance: channels summed as squares, each map scaled to length 1") {
  // Attention (1, 4) / √17 against (9, 0) / 9 = (1, 0); two channels 3 and 4 at one pixel make 25.
  const auto map = at::tensor({1.f, 2.f}).view({1, 1, 1, 2});
  const auto other = at::tensor({3.f, 0.f}).view({1, 1, 1, 2});
  const double first = 1 / std::sqrt(17.0) - 1, second = 4 / std::sqrt(17.0);
  EXPECT_NEAR(attention_distance(map, other).item<double>(), (first * first + second * second) / 2, 1e-6);
  const auto channels = at::tensor({3.f, 0.f, 4.f, 0.f}).view({1, 2, 1, 2});
  EXPECT_NEAR(attention_distance(channels, other).item<double>(), 0, 1e-6);
  EXPECT_NEAR(attention_distance(-2 * map, map).item<double>(), 0, 1e-6);
  // A silent map is no number divided by nothing, nor is its gradient.
  auto silent = at::zeros({1, 1, 1, 2});
  silent.set_requires_grad(true);
  const auto distance = attention_distance(silent, map);
  EXPECT_NEAR(distance.item<double>(), 0.5, 1e-6);
  distance.sum().backward();
  EXPECT(at::isfinite(silent.grad()).all().item<bool>());
}

}  // namespace padft
