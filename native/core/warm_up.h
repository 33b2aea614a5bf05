// A new classifier on a backbone that is done: what tells, before any label is trusted, which labels fit the features.
#pragma once

#include "../models/network.h"
#include "control.h"
#include "dataset.h"

namespace padft {

struct WarmUpOptions {
  int64_t epochs = 10;
  int64_t batch_size = 128;
  double learning_rate = 0.002;
  double alpha = 0.1;                    ///< weight of the cross-entropy, beside the whole reverse cross-entropy
  double log_zero = -9.210340371976182;  ///< ln 1e-4
  uint64_t seed = 0;                     ///< of the classifier's first weights and of the order
  Precision precision = Precision::fp32;
  int64_t feature_batch_size = 256;
};

struct WarmUpResult {
  double loss = 0, accuracy = 0;  ///< means over the rows of the last epoch; accuracy is by the given labels
  double seconds = 0;
};

/// Draws the network's classifier anew and trains it alone, by Adam on α·CE + RCE (Wang et al., ICCV 2019). The backbone is
/// frozen, so its features are computed once: in evaluation mode and of the images as they are, which leaves out the crops
/// and mirrors of a pass an epoch. ERR_NUMERIC when the loss is no number.
WarmUpResult warm_up_classifier(Network& network, const Dataset& data, const WarmUpOptions& options,
                                const Control& control);

}  // namespace padft
