#include "support.h"

#include <algorithm>

#include "core/random.h"

namespace padft::test {
namespace {

/// Padding keeps the size at stride 1: 1 for 3×3, 0 for 1×1.
at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, int64_t stride) {
  return at::conv2d(x, weight, at::Tensor(), stride, weight.size(2) / 2);
}

}  // namespace

at::Tensor random_tensor(at::IntArrayRef shape, uint64_t seed, double low, double high) {
  Stream stream(seed);
  auto values = at::empty(shape);
  auto* out = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) out[i] = static_cast<float>(stream.uniform(low, high));
  return values;
}

at::Tensor channels_last(const at::Tensor& maps) { return maps.contiguous(at::MemoryFormat::ChannelsLast); }

Dataset made_dataset(int64_t count, int64_t classes, uint64_t seed, int64_t size, int64_t channels) {
  Stream stream(seed);
  const DatasetShape shape{count, channels, size, size, classes};
  std::vector<uint8_t> images(static_cast<size_t>(count * shape.pixels()));
  std::vector<int32_t> labels(static_cast<size_t>(count));
  for (int64_t row = 0; row < count; ++row) {
    labels[row] = static_cast<int32_t>(row % classes);
    const auto base = static_cast<uint64_t>(160 * labels[row] / classes);
    for (int64_t i = 0; i < shape.pixels(); ++i) {
      images[row * shape.pixels() + i] = static_cast<uint8_t>(base + stream.below(96));
    }
  }
  return Dataset::from_host(images.data(), labels.data(), shape, at::kCPU);
}

std::shared_ptr<Network> small_network(int64_t classes, uint64_t seed, int64_t width) {
  NetworkOptions options;
  options.classes = classes;
  options.width = width;
  options.mean = {0.49, 0.48, 0.45};
  options.std = {0.25, 0.24, 0.26};
  options.seed = seed;
  return make_network("preact-resnet18", options, at::kCPU);
}

std::shared_ptr<Network> seasoned_network(int64_t classes, uint64_t seed, int64_t width) {
  auto network = small_network(classes, seed, width);
  uint64_t draw = seed * 1000;
  for (const auto& item : network->state()) {
    const auto ends_in = [&](const std::string& text) {
      const auto at = item.name.rfind(text);
      return at != std::string::npos && at + text.size() == item.name.size();
    };
    const auto fill = [&](double low, double high) {
      item.tensor.copy_(random_tensor(item.tensor.sizes(), ++draw, low, high));
    };
    if (item.name.find(".bn") == std::string::npos) continue;
    if (ends_in(".weight")) fill(0.7, 1.5);
    if (ends_in(".bias")) fill(-0.2, 0.4);
    if (ends_in(".running_mean")) fill(-0.3, 0.3);
    if (ends_in(".running_var")) fill(0.2, 1.2);
  }
  network->state_changed();
  return network;
}

at::Tensor entry(const Network& network, const std::string& name) {
  for (const auto& item : network.state()) {
    if (item.name == name) return item.tensor;
  }
  throw std::runtime_error("no state entry " + name);
}

std::vector<NamedTensor> snapshot(const Network& network) {
  auto copy = network.state();
  for (auto& item : copy) item.tensor = item.tensor.detach().clone();
  return copy;
}

std::vector<std::string> changed_since(const Network& network, const std::vector<NamedTensor>& before) {
  std::vector<std::string> names;
  for (size_t i = 0; i < before.size(); ++i) {
    if (!at::equal(network.state()[i].tensor, before[i].tensor)) names.push_back(before[i].name);
  }
  return names;
}

at::Tensor constant_bounds(const Network& network, double value) {
  return at::full({network.site_channels()}, value, at::kFloat);
}

Reference::Reference(const Network& network)
    : weights(snapshot(network)),
      mean_(at::tensor(network.options().mean).to(at::kFloat).view({1, -1, 1, 1})),
      std_(at::tensor(network.options().std).to(at::kFloat).view({1, -1, 1, 1})) {
  for (auto& item : weights) {
    item.tensor = item.tensor.contiguous();
    if (item.learns) item.tensor.set_requires_grad(true);
  }
}

at::Tensor Reference::weight(const std::string& name) const {
  for (const auto& item : weights) {
    if (item.name == name) return item.tensor;
  }
  return {};
}

at::Tensor Reference::site(const at::Tensor& x, const std::string& norm, bool training, const BoundSet& bounds) {
  auto a = at::relu(at::batch_norm(x, weight(norm + ".weight"), weight(norm + ".bias"), weight(norm + ".running_mean"),
                                   weight(norm + ".running_var"), training, 0.1, 1e-5, false));
  const int64_t channels = a.size(1);
  const auto slice = [&](const at::Tensor& all) { return all.narrow(0, offset_, channels).view({1, -1, 1, 1}); };
  if (bounds.max.defined()) a = at::minimum(a, slice(bounds.max));
  unbounded.push_back(a);
  if (bounds.mean.defined()) {
    const auto m = a.mean({2, 3}, /*keepdim=*/true);
    a = at::where(m > slice(bounds.mean), a * slice(bounds.mean) / m, a);
  }
  offset_ += channels;
  sites.push_back(a);
  return a;
}

at::Tensor Reference::forward(const at::Tensor& images, bool training, const BoundSet& bounds) {
  sites.clear();
  unbounded.clear();
  maps.clear();
  offset_ = 0;
  auto x = convolve((images.contiguous() - mean_) / std_, weight("conv1.weight"), 1);
  for (int stage = 1; stage <= 4; ++stage) {
    for (int index = 0; index < 2; ++index) {
      const auto name = concat("layer", stage, ".", index);
      const int64_t stride = stage > 1 && index == 0 ? 2 : 1;
      const auto a = site(x, name + ".bn1", training, bounds);
      const auto projection = weight(name + ".shortcut.0.weight");
      const auto shortcut = projection.defined() ? convolve(a, projection, stride) : x;
      const auto h = convolve(a, weight(name + ".conv1.weight"), stride);
      x = convolve(site(h, name + ".bn2", training, bounds), weight(name + ".conv2.weight"), 1) + shortcut;
    }
    maps.push_back(x);
  }
  features = x.mean({2, 3});
  return at::addmm(weight("linear.bias"), features, weight("linear.weight").t());
}

}  // namespace padft::test
