// PreAct-ResNet-18: K. He, X. Zhang, S. Ren, J. Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016,
// in the 32×32 form that the backdoor literature uses: a bare 3×3 stem; four stages of two pre-activation blocks,
// widths w, 2w, 4w, 8w, strides 1, 2, 2, 2; a 1×1 shortcut without batch norm, taken after the first ReLU, only where
// the shape changes; no final batch norm or ReLU; average pool; linear. 11,171,146 parameters at w = 64, 10 classes.
#include "preact_resnet.h"

#include <cmath>

#include "../core/convolution.h"
#include "../core/error.h"
#include "../core/first_weights.h"
#include "../core/random.h"

namespace padft {
namespace {

using at::Tensor;

constexpr double kEpsilon = 1e-5;

// Views of the flat buffer start at multiples of this many elements: CUDA's vector loads need 16-byte addresses, in
// bfloat16 too.
constexpr int64_t kAlignment = 16;
int64_t aligned(int64_t count) { return (count + kAlignment - 1) / kAlignment * kAlignment; }

struct BatchNorm {
  Tensor weight, bias, mean, var;
};

struct Block {
  std::string name;  // e.g. "layer2.0"
  int64_t in = 0, out = 0, stride = 1;
  bool has_shortcut() const { return stride != 1 || in != out; }
};

// Convolution weights of one precision; `conv2` of a block follows its second site.
struct Weights {
  Tensor stem;
  std::vector<Tensor> conv1, conv2, shortcut;  // shortcut undefined where the shape is kept
  Tensor linear_weight, linear_bias;
};

// Evaluation-mode constants: bn1 as scale and shift, bn2 folded into conv1 (exact, under clipping too: the site comes
// after bn2).
struct Folded {
  uint64_t version = UINT64_MAX;
  Precision precision = Precision::fp32;
  bool finite = true;  // on the CPU; elsewhere it is not looked at
  Tensor stem;
  std::vector<Tensor> scale, shift, conv1, bias1, conv2, shortcut;
};

std::vector<Block> stages(int64_t width) {
  std::vector<Block> blocks;
  int64_t in = width;
  for (int stage = 0; stage < 4; ++stage) {
    const int64_t out = width << stage;
    for (int index = 0; index < 2; ++index) {
      blocks.push_back({concat("layer", stage + 1, ".", index), in, out, stage > 0 && index == 0 ? 2 : 1});
      in = out;
    }
  }
  return blocks;
}

class PreActResNet18 final : public Network {
 public:
  PreActResNet18(const NetworkOptions& options, at::Device device) : blocks_(stages(options.width)) {
    options_ = options;
    require(options.classes >= 2 && options.width >= 1, "ERR_OPTION",
            "model: expected at least 2 classes and width 1, got ", options.classes, " and ", options.width);
    for (const auto& block : blocks_) {
      sites_.push_back({block.name + ".relu1", block.in});
      sites_.push_back({block.name + ".relu2", block.out});
    }
    allocate(device);
    initialise(options.seed);
  }

  const std::string& name() const override {
    static const std::string kName = "preact-resnet18";
    return kName;
  }
  const std::vector<ClipSiteInfo>& sites() const override { return sites_; }
  int64_t feature_count() const override { return blocks_.back().out; }
  Tensor classifier_weight() const override { return master_.linear_weight; }
  Tensor classifier_bias() const override { return master_.linear_bias; }
  void count_batches(int64_t batches) override {
    counters_.add_(batches);
    state_changed();
  }

  std::unique_ptr<Network> clone(at::Device device) const override {
    auto copy = std::make_unique<PreActResNet18>(options_, device);
    copy->weights_.copy_(weights_);
    copy->statistics_.copy_(statistics_);
    copy->counters_.copy_(counters_);
    copy->state_changed();
    if (bounds.max.defined()) copy->bounds.max = bounds.max.to(device, /*non_blocking=*/false, /*copy=*/true);
    if (bounds.mean.defined()) copy->bounds.mean = bounds.mean.to(device, /*non_blocking=*/false, /*copy=*/true);
    return copy;
  }

  void begin_training(Precision precision) override {
    require(!leaves_.stem.defined(), "ERR_BUSY", "the model is being trained by another trainer; dispose of that one first");
    gradients_ = at::zeros_like(weights_);
    const bool low = precision == Precision::bf16;
    low_weights_ = low ? weights_.narrow(0, 0, convolution_numel_).to(at::kBFloat16) : Tensor();
    low_gradients_ = low ? at::zeros_like(low_weights_) : Tensor();
    leaves_ = low ? convolutions(low_weights_) : convolutions(weights_);
    const auto grads = low ? convolutions(low_gradients_) : convolutions(gradients_);
    const auto leaf = [](Tensor& weight, const Tensor& gradient) {
      if (!weight.defined()) return;
      weight = weight.detach();
      weight.set_requires_grad(true);
      weight.mutable_grad() = gradient;
    };
    leaf(leaves_.stem, grads.stem);
    for (size_t b = 0; b < blocks_.size(); ++b) {
      leaf(leaves_.conv1[b], grads.conv1[b]);
      leaf(leaves_.conv2[b], grads.conv2[b]);
      leaf(leaves_.shortcut[b], grads.shortcut[b]);
    }
    // The classifier and the batch norms stay in float32.
    classifier(weights_, leaves_);
    Weights linear_gradient;
    classifier(gradients_, linear_gradient);
    leaf(leaves_.linear_weight, linear_gradient.linear_weight);
    leaf(leaves_.linear_bias, linear_gradient.linear_bias);
    norm_leaves_ = norms(weights_);
    auto norm_gradients = norms(gradients_);
    for (size_t i = 0; i < norm_leaves_.size(); ++i) {
      leaf(norm_leaves_[i].weight, norm_gradients[i].weight);
      leaf(norm_leaves_[i].bias, norm_gradients[i].bias);
    }
  }

  void end_training() override {
    leaves_ = {};
    norm_leaves_.clear();
    gradients_ = low_weights_ = low_gradients_ = Tensor();
    state_changed();
  }

  void collect_gradients() override {
    if (low_gradients_.defined()) gradients_.narrow(0, 0, convolution_numel_).copy_(low_gradients_);
  }

  void refresh_leaves() override {
    if (low_weights_.defined()) low_weights_.copy_(weights_.narrow(0, 0, convolution_numel_));
  }

  void zero_gradients() override {
    gradients_.zero_();
    if (low_gradients_.defined()) low_gradients_.zero_();
  }

  Tensor train_features(const Tensor& images, std::vector<Tensor>* maps) override {
    auto x = conv(normalise(images, input_mean_, input_std_, leaves_.stem.scalar_type()), leaves_.stem, 1);
    for (size_t b = 0; b < blocks_.size(); ++b) {
      auto& first = norm_leaves_[2 * b];
      auto& second = norm_leaves_[2 * b + 1];
      const auto a = batch_norm_relu(x, first.weight, first.bias, first.mean, first.var);
      const auto shortcut = blocks_[b].has_shortcut() ? conv(a, leaves_.shortcut[b], blocks_[b].stride) : x;
      const auto h = conv(a, leaves_.conv1[b], blocks_[b].stride);
      x = conv(batch_norm_relu(h, second.weight, second.bias, second.mean, second.var), leaves_.conv2[b], 1);
      x = x.add_(shortcut);
      if (maps && ends_stage(b)) maps->push_back(x);
    }
    return x.mean({2, 3}).to(at::kFloat);
  }

  Tensor train_classify(const Tensor& features) const override {
    return at::addmm(leaves_.linear_bias, features, leaves_.linear_weight.t());
  }

  Tensor features(const Tensor& images, EvalPass& pass) override {
    const Folded& folded = fold(pass.precision);
    int64_t offset = 0;
    size_t site = 0;
    const auto clip = [&](const Tensor& x, const Tensor& scale, const Tensor& shift, bool in_place) {
      const int64_t channels = sites_[site++].channels;
      SiteBounds bounds;
      const auto slice = [&](const Tensor& all) {
        return all.defined() ? all.narrow(all.dim() - 1, offset, channels) : Tensor();
      };
      bounds.max = slice(pass.bounds.max);
      bounds.mean = slice(pass.bounds.mean);
      offset += channels;
      Tensor mean;
      const bool want_mean = pass.collect && pass.statistic == Statistic::mean;
      auto y = clip_site(x, scale, shift, bounds, want_mean ? &mean : nullptr, in_place);
      if (want_mean) pass.collected.push_back(mean);
      if (pass.collect && pass.statistic == Statistic::max) pass.collected.push_back(y.amax({2, 3}).to(at::kFloat));
      return y;
    };
    // A site that only cuts at 0 is part of the convolution before it. oneDNN's ReLU makes 0 of a NaN, which would hide
    // damaged weights: those of the second sites are looked at, and what an infinite map makes also shows beside them.
    const bool plain = !pass.bounds.any() && !pass.collect && folded.finite;
    auto x = conv(normalise(images, input_mean_, input_std_, folded.stem.scalar_type()), folded.stem, 1);
    for (size_t b = 0; b < blocks_.size(); ++b) {
      const auto& block = blocks_[b];
      // x itself is still to be added where the shape is kept.
      const auto a = clip(x, folded.scale[b], folded.shift[b], /*in_place=*/block.has_shortcut());
      const auto shortcut = block.has_shortcut() ? conv(a, folded.shortcut[b], block.stride) : x;
      Tensor h;
      if (plain) {
        h = conv_relu(a, folded.conv1[b], folded.bias1[b], block.stride);
        offset += sites_[site++].channels;
      } else {
        h = clip(at::conv2d(a, folded.conv1[b], folded.bias1[b], block.stride, /*padding=*/1), Tensor(), Tensor(), true);
      }
      x = add_conv(shortcut, h, folded.conv2[b]);
      if (pass.maps && ends_stage(b)) pass.maps->push_back(x.clone());  // the next site writes into x
    }
    return x.to(at::kFloat).mean({2, 3});
  }

  Tensor classify(const Tensor& features) const override {
    return at::addmm(master_.linear_bias, features, master_.linear_weight.t());
  }

 private:
  bool ends_stage(size_t block) const { return block + 1 == blocks_.size() || blocks_[block + 1].stride != 1; }

  static Tensor conv(const Tensor& x, const Tensor& weight, int64_t stride, const Tensor& bias = {}) {
    const int64_t padding = weight.size(2) / 2;
    if (padding == 0 && x.device().is_cpu() && weight.size(1) % 8 != 0) return pointwise(x, weight, stride);
    return at::conv2d(x, weight, bias, stride, padding);
  }

  // A 1×1 convolution as a matrix product. oneDNN's AVX2 kernel for its weight gradient never returns for some channel
  // counts that are no multiple of 8 (seen with 4 and 5, libtorch 2.13).
  static Tensor pointwise(const Tensor& x, const Tensor& weight, int64_t stride) {
    const auto pixels = x.slice(2, 0, x.size(2), stride).slice(3, 0, x.size(3), stride).permute({0, 2, 3, 1});
    return at::matmul(pixels, weight.flatten(1).t()).permute({0, 3, 1, 2});
  }

  // The flat buffer: convolutions first (one slice to convert in low precision), then the classifier, then batch norms.
  void allocate(at::Device device) {
    convolution_numel_ = norm_numel_ = statistic_numel_ = parameter_count_ = 0;
    const auto convolution = [&](int64_t count) {
      convolution_numel_ += aligned(count);
      parameter_count_ += count;
    };
    convolution(options_.width * options_.input_channels * 9);
    for (const auto& block : blocks_) {
      convolution(block.out * block.in * 9);
      convolution(block.out * block.out * 9);
      if (block.has_shortcut()) convolution(block.out * block.in);
      for (const int64_t channels : {block.in, block.out}) {
        norm_numel_ += 2 * aligned(channels);
        statistic_numel_ += 2 * aligned(channels);
        parameter_count_ += 2 * channels;
      }
    }
    const int64_t linear = aligned(options_.classes * feature_count()) + aligned(options_.classes);
    parameter_count_ += options_.classes * feature_count() + options_.classes;
    const auto options = at::TensorOptions().device(device);
    weights_ = at::zeros({convolution_numel_ + linear + norm_numel_}, options);
    statistics_ = at::zeros({statistic_numel_}, options);
    counters_ = at::zeros({static_cast<int64_t>(blocks_.size() * 2)}, options.dtype(at::kLong));
    master_ = convolutions(weights_);
    classifier(weights_, master_);
    norms_ = norms(weights_);
    std::vector<float> mean(options_.mean.begin(), options_.mean.end()), std(options_.std.begin(), options_.std.end());
    input_mean_ = at::tensor(mean).to(device);
    input_std_ = at::tensor(std).to(device);
    name_state();
  }

  Weights convolutions(const Tensor& flat) const {
    int64_t offset = 0;
    const auto take = [&](int64_t out, int64_t in, int64_t kernel) {
      const int64_t count = out * in * kernel * kernel;
      // Stored as O×H×W×I, seen as O×I×H×W: channels-last, as the maps are.
      auto view = flat.narrow(0, offset, count).view({out, kernel, kernel, in}).permute({0, 3, 1, 2});
      offset += aligned(count);
      return view;
    };
    Weights weights;
    weights.stem = take(options_.width, options_.input_channels, 3);
    for (const auto& block : blocks_) {
      weights.conv1.push_back(take(block.out, block.in, 3));
      weights.conv2.push_back(take(block.out, block.out, 3));
      weights.shortcut.push_back(block.has_shortcut() ? take(block.out, block.in, 1) : Tensor());
    }
    return weights;
  }

  void classifier(const Tensor& flat, Weights& weights) const {
    const int64_t count = options_.classes * feature_count();
    weights.linear_weight = flat.narrow(0, convolution_numel_, count).view({options_.classes, feature_count()});
    weights.linear_bias = flat.narrow(0, convolution_numel_ + aligned(count), options_.classes);
  }

  std::vector<BatchNorm> norms(const Tensor& flat) const {
    int64_t offset = weights_.numel() - norm_numel_, statistic = 0;
    std::vector<BatchNorm> result;
    const auto take = [&](int64_t channels) {
      BatchNorm norm;
      norm.weight = flat.narrow(0, offset, channels);
      norm.bias = flat.narrow(0, offset + aligned(channels), channels);
      norm.mean = statistics_.narrow(0, statistic, channels);
      norm.var = statistics_.narrow(0, statistic + aligned(channels), channels);
      offset += 2 * aligned(channels);
      statistic += 2 * aligned(channels);
      result.push_back(norm);
    };
    for (const auto& block : blocks_) {
      take(block.in);
      take(block.out);
    }
    return result;
  }

  void name_state() {
    state_.clear();
    const auto norm = [&](const std::string& name, size_t index) {
      const auto& n = norms_[index];
      state_.push_back({name + ".weight", n.weight, true});
      state_.push_back({name + ".bias", n.bias, true});
      state_.push_back({name + ".running_mean", n.mean, false});
      state_.push_back({name + ".running_var", n.var, false});
      state_.push_back({name + ".num_batches_tracked", counters_[static_cast<int64_t>(index)], false});
    };
    state_.push_back({"conv1.weight", master_.stem, true});
    for (size_t b = 0; b < blocks_.size(); ++b) {
      const auto& name = blocks_[b].name;
      norm(name + ".bn1", 2 * b);
      state_.push_back({name + ".conv1.weight", master_.conv1[b], true});
      norm(name + ".bn2", 2 * b + 1);
      state_.push_back({name + ".conv2.weight", master_.conv2[b], true});
      if (blocks_[b].has_shortcut()) state_.push_back({name + ".shortcut.0.weight", master_.shortcut[b], true});
    }
    state_.push_back({"linear.weight", master_.linear_weight, true});
    state_.push_back({"linear.bias", master_.linear_bias, true});
  }

  // PyTorch's defaults; those of batch norms are 1 and 0.
  void initialise(uint64_t seed) {
    at::NoGradGuard no_grad;
    Stream stream(seed);
    const auto fill = [&](const Tensor& target, int64_t fan_in) {
      target.copy_(first_weights(target.sizes(), fan_in, stream));
    };
    for (const auto& entry : state_) {
      if (!entry.learns || entry.tensor.dim() != 4) continue;
      fill(entry.tensor, entry.tensor.size(1) * entry.tensor.size(2) * entry.tensor.size(3));
    }
    fill(master_.linear_weight, feature_count());
    fill(master_.linear_bias, feature_count());
    for (auto& norm : norms_) {
      norm.weight.fill_(1);
      norm.var.fill_(1);
    }
    state_changed();
  }

  const Folded& fold(Precision precision) {
    if (folded_.version == version_ && folded_.precision == precision) return folded_;
    at::NoGradGuard no_grad;
    Folded folded;
    folded.version = version_;
    folded.precision = precision;
    const auto type = precision == Precision::bf16 ? at::kBFloat16 : at::kFloat;
    const auto convert = [&](const Tensor& weight) {
      return weight.defined() ? weight.to(type).contiguous(at::MemoryFormat::ChannelsLast) : weight;
    };
    folded.stem = convert(master_.stem);
    for (size_t b = 0; b < blocks_.size(); ++b) {
      const auto &first = norms_[2 * b], &second = norms_[2 * b + 1];
      folded.scale.push_back(first.weight / (first.var + kEpsilon).sqrt());
      folded.shift.push_back(first.bias - first.mean * folded.scale.back());
      const auto scale = second.weight / (second.var + kEpsilon).sqrt();
      folded.conv1.push_back(convert(master_.conv1[b] * scale.view({-1, 1, 1, 1})));
      folded.bias1.push_back((second.bias - second.mean * scale).to(type));
      folded.conv2.push_back(convert(master_.conv2[b]));
      folded.shortcut.push_back(convert(master_.shortcut[b]));
    }
    if (weights_.device().is_cpu()) {
      for (const auto* tensors : {&folded.scale, &folded.shift, &folded.conv1, &folded.bias1}) {
        for (const auto& tensor : *tensors) folded.finite &= at::isfinite(tensor).all().item<bool>();
      }
    }
    folded_ = std::move(folded);
    return folded_;
  }

  std::vector<Block> blocks_;
  std::vector<ClipSiteInfo> sites_;
  int64_t convolution_numel_ = 0, norm_numel_ = 0, statistic_numel_ = 0;  // padding included
  Tensor counters_, input_mean_, input_std_;
  Weights master_;
  std::vector<BatchNorm> norms_;
  Folded folded_;
  // While training:
  Tensor low_weights_, low_gradients_;
  Weights leaves_;
  std::vector<BatchNorm> norm_leaves_;
};

}  // namespace

std::unique_ptr<Network> make_preact_resnet18(const NetworkOptions& options, at::Device device) {
  return std::make_unique<PreActResNet18>(options, device);
}

}  // namespace padft
