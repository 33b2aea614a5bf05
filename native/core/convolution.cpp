#include "convolution.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>

#include <optional>
#include <vector>

#include "device_info.h"

#if __has_include(<torch/headeronly/version.h>)
#include <torch/headeronly/version.h>
#else
#include <torch/version.h>
#endif

namespace padft {
namespace {

using at::Tensor;
using Stack = std::vector<c10::IValue>;

// One of libtorch's fused oneDNN operations, by name: they have no C++ function. Absent in builds without oneDNN, and
// refused where the arguments are not those it is called with here.
std::optional<c10::OperatorHandle> find_operator(const char* name, const char* overload, size_t arguments) {
#if defined(__x86_64__) && TORCH_VERSION_MAJOR >= 2
  auto found = c10::Dispatcher::singleton().findSchema({name, overload});
  if (found && found->schema().arguments().size() == arguments &&
      found->hasKernelForDispatchKey(c10::DispatchKey::CPU)) {
    return *found;
  }
#else
  (void)name, (void)overload, (void)arguments;
#endif
  return std::nullopt;
}

bool fusible(const Tensor& x) {
  if (at::GradMode::is_enabled() || !x.device().is_cpu() || !at::globalContext().userEnabledMkldnn()) return false;
  if (!x.is_contiguous(at::MemoryFormat::ChannelsLast)) return false;
  static const bool low = cpu_has_bf16();
  return x.scalar_type() == at::kFloat || (low && x.scalar_type() == at::kBFloat16);
}

c10::IValue pair(int64_t value) { return c10::IValue(std::vector<int64_t>{value, value}); }
c10::IValue no_scalars() { return c10::impl::GenericList(c10::OptionalType::create(c10::NumberType::get())); }

}  // namespace

Tensor conv_relu(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride) {
  static const auto op = find_operator("mkldnn::_convolution_pointwise", "", 10);
  if (!op || !fusible(x)) {
    auto y = at::conv2d(x, weight, bias, stride, /*padding=*/1);
    return y.requires_grad() ? at::relu(y) : y.relu_();
  }
  // X, W, B, padding, stride, dilation, groups, attr, scalars, algorithm
  Stack stack = {x, weight, bias, pair(1), pair(stride), pair(1), int64_t{1}, "relu", no_scalars(), c10::IValue()};
  op->callBoxed(&stack);
  return stack[0].toTensor();
}

Tensor add_conv(const Tensor& sum, const Tensor& x, const Tensor& weight) {
  static const auto op = find_operator("mkldnn::_convolution_pointwise_", "binary", 13);
  if (!op || !fusible(x) || !fusible(sum)) return at::conv2d(x, weight, {}, /*stride=*/1, /*padding=*/1).add_(sum);
  // other (written), X, W, B, padding, stride, dilation, groups, binary_attr, alpha, unary_attr, unary_scalars,
  // unary_algorithm
  Stack stack = {sum, x, weight, c10::IValue(), pair(1), pair(1), pair(1), int64_t{1}, "add", c10::IValue(),
                 c10::IValue(), no_scalars(), c10::IValue()};
  op->callBoxed(&stack);
  return stack[0].toTensor();
}

}  // namespace padft
