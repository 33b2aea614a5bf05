#include "core/losses.h"

#include <cmath>

#include <algorithm>
#include <cmath>

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

CASE("losses", "NT-Xent of four unit vectors, worked by hand") {
  // Pairs (e1, e1) and (e2, e2) at temperature 1: each finds its partner at 1 among 1, 0 and 0.
  const auto e = at::eye(2);
  EXPECT_NEAR(nt_xent(e, e, 1).item<double>(), std::log(std::exp(1.0) + 2) - 1, 1e-6);
  EXPECT_NEAR(nt_xent(3 * e, 0.5 * e, 1).item<double>(), std::log(std::exp(1.0) + 2) - 1, 1e-6);  // lengths do not count
  EXPECT_NEAR(nt_xent(e, e, 0.5).item<double>(), std::log(std::exp(2.0) + 2) - 2, 1e-6);
  // The wrong partners: each has one at 0 beside one at 1 and one at 0.
  EXPECT_NEAR(nt_xent(e, e.flip({0}), 1).item<double>(), std::log(std::exp(1.0) + 2), 1e-6);
  // All alike: one of 2N − 1 by chance.
  EXPECT_NEAR(nt_xent(at::ones({5, 3}), at::ones({5, 3}), 0.1).item<double>(), std::log(9.0), 1e-5);
}

CASE("losses", "NT-Xent equals the sum over pairs, and its gradient the difference quotient") {
  const auto first = test::random_tensor({6, 4}, 5).to(at::kDouble), second = test::random_tensor({6, 4}, 6).to(at::kDouble);
  const auto spelled = [](const at::Tensor& a, const at::Tensor& b, double temperature) {
    const auto all = at::cat({a, b});
    const auto cosine = [&](int64_t i, int64_t j) {
      return (all[i].dot(all[j]) / (all[i].norm() * all[j].norm())).item<double>();
    };
    double total = 0;
    for (int64_t i = 0; i < 12; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < 12; ++j) sum += j == i ? 0 : std::exp(cosine(i, j) / temperature);
      total -= cosine(i, (i + 6) % 12) / temperature - std::log(sum);
    }
    return total / 12;
  };
  for (const double temperature : {0.1, 0.5, 2.0}) {
    auto leaf = first.clone().set_requires_grad(true);
    const auto loss = nt_xent(leaf, second, temperature);
    EXPECT_NEAR(loss.item<double>(), spelled(first, second, temperature), 1e-9);
    loss.backward();
    auto moved = first.clone();
    moved[2][1] += 1e-5;
    const double quotient = (spelled(moved, second, temperature) - spelled(first, second, temperature)) / 1e-5;
    EXPECT_NEAR(leaf.grad()[2][1].item<double>(), quotient, 1e-3);
  }
}

CASE("losses", "the losses of MixMatch are those of its targets") {
  const Sample s;
  const auto targets = at::softmax(test::random_tensor({40, 5}, 23, -3, 3), 1);
  const auto soft = soft_cross_entropy(s.logits, targets), squared = squared_error(s.logits, targets);
  for (int64_t row = 0; row < 40; ++row) {
    double cross = 0, error = 0;
    for (int64_t k = 0; k < 5; ++k) {
      const double q = targets[row][k].item<double>(), p = s.probability(row, k);
      cross -= q * std::log(p);
      error += (p - q) * (p - q) / 5;
    }
    EXPECT_NEAR(soft[row].item<double>(), cross, 2e-5);
    EXPECT_NEAR(squared[row].item<double>(), error, 1e-6);
  }
  const auto hard = at::one_hot(s.labels, 5).to(at::kFloat);
  EXPECT_CLOSE(soft_cross_entropy(s.logits, hard), symmetric_cross_entropy(s.logits, s.labels, 1, kLogZero), 1e-6);
}

CASE("losses", "sharpening squares at one half, changes nothing at one and stays a distribution") {
  const auto p = at::tensor({0.5f, 0.3f, 0.2f, 1.f, 0.f, 0.f}).view({2, 3});
  EXPECT_CLOSE(sharpen(p, 0.5)[0], at::tensor({25.f, 9.f, 4.f}).div(38), 1e-6);
  EXPECT_CLOSE(sharpen(p, 1), p, 1e-6);
  for (const double temperature : {0.01, 0.5, 1.0}) {
    EXPECT_CLOSE(sharpen(at::full({1, 1000}, 1e-3), temperature), at::full({1, 1000}, 1e-3), 1e-5);
    EXPECT_CLOSE(sharpen(p, temperature)[1], p[1], 1e-6);
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
