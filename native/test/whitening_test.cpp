#include "core/whitening.h"

#include <limits>

#include "check.h"
#include "support.h"

namespace padft {
namespace {

using test::made_dataset;
using test::seasoned_network;

/// Correlated rows of very different spread, and a mean far from 0.
at::Tensor made_rows(int64_t count, int64_t size) {
  at::manual_seed(11);
  const auto mixing = at::randn({size, size}, at::kDouble) * at::logspace(-2, 1, size, 10.0, at::kDouble);
  return (at::randn({count, size}, at::kDouble).mm(mixing) + 5).to(at::kFloat);
}

/// Of a positive definite matrix, by Gauss and Jordan: at::inverse asks for LAPACK, which a libtorch may lack.
at::Tensor inverse_of(const at::Tensor& matrix) {
  const int64_t size = matrix.size(0);
  auto rows = at::cat({matrix, at::eye(size, matrix.options())}, 1);
  for (int64_t i = 0; i < size; ++i) {
    rows[i].div_(rows[i][i].clone());
    auto factors = rows.select(1, i).clone();
    factors[i] = 0;
    rows.sub_(at::outer(factors, rows[i].clone()));
  }
  return rows.narrow(1, size, size);
}

}  // namespace

CASE("whitening", "rows are centred, and their covariance with the ridge becomes the identity") {
  const auto rows = made_rows(400, 24);
  const auto white = whiten(rows).to(at::kDouble);
  EXPECT_CLOSE(white.mean(0), at::zeros({24}, at::kDouble), 1e-5);
  // white = centred · A, so A = centred⁺ · white, and Aᵀ (covariance + ridge) A = 1.
  const auto exact = rows.to(at::kDouble);
  const auto centred = exact - exact.mean(0, true);
  const auto covariance = centred.t().mm(centred) / 400;
  const auto ridge = at::eye(24, at::kDouble) * (0.1 * covariance.trace() / 24);
  const auto map = inverse_of(covariance).mm(centred.t().mm(white)) / 400;
  EXPECT_CLOSE(map.t().mm(covariance + ridge).mm(map), at::eye(24, at::kDouble), 1e-3);
}

CASE("whitening", "the difference of two groups' means is Fisher's discriminant of the rows as they were") {
  auto rows = made_rows(300, 12);
  rows.narrow(0, 200, 100).add_(at::linspace(-0.05, 0.2, 12, at::kFloat));
  const auto groups = [](const at::Tensor& values) {
    return std::make_pair(values.narrow(0, 0, 200).to(at::kDouble), values.narrow(0, 200, 100).to(at::kDouble));
  };
  const auto [white_a, white_b] = groups(whiten(rows));
  const auto scores = whiten(rows).to(at::kDouble).mv(white_b.mean(0) - white_a.mean(0));
  // Sw + ridge, the scatter inside the groups.
  const auto [a, b] = groups(rows);
  const auto da = a - a.mean(0, true), db = b - b.mean(0, true);
  const auto all = rows.to(at::kDouble) - rows.to(at::kDouble).mean(0, true);
  const auto variance = (all * all).mean(0).sum() / 12;
  const auto within = (da.t().mm(da) + db.t().mm(db)) / 300 + at::eye(12, at::kDouble) * (0.1 * variance);
  const auto direction = inverse_of(within).mv(b.mean(0) - a.mean(0));
  const auto expected = all.mv(direction);
  const auto scale = scores.dot(expected) / expected.dot(expected);
  EXPECT(scale.item<double>() > 0);
  EXPECT_CLOSE(scores, expected * scale, 1e-4);
}

CASE("whitening", "rows that are all alike are zeros; no row and values that are not finite are errors") {
  EXPECT(at::equal(whiten(at::full({5, 3}, 2.0f)), at::zeros({5, 3})));
  EXPECT_ERROR(whiten(at::zeros({0, 3})), "ERR_DATA", "at least one row");
  auto rows = made_rows(6, 3);
  rows[2][1] = std::numeric_limits<float>::infinity();
  EXPECT_ERROR(whiten(rows), "ERR_NUMERIC", "finite");
}

CASE("whitening", "a network's features are whitened together, whatever the batches") {
  const auto data = made_dataset(23, 4, 31);
  const auto network = seasoned_network(4);
  EvalOptions options;
  options.batch_size = 5;
  const auto expected = whiten(evaluate_features(*network, data, {}, {}));
  EXPECT_CLOSE(evaluate_whitened_features(*network, data, options, {}), expected, 1e-3);
}

}  // namespace padft
