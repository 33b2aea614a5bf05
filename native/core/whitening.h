// Features brought to a form in which every direction spreads alike, so that what sets two groups apart is the
// difference of their means.
#pragma once

#include <ATen/ATen.h>

#include "evaluate.h"

namespace padft {

/// This share of the directions' mean variance is added to each: directions that hardly vary would be all noise.
constexpr double kWhiteningRidge = 0.1;

/// float32 [N, D] from [N, D]: (x − mean) · L⁻ᵀ, where L Lᵀ = covariance + kWhiteningRidge · mean variance · I. In
/// double inside. Of two groups with one covariance, the difference of their means here is Fisher's discriminant there:
/// with the covariance of all rows in place of that inside the groups its direction is the same (Sherman–Morrison).
/// Zeros for rows that are all alike. ERR_DATA for no row; ERR_NUMERIC for values that are not finite.
at::Tensor whiten(const at::Tensor& rows);

/// float32 [N, feature_count]: the features of all rows, whitened together.
at::Tensor evaluate_whitened_features(Network& network, const Dataset& data, const EvalOptions& options,
                                      const Control& control);

}  // namespace padft
