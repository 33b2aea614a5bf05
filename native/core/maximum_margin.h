// MM-BD's statistic: how far one class can be driven above all others by an image of any kind. H. Wang, Z. Xiang,
// D. J. Miller, G. Kesidis, "MM-BD: Post-Training Detection of Backdoor Attacks with Arbitrary Backdoor Pattern Types
// Using a Maximum Margin Statistic", IEEE S&P 2024. Reads the network alone: no image of anybody's.
#pragma once

#include "../models/network.h"
#include "control.h"

namespace padft {

struct MarginOptions {
  int64_t images = 30;          ///< random starts of each class
  int64_t height = 32, width = 32;
  int64_t steps = 300;          ///< of gradient ascent, at most
  double learning_rate = 0.01;  ///< of plain gradient ascent on pixels in [0, 1]
  double tolerance = 1e-5;      ///< stops when the summed margin changes by less than this share
  uint64_t seed = 0;            ///< of the random starts
  Precision precision = Precision::fp32;
};

struct MaximumMargins {
  at::Tensor margins;  ///< float64 [classes], on the host
  at::Tensor steps;    ///< int64 [classes]: steps until it stopped
};

/// For each class t the largest g_t(x) − max_{k≠t} g_k(x) (in logits) over `images` images at the last step of gradient
/// ascent on their sum, from U(0, 1), clamped to [0, 1] before the network sees them; under the network's own bounds: what
/// a smaller rate would have passed on the way is not kept, as published. ERR_NUMERIC when a
/// logit is not finite. Progress in classes.
MaximumMargins maximum_margins(Network& network, const MarginOptions& options, const Control& control);

}  // namespace padft
