#include "activation.h"

#include <torch/csrc/autograd/custom_function.h>

#include "error.h"
#include "kernels_cpu.h"

namespace padft {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr double kEpsilon = 1e-5;   // PyTorch's BatchNorm2d
constexpr double kMomentum = 0.1;

bool fused(const Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}
bool fused_site(const Tensor& x) {
  return fused(x) || (x.device().is_cpu() && x.scalar_type() == at::kBFloat16 &&
                      x.is_contiguous(at::MemoryFormat::ChannelsLast));
}

kernels::Bfloat16* low(const Tensor& x) { return reinterpret_cast<kernels::Bfloat16*>(x.data_ptr<at::BFloat16>()); }

// "None" inside the autograd function: some libtorch versions ask every input for its device, and an undefined tensor
// has none.
Tensor or_none(const Tensor& tensor, const Tensor& like) {
  return tensor.defined() ? tensor.contiguous() : at::empty({0}, like.options());
}
bool given(const Tensor& tensor) { return tensor.defined() && tensor.numel() > 0; }

const float* data_or_null(const Tensor& tensor) { return given(tensor) ? tensor.data_ptr<float>() : nullptr; }

struct Extent {
  int64_t images, pixels, channels;
  explicit Extent(const Tensor& x) : images(x.size(0)), pixels(x.size(2) * x.size(3)), channels(x.size(1)) {}
  int64_t rows() const { return images * pixels; }
};

struct BatchNormRelu : torch::autograd::Function<BatchNormRelu> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        Tensor running_mean, Tensor running_var) {
    const Extent extent(x);
    require(extent.rows() > 1, "ERR_OPTION",
            "train.batchSize: batch norm needs more than one value a channel; expected a larger batch or larger images");
    auto y = at::empty_like(x);
    auto mean = at::empty({extent.channels}, weight.options());
    auto variance = at::empty_like(mean), inv_std = at::empty_like(mean);
    kernels::batch_norm_relu_forward(x.data_ptr<float>(), y.data_ptr<float>(), extent.rows(), extent.channels,
                                     weight.data_ptr<float>(), bias.data_ptr<float>(), kEpsilon,
                                     mean.data_ptr<float>(), variance.data_ptr<float>(), inv_std.data_ptr<float>());
    const double unbias = static_cast<double>(extent.rows()) / static_cast<double>(extent.rows() - 1);
    running_mean.mul_(1 - kMomentum).add_(mean, kMomentum);
    running_var.mul_(1 - kMomentum).add_(variance, kMomentum * unbias);
    context->save_for_backward({x, weight, bias, mean, inv_std});
    return y;
  }

  static tensor_list backward(AutogradContext* context, tensor_list grads) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const Extent extent(x);
    const auto dy = grads[0].contiguous(at::MemoryFormat::ChannelsLast);
    auto dx = at::empty_like(x);
    auto dweight = at::empty_like(saved[1]), dbias = at::empty_like(saved[2]);
    kernels::batch_norm_relu_backward(x.data_ptr<float>(), dy.data_ptr<float>(), dx.data_ptr<float>(), extent.rows(),
                                      extent.channels, saved[1].data_ptr<float>(), saved[2].data_ptr<float>(),
                                      saved[3].data_ptr<float>(), saved[4].data_ptr<float>(),
                                      dweight.data_ptr<float>(), dbias.data_ptr<float>());
    return {dx, dweight, dbias, Tensor(), Tensor()};
  }
};

kernels::SiteArguments arguments(const Tensor& scale, const Tensor& shift, const Tensor& max, const Tensor& mean) {
  kernels::SiteArguments site;
  site.scale = data_or_null(scale);
  site.shift = data_or_null(shift);
  site.max_bound = data_or_null(max);
  site.mean_bound = data_or_null(mean);
  site.max_per_image = given(max) && max.dim() == 2;
  site.mean_per_image = given(mean) && mean.dim() == 2;
  return site;
}

void site_forward(const Tensor& x, const Tensor& y, const Extent& extent, const kernels::SiteArguments& site,
                  float* means) {
  const auto run = [&](auto* in, auto* out) {
    kernels::site_forward(in, out, extent.images, extent.pixels, extent.channels, site, means);
  };
  if (x.scalar_type() == at::kFloat) {
    run(x.data_ptr<float>(), y.data_ptr<float>());
  } else {
    run(low(x), low(y));
  }
}

struct ClipSite : torch::autograd::Function<ClipSite> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& scale, const Tensor& shift,
                        const Tensor& max, const Tensor& mean) {
    const Extent extent(x);
    auto y = at::empty_like(x);
    auto means = at::empty({given(mean) ? extent.images : 0, extent.channels}, x.options().dtype(at::kFloat));
    site_forward(x, y, extent, arguments(scale, shift, max, mean), given(mean) ? means.data_ptr<float>() : nullptr);
    context->save_for_backward({x, scale, shift, max, mean, means});
    return y;
  }

  static tensor_list backward(AutogradContext* context, tensor_list grads) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &max = saved[3], &mean = saved[4];
    const Extent extent(x);
    const auto dy = grads[0].contiguous(at::MemoryFormat::ChannelsLast);
    auto dx = at::empty_like(x);
    auto dmax = given(max) ? at::empty_like(max) : Tensor();
    auto dmean = given(mean) ? at::empty_like(mean) : Tensor();
    const auto site = arguments(saved[1], saved[2], max, mean);
    const auto run = [&](auto* in, auto* grad, auto* out) {
      kernels::site_backward(in, grad, out, extent.images, extent.pixels, extent.channels, site, data_or_null(saved[5]),
                             given(max) ? dmax.data_ptr<float>() : nullptr,
                             given(mean) ? dmean.data_ptr<float>() : nullptr);
    };
    if (x.scalar_type() == at::kFloat) {
      run(x.data_ptr<float>(), dy.data_ptr<float>(), dx.data_ptr<float>());
    } else {
      run(low(x), low(dy), low(dx));
    }
    return {dx, Tensor(), Tensor(), dmax, dmean};
  }
};

// [C] or [N, C] → broadcastable over [N, C, H, W].
Tensor over_maps(const Tensor& values, const Tensor& like) {
  const auto shaped = values.dim() == 2 ? values.view({values.size(0), values.size(1), 1, 1})
                                        : values.view({1, values.size(0), 1, 1});
  return shaped.to(like.scalar_type());
}

Tensor clip_site_generic(const Tensor& x, const Tensor& scale, const Tensor& shift, const SiteBounds& bounds,
                         Tensor* mean_out) {
  auto a = scale.defined() ? at::addcmul(over_maps(shift, x), x, over_maps(scale, x)) : x;
  a = at::relu(a);
  if (bounds.max.defined()) {
    // Not minimum(): it gives a tie half the gradient, and at a bound of 0 every silent unit is a tie.
    const auto upper = over_maps(bounds.max, a);
    a = at::where(a > upper, upper, a);
  }
  if (!bounds.mean.defined() && !mean_out) return a;
  const auto m = a.to(at::kFloat).mean({2, 3});
  if (mean_out) *mean_out = m.detach();
  if (!bounds.mean.defined()) return a;
  // where(), not min(1, u/m): where m = 0 the division's gradient is not a number.
  const auto exceeds = m > bounds.mean;
  const auto factor = at::where(exceeds, bounds.mean / at::where(exceeds, m, at::ones_like(m)), at::ones_like(m));
  return a * over_maps(factor, a);
}

}  // namespace

Tensor batch_norm_relu(const Tensor& x, const Tensor& weight, const Tensor& bias, Tensor& running_mean,
                       Tensor& running_var) {
  if (fused(x)) return BatchNormRelu::apply(x, weight, bias, running_mean, running_var);
  return at::relu(at::batch_norm(x, weight, bias, running_mean, running_var, /*training=*/true, kMomentum,
                                       kEpsilon, /*cudnn_enabled=*/true));
}

Tensor clip_site(const Tensor& x, const Tensor& scale, const Tensor& shift, const SiteBounds& bounds,
                 Tensor* mean_out, bool in_place) {
  const bool differentiable = at::GradMode::is_enabled() &&
                              (x.requires_grad() || (bounds.max.defined() && bounds.max.requires_grad()) ||
                               (bounds.mean.defined() && bounds.mean.requires_grad()));
  if (differentiable) {
    // Nothing asks for both gradients and means; the fused pass keeps the latter to itself.
    if (!fused_site(x) || mean_out) return clip_site_generic(x, scale, shift, bounds, mean_out);
    return ClipSite::apply(x, or_none(scale, x), or_none(shift, x), or_none(bounds.max, x), or_none(bounds.mean, x));
  }
  if (!fused_site(x)) return clip_site_generic(x, scale, shift, bounds, mean_out);
  const Extent extent(x);
  auto y = in_place ? x : at::empty_like(x);
  if (mean_out) *mean_out = at::empty({extent.images, extent.channels}, x.options().dtype(at::kFloat));
  auto* means = mean_out ? mean_out->data_ptr<float>() : nullptr;
  const auto max = bounds.max.defined() ? bounds.max.contiguous() : bounds.max;
  const auto mean = bounds.mean.defined() ? bounds.mean.contiguous() : bounds.mean;
  site_forward(x, y, extent, arguments(scale, shift, max, mean), means);
  return y;
}

Tensor normalise(const Tensor& images, const Tensor& mean, const Tensor& deviation, at::ScalarType type) {
  if (fused(images) && !images.requires_grad() && (type == at::kFloat || type == at::kBFloat16)) {
    const Extent extent(images);
    auto y = at::empty_like(images, images.options().dtype(type));
    const float *m = mean.data_ptr<float>(), *d = deviation.data_ptr<float>();
    if (type == at::kFloat) {
      kernels::normalise(images.data_ptr<float>(), y.data_ptr<float>(), extent.images, extent.pixels, extent.channels,
                         m, d);
    } else {
      kernels::normalise(images.data_ptr<float>(), low(y), extent.images, extent.pixels, extent.channels, m, d);
    }
    return y;
  }
  return images.sub(over_maps(mean, images)).div_(over_maps(deviation, images))
      .contiguous(at::MemoryFormat::ChannelsLast)
      .to(type);
}

}  // namespace padft
