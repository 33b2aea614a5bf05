// What the stages know of an architecture: a backbone of convolutions with clip sites, and a linear classifier.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <string>
#include <vector>

#include "../core/activation.h"

namespace padft {

enum class Precision { fp32, tf32, bf16 };

struct NetworkOptions {
  int64_t classes = 10;
  int64_t width = 64;           ///< channels of the first stage
  int64_t input_channels = 3;
  std::vector<double> mean;     ///< of pixels in [0, 1], one per input channel
  std::vector<double> std;
  uint64_t seed = 0;            ///< of the initial weights
};

struct ClipSiteInfo {
  std::string name;
  int64_t channels;
};

/// A tensor of the state, by PyTorch's name. Weights are views of one flat buffer.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
  bool learns;  ///< false for running statistics and counters
};

/// Bounds of all sites side by side: [channels of all sites] or [N, channels]; undefined tensors do not bound.
struct BoundSet {
  at::Tensor max;
  at::Tensor mean;
  bool any() const { return max.defined() || mean.defined(); }
};

enum class Statistic { mean, max };

/// One evaluation-mode pass: what bounds it, and what it should note down on its way.
struct EvalPass {
  BoundSet bounds;
  Precision precision = Precision::fp32;
  bool collect = false;              ///< fill `collected` with one [N, C] statistic a site
  Statistic statistic = Statistic::mean;
  std::vector<at::Tensor> collected;
  std::vector<at::Tensor>* maps = nullptr;  ///< takes the map that each stage ends with, [N, C, H, W] in `precision`
};

class Network {
 public:
  virtual ~Network() = default;

  virtual const std::string& name() const = 0;
  virtual const std::vector<ClipSiteInfo>& sites() const = 0;
  virtual int64_t feature_count() const = 0;

  const NetworkOptions& options() const { return options_; }
  at::Device device() const { return weights_.device(); }
  int64_t site_channels() const;
  /// Learned parameters; `flat_weights()` is longer by its padding, which stays 0.
  int64_t parameter_count() const { return parameter_count_; }

  /// Every state entry, in PyTorch's order. The tensors are views: writing them writes the network.
  const std::vector<NamedTensor>& state() const { return state_; }
  /// Call after writing to the state: cached folded weights are made again.
  void state_changed() { ++version_; }

  /// Training-mode backbone: images in [0, 1] (channels-last) → features float32 [N, feature_count]; `maps`, when given,
  /// takes the map that each stage ends with. Only between begin_training() and end_training().
  virtual at::Tensor train_features(const at::Tensor& images, std::vector<at::Tensor>* maps = nullptr) = 0;
  /// Training-mode classifier: features → logits float32 [N, classes].
  virtual at::Tensor train_classify(const at::Tensor& features) const = 0;
  at::Tensor train_logits(const at::Tensor& images) { return train_classify(train_features(images)); }

  /// Evaluation-mode backbone: images in [0, 1] → features float32 [N, feature_count].
  virtual at::Tensor features(const at::Tensor& images, EvalPass& pass) = 0;
  /// The classifier: features → logits float32 [N, classes].
  virtual at::Tensor classify(const at::Tensor& features) const = 0;
  at::Tensor logits(const at::Tensor& images, EvalPass& pass) { return classify(features(images, pass)); }

  /// Makes the weights leaves of autograd, in `precision`: gradients gather in `gradients()`, one flat buffer in the
  /// order of `flat_weights()`. Balanced by end_training(); ERR_BUSY while another trainer has them.
  virtual void begin_training(Precision precision) = 0;
  virtual void end_training() = 0;
  /// Moves what backward left in low-precision gradients into `gradients()`.
  virtual void collect_gradients() = 0;
  virtual void zero_gradients() = 0;
  /// Copies the learned weights into the low-precision leaves; no-op in float32.
  virtual void refresh_leaves() = 0;

  at::Tensor& flat_weights() { return weights_; }
  at::Tensor& gradients() { return gradients_; }
  /// Running statistics of every batch norm, one flat buffer: a training-mode pass moves them.
  at::Tensor& flat_statistics() { return statistics_; }
  /// How many batches the running statistics have seen.
  virtual void count_batches(int64_t batches) = 0;

  virtual at::Tensor classifier_weight() const = 0;
  virtual at::Tensor classifier_bias() const = 0;

  virtual std::unique_ptr<Network> clone(at::Device device) const = 0;

  /// The bounds that belong to this network: part of what it computes, saved with it.
  BoundSet bounds;

 protected:
  NetworkOptions options_;
  at::Tensor weights_;    // float32, all learned parameters, each tensor at an aligned offset
  at::Tensor gradients_;  // the same layout, while training
  at::Tensor statistics_;
  std::vector<NamedTensor> state_;
  int64_t parameter_count_ = 0;
  uint64_t version_ = 0;
};

struct Architecture {
  const char* name;
  const char* paper;
  std::unique_ptr<Network> (*make)(const NetworkOptions&, at::Device);
};

/// Every architecture this build knows; a new one is one file and one line here.
const std::vector<Architecture>& architectures();

/// Throws ERR_OPTION when the name is not in the table or the options do not fit.
std::unique_ptr<Network> make_network(const std::string& name, const NetworkOptions& options, at::Device device);

}  // namespace padft
