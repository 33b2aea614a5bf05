// Made data, small networks and a second, plain implementation of the network that the tests compare with.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "core/control.h"
#include "core/dataset.h"
#include "models/network.h"

namespace padft::test {

/// float32 in [low, high), from our own stream: the same in every libtorch. Contiguous.
at::Tensor random_tensor(at::IntArrayRef shape, uint64_t seed, double low = -1, double high = 1);

/// The same values, laid out with channels innermost.
at::Tensor channels_last(const at::Tensor& maps);

/// Rows of random pixels labelled 0, 1, …, classes − 1, 0, … A row's brightness tells its label, so it can be learnt.
Dataset made_dataset(int64_t count, int64_t classes, uint64_t seed, int64_t size = 8, int64_t channels = 3);

/// PreAct-ResNet-18. Thinner than 8 channels oneDNN does not train reliably.
std::shared_ptr<Network> small_network(int64_t classes = 4, uint64_t seed = 1, int64_t width = 8);

/// The same with batch norms as after some training: none of their tensors is neutral.
std::shared_ptr<Network> seasoned_network(int64_t classes = 4, uint64_t seed = 1, int64_t width = 8);

/// A state entry's tensor by PyTorch's name (a view).
at::Tensor entry(const Network& network, const std::string& name);

/// Every state entry copied.
std::vector<NamedTensor> snapshot(const Network& network);

/// Names of the state entries that changed since the snapshot.
std::vector<std::string> changed_since(const Network& network, const std::vector<NamedTensor>& before);

/// Bounds of every site side by side, all with one value.
at::Tensor constant_bounds(const Network& network, double value);

/// PreAct-ResNet-18 spelled out from the state with libtorch's own operations, nothing fused or folded.
struct Reference {
  explicit Reference(const Network& network);

  at::Tensor forward(const at::Tensor& images, bool training, const BoundSet& bounds = {});

  std::vector<NamedTensor> weights;  ///< copies of the state; learned ones are leaves of autograd
  std::vector<at::Tensor> sites;     ///< of the last forward: each site's activations after the bounds
  std::vector<at::Tensor> unbounded;  ///< the same before the mean's bound
  std::vector<at::Tensor> maps;      ///< of the last forward: what each stage ends with
  at::Tensor features;               ///< of the last forward: what the classifier saw

 private:
  at::Tensor weight(const std::string& name) const;
  at::Tensor site(const at::Tensor& x, const std::string& norm, bool training, const BoundSet& bounds);

  at::Tensor mean_, std_;
  int64_t offset_ = 0;
};

}  // namespace padft::test
