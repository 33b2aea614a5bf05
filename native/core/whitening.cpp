#include "whitening.h"

#include <cmath>
#include <vector>

#include "error.h"

namespace padft {

namespace {

// The inverse of the lower Cholesky factor of a positive definite matrix, row-major [size, size]. Written out, since a
// libtorch may come without LAPACK; sizes are a few hundred.
std::vector<double> inverse_factor(std::vector<double> matrix, int64_t size) {
  const auto at = [size](std::vector<double>& values, int64_t i, int64_t j) -> double& {
    return values[static_cast<size_t>(i * size + j)];
  };
  for (int64_t j = 0; j < size; ++j) {
    for (int64_t i = j; i < size; ++i) {
      double sum = at(matrix, i, j);
      for (int64_t k = 0; k < j; ++k) sum -= at(matrix, i, k) * at(matrix, j, k);
      at(matrix, i, j) = i == j ? std::sqrt(sum) : sum / at(matrix, j, j);
    }
  }
  std::vector<double> inverse(matrix.size(), 0.0);
  for (int64_t i = 0; i < size; ++i) {
    // Row i of the inverse from the rows above it: rows lie together in memory, columns do not.
    for (int64_t k = 0; k < i; ++k) {
      const double factor = at(matrix, i, k);
      for (int64_t j = 0; j <= k; ++j) at(inverse, i, j) -= factor * at(inverse, k, j);
    }
    const double own = at(matrix, i, i);
    for (int64_t j = 0; j < i; ++j) at(inverse, i, j) /= own;
    at(inverse, i, i) = 1 / own;
  }
  return inverse;
}

}  // namespace

at::Tensor whiten(const at::Tensor& rows) {
  at::NoGradGuard no_grad;
  require(rows.dim() == 2 && rows.size(0) > 0, "ERR_DATA", "whitening: expected at least one row, got ", rows.sizes());
  const int64_t count = rows.size(0), size = rows.size(1);
  const auto exact = rows.to(at::kDouble);
  require(at::isfinite(exact).all().item<bool>(), "ERR_NUMERIC", "whitening: expected finite values");
  const auto centred = exact - exact.mean(0, true);
  auto covariance = (centred.t().mm(centred) / static_cast<double>(count)).cpu().contiguous();
  const double variance = covariance.trace().item<double>() / static_cast<double>(size);
  if (!(variance > 0)) return at::zeros_like(rows, rows.options().dtype(at::kFloat));
  covariance.diagonal().add_(kWhiteningRidge * variance);
  const auto* values = covariance.data_ptr<double>();
  auto inverse = inverse_factor({values, values + size * size}, size);
  const auto factor = at::from_blob(inverse.data(), {size, size}, at::kDouble).to(centred.device());
  return centred.mm(factor.t()).to(at::kFloat);
}

at::Tensor evaluate_whitened_features(Network& network, const Dataset& data, const EvalOptions& options,
                                      const Control& control) {
  return whiten(evaluate_features(network, data, options, control));
}

}  // namespace padft
