// The fused CPU kernels behind batch_norm_relu and clip_site, against libtorch's own operations and autograd.
#include <ATen/Parallel.h>

#include <limits>

#include "check.h"
#include "core/activation.h"
#include "core/convolution.h"
#include "core/kernels_cpu.h"
#include "support.h"

namespace padft {
namespace {

using at::Tensor;
using test::channels_last;
using test::random_tensor;

constexpr double kTolerance = 1e-5;
const std::vector<int64_t> kChannelCounts = {1, 3, 5, 7, 8, 13, 17, 33};

Tensor leaf(const Tensor& values) { return values.detach().clone().set_requires_grad(true); }
Tensor over_maps(const Tensor& values) {
  return values.dim() == 2 ? values.view({values.size(0), values.size(1), 1, 1}) : values.view({1, -1, 1, 1});
}

/// The clip site in plain operations.
Tensor plain_site(const Tensor& x, const Tensor& scale, const Tensor& shift, const SiteBounds& bounds, Tensor* means) {
  auto a = at::relu(scale.defined() ? x * over_maps(scale) + over_maps(shift) : x);
  if (bounds.max.defined()) a = at::minimum(a, over_maps(bounds.max));
  const auto m = a.mean({2, 3}, /*keepdim=*/true);
  if (means) *means = m.detach().view({m.size(0), m.size(1)});
  if (!bounds.mean.defined()) return a;
  return at::where(m > over_maps(bounds.mean), a * over_maps(bounds.mean) / m, a);
}

/// Which bounds a comparison uses; `per_image`: [N, C], which get no gradient.
struct Plan {
  const char* name;
  bool max, mean, per_image, scaled;
};
const std::vector<Plan> kPlans = {
    {"none", false, false, false, false},      {"none, scaled", false, false, false, true},
    {"max", true, false, false, true},         {"mean", false, true, false, false},
    {"mean, scaled", false, true, false, true}, {"both", true, true, false, true},
    {"max per image", true, false, true, true}, {"mean per image", false, true, true, false},
    {"both per image", true, true, true, true},
};

struct Sample {
  Tensor x, scale, shift, weight;
  SiteBounds bounds;
  Sample(const Plan& plan, int64_t channels) {
    const auto seed = static_cast<uint64_t>(channels) * 100;
    std::vector<int64_t> shape = {channels};
    if (plan.per_image) shape.insert(shape.begin(), 6);
    x = channels_last(random_tensor({6, channels, 5, 3}, seed, -2, 2));
    weight = channels_last(random_tensor({6, channels, 5, 3}, seed + 1));
    if (plan.scaled) {
      scale = random_tensor({channels}, seed + 2, 0.5, 1.5);
      shift = random_tensor({channels}, seed + 3, -0.3, 0.5);
    }
    if (plan.max) bounds.max = random_tensor(shape, seed + 4, 0.3, 1.5);
    if (plan.mean) bounds.mean = random_tensor(shape, seed + 5, 0.2, 0.8);
  }
};

}  // namespace

CASE("kernels", "batch norm with ReLU equals libtorch's, forward, backward and running statistics") {
  for (const int64_t channels : kChannelCounts) {
    const auto seed = static_cast<uint64_t>(channels);
    const auto x = channels_last(random_tensor({5, channels, 6, 7}, seed, -2, 3));
    const auto weight = random_tensor({channels}, seed + 1, -1.5, 1.5), bias = random_tensor({channels}, seed + 2);
    const auto outside = channels_last(random_tensor({5, channels, 6, 7}, seed + 3));
    auto mean = random_tensor({channels}, seed + 4), var = random_tensor({channels}, seed + 5, 0.1, 2);
    auto expected_mean = mean.clone(), expected_var = var.clone();

    auto xa = leaf(x), wa = leaf(weight), ba = leaf(bias);
    const auto ya = batch_norm_relu(xa, wa, ba, mean, var);
    (ya * outside).sum().backward();
    auto xb = leaf(x), wb = leaf(weight), bb = leaf(bias);
    const auto yb = at::relu(at::batch_norm(xb, wb, bb, expected_mean, expected_var, true, 0.1, 1e-5, false));
    (yb * outside).sum().backward();

    EXPECT_CLOSE(ya, yb, kTolerance);
    EXPECT_CLOSE(xa.grad(), xb.grad(), kTolerance);
    EXPECT_CLOSE(wa.grad(), wb.grad(), kTolerance);
    EXPECT_CLOSE(ba.grad(), bb.grad(), kTolerance);
    EXPECT_CLOSE(mean, expected_mean, kTolerance);
    EXPECT_CLOSE(var, expected_var, kTolerance);
  }
}

CASE("kernels", "batch norm survives a large common offset and a constant channel") {
  auto x = random_tensor({4, 3, 8, 8}, 5);
  x.select(1, 0).add_(1000);
  x.select(1, 1).fill_(7);
  const auto weight = at::ones({3}), bias = at::full({3}, 0.25);
  auto mean = at::zeros({3}), var = at::ones({3}), expected_mean = mean.clone(), expected_var = var.clone();
  const auto y = batch_norm_relu(channels_last(x), weight, bias, mean, var);
  const auto wide = x.to(at::kDouble);
  const auto centred = wide - wide.mean({0, 2, 3}, true);
  const auto expected = at::relu(centred / (centred.square().mean({0, 2, 3}, true) + 1e-5).sqrt() + 0.25);
  EXPECT_CLOSE(y.select(1, 0), expected.select(1, 0), 2e-3);  // float32 holds 1000.x to 6e-5
  EXPECT_CLOSE(y.select(1, 1), expected.select(1, 1), kTolerance);
  EXPECT_CLOSE(y.select(1, 2), expected.select(1, 2), kTolerance);
  EXPECT(var.ge(0).all().item<bool>());
}

CASE("kernels", "a clip site equals plain operations, without gradients") {
  at::NoGradGuard no_grad;
  for (const int64_t channels : kChannelCounts) {
    for (const auto& plan : kPlans) {
      const Sample s(plan, channels);
      const auto before = s.x.clone();
      Tensor means, expected_means;
      const auto y = clip_site(s.x, s.scale, s.shift, s.bounds, &means);
      EXPECT_CLOSE(y, plain_site(s.x, s.scale, s.shift, s.bounds, &expected_means), kTolerance);
      EXPECT_CLOSE(means, expected_means, kTolerance);
      EXPECT_SAME(s.x, before);
      EXPECT_SAME(clip_site(s.x, s.scale, s.shift, s.bounds, nullptr, /*in_place=*/true), y);
    }
  }
}

CASE("kernels", "a clip site in bfloat16 computes in float32 and rounds once, or twice under a mean's bound") {
  at::NoGradGuard no_grad;
  for (const int64_t channels : kChannelCounts) {
    for (const auto& plan : kPlans) {
      const Sample s(plan, channels);
      const auto low = s.x.to(at::kBFloat16);
      Tensor means, expected_means;
      const auto y = clip_site(low, s.scale, s.shift, s.bounds, &means);
      EXPECT(y.scalar_type() == at::kBFloat16 && means.scalar_type() == at::kFloat);
      const auto expected = plain_site(low.to(at::kFloat), s.scale, s.shift, s.bounds, &expected_means);
      EXPECT_CLOSE(means, expected_means, kTolerance);
      if (plan.mean) {
        EXPECT(at::allclose(y.to(at::kFloat), expected, 0x1p-7));
      } else {
        EXPECT_SAME(y, expected.to(at::kBFloat16));
      }
      EXPECT_SAME(clip_site(low, s.scale, s.shift, s.bounds, nullptr, /*in_place=*/true), y);
    }
  }
}

CASE("kernels", "bfloat16 rounds as libtorch does, and a NaN stays one") {
  at::NoGradGuard no_grad;
  const auto bits = at::arange(0x3f7fff00, 0x3f820100, at::kInt);  // 1 ± 2⁻⁶, both sides of every tie
  const auto values = bits.view(at::kFloat).view({2, 1, -1, 8}).contiguous(at::MemoryFormat::ChannelsLast);
  const auto zero = at::zeros({1}), one = at::ones({1});
  EXPECT_SAME(normalise(values, zero, one, at::kBFloat16), values.to(at::kBFloat16));
  const auto damaged = at::tensor({0x7fffffff, 0x7f800001, -1}, at::kInt).view(at::kFloat).view({1, 1, 1, 3});
  const auto low = normalise(damaged, zero, one, at::kBFloat16);
  EXPECT(at::isnan(low).all().item<bool>());
  EXPECT(at::isnan(clip_site(low, {}, {}, {})).all().item<bool>());
}

CASE("kernels", "images are normalised in one pass") {
  at::NoGradGuard no_grad;
  for (const int64_t channels : {1, 3, 4}) {
    const auto images = channels_last(random_tensor({3, channels, 5, 7}, 8, 0, 1));
    const auto mean = random_tensor({channels}, 9), deviation = random_tensor({channels}, 10, 0.2, 2);
    const auto expected = images.sub(over_maps(mean)).div(over_maps(deviation));
    EXPECT_SAME(normalise(images, mean, deviation, at::kFloat), expected);
    EXPECT_SAME(normalise(images, mean, deviation, at::kBFloat16), expected.to(at::kBFloat16));
    EXPECT_SAME(normalise(images.contiguous(), mean, deviation, at::kFloat), expected);
  }
}

CASE("kernels", "a convolution with its ReLU, and one added to a sum, equal plain operations") {
  at::NoGradGuard no_grad;
  for (const int64_t channels : {4, 8, 16}) {
    for (const int64_t stride : {1, 2}) {
      const auto x = channels_last(random_tensor({3, channels, 8, 8}, 11)), sum = channels_last(random_tensor({3, 8, 8, 8}, 12));
      const auto weight = channels_last(random_tensor({8, channels, 3, 3}, 13)), bias = random_tensor({8}, 14);
      EXPECT_CLOSE(conv_relu(x, weight, bias, stride), at::relu(at::conv2d(x, weight, bias, stride, 1)), kTolerance);
      const auto expected = sum + at::conv2d(x, weight, {}, 1, 1);
      EXPECT_CLOSE(add_conv(sum.clone(), x, weight), expected, kTolerance);
    }
  }
}

CASE("kernels", "a clip site's gradients equal autograd's") {
  for (const int64_t channels : kChannelCounts) {
    for (const auto& plan : kPlans) {
      const Sample s(plan, channels);
      const auto run = [&](bool plain) {
        const auto learns = [&](const Tensor& bound) {
          return bound.defined() && !plan.per_image ? leaf(bound) : bound;
        };
        const auto x = leaf(s.x);
        const SiteBounds bounds{learns(s.bounds.max), learns(s.bounds.mean)};
        const auto y = plain ? plain_site(x, s.scale, s.shift, bounds, nullptr)
                             : clip_site(x, s.scale, s.shift, bounds);
        (y * s.weight).sum().backward();
        std::vector<Tensor> results = {y, x.grad()};
        for (const auto& bound : {bounds.max, bounds.mean}) {
          if (bound.defined() && bound.requires_grad()) results.push_back(bound.grad());
        }
        return results;
      };
      const auto fused = run(false), expected = run(true);
      for (size_t i = 0; i < fused.size(); ++i) EXPECT_CLOSE(fused[i], expected[i], kTolerance);
    }
  }
}

CASE("kernels", "a clip site's gradients in bfloat16 are float32's but for rounding") {
  for (const int64_t channels : kChannelCounts) {
    for (const auto& plan : kPlans) {
      const Sample s(plan, channels);
      const auto maps = s.x.to(at::kBFloat16), outside = s.weight.to(at::kBFloat16);
      const auto run = [&](at::ScalarType type) {
        const auto learns = [&](const Tensor& bound) {
          return bound.defined() && !plan.per_image ? leaf(bound) : bound;
        };
        const auto x = leaf(maps.to(type));
        const SiteBounds bounds{learns(s.bounds.max), learns(s.bounds.mean)};
        clip_site(x, s.scale, s.shift, bounds).backward(outside.to(type));
        std::vector<Tensor> results = {x.grad().to(at::kFloat)};
        for (const auto& bound : {bounds.max, bounds.mean}) {
          if (bound.defined() && bound.requires_grad()) results.push_back(bound.grad());
        }
        return results;
      };
      const auto low = run(at::kBFloat16), full = run(at::kFloat);
      EXPECT(at::allclose(low[0], full[0], 0x1p-8));
      for (size_t i = 1; i < low.size(); ++i) EXPECT_CLOSE(low[i], full[i], kTolerance);
    }
  }
}

CASE("kernels", "gradients reach the bounds when the input needs none") {
  const Sample s({"both", true, true, false, true}, 5);
  const SiteBounds fused{leaf(s.bounds.max), leaf(s.bounds.mean)}, plain{leaf(s.bounds.max), leaf(s.bounds.mean)};
  (clip_site(s.x, s.scale, s.shift, fused) * s.weight).sum().backward();
  (plain_site(s.x, s.scale, s.shift, plain, nullptr) * s.weight).sum().backward();
  EXPECT_CLOSE(fused.max.grad(), plain.max.grad(), kTolerance);
  EXPECT_CLOSE(fused.mean.grad(), plain.mean.grad(), kTolerance);
}

CASE("kernels", "the other memory layout takes libtorch's operations and gives the same") {
  for (const auto& plan : kPlans) {
    const Sample s(plan, 7);
    const auto run = [&](const Tensor& input) {
      const auto x = leaf(input);
      const auto y = clip_site(x, s.scale, s.shift, s.bounds);
      (y * s.weight).sum().backward();
      return std::vector<Tensor>{y, x.grad()};
    };
    const auto fused = run(s.x), generic = run(s.x.contiguous());
    for (size_t i = 0; i < fused.size(); ++i) EXPECT_CLOSE(fused[i], generic[i], kTolerance);
  }
}

CASE("kernels", "bounds of zero and maps of zeros give zeros and finite gradients, the same in both layouts") {
  auto maps = channels_last(random_tensor({2, 3, 4, 4}, 8));
  maps.select(1, 1).fill_(-1);  // nothing passes the ReLU
  const auto outside = channels_last(random_tensor({2, 3, 4, 4}, 9));
  const auto run = [&](const Tensor& input) {
    const auto x = leaf(input);
    const SiteBounds bounds{leaf(at::tensor({1.f, 0.f, 0.f})), leaf(at::tensor({0.f, 0.f, 0.5f}))};
    const auto y = clip_site(x, {}, {}, bounds);
    (y * outside).sum().backward();
    return std::vector<Tensor>{y, x.grad(), bounds.max.grad(), bounds.mean.grad()};
  };
  const auto fused = run(maps), generic = run(maps.contiguous());
  EXPECT_EQUAL(fused[0].abs().sum().item<float>(), 0.f);
  for (size_t i = 0; i < fused.size(); ++i) {
    EXPECT(at::isfinite(fused[i]).all().item<bool>());
    EXPECT_CLOSE(fused[i], generic[i], kTolerance);
  }
}

CASE("kernels", "a mean whose square is no float32 any more gives the gradients of a larger one") {
  const auto outside = channels_last(random_tensor({2, 3, 4, 4}, 9));
  const auto maps = channels_last(random_tensor({2, 3, 4, 4}, 8));
  const auto run = [&](float size) {
    const auto x = leaf(maps * size);
    const SiteBounds bounds{{}, leaf(at::full({3}, 0.1f * size))};
    const auto y = clip_site(x, {}, {}, bounds);
    (y * outside).sum().backward();
    return std::vector<Tensor>{x.grad(), bounds.mean.grad()};
  };
  const auto tiny = run(1e-24f), plain = run(1.f);
  for (size_t i = 0; i < tiny.size(); ++i) EXPECT_CLOSE(tiny[i], plain[i], kTolerance);
}

CASE("kernels", "the mean is measured after the largest-value bound and before the mean's") {
  at::NoGradGuard no_grad;
  const auto x = channels_last(at::tensor({4.f, 1.f, -3.f, 2.f}).view({1, 1, 2, 2}));  // bounded: 3, 1, 0, 2
  const SiteBounds bounds{at::tensor({3.f}), at::tensor({0.5f})};
  Tensor mean;
  const auto y = clip_site(x, {}, {}, bounds, &mean);
  EXPECT_NEAR(mean.item<float>(), 1.5, 1e-6);
  EXPECT_CLOSE(y.view({-1}), at::tensor({1.f, 1.f / 3, 0.f, 2.f / 3}), 1e-6);
}

CASE("kernels", "the mean is given in an autograd pass too") {
  const Sample s({"both", true, true, false, true}, 5);
  Tensor mean, expected;
  clip_site(leaf(s.x), s.scale, s.shift, s.bounds, &mean);
  plain_site(s.x, s.scale, s.shift, s.bounds, &expected);
  EXPECT_CLOSE(mean, expected, kTolerance);
}

CASE("kernels", "results do not depend on the number of threads") {
  const auto x = channels_last(random_tensor({13, 7, 9, 9}, 3));
  const auto weight = random_tensor({7}, 4), bias = random_tensor({7}, 5);
  const Sample s({"both", true, true, false, true}, 7);
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    auto mean = at::zeros({7}), var = at::ones({7});
    const auto xa = leaf(x), wa = leaf(weight), ba = leaf(bias);
    const auto ya = batch_norm_relu(xa, wa, ba, mean, var);
    ya.square().sum().backward();
    const auto xb = leaf(s.x), max = leaf(s.bounds.max), mean_bound = leaf(s.bounds.mean);
    const auto yb = clip_site(xb, s.scale, s.shift, {max, mean_bound});
    (yb * s.weight).sum().backward();
    return std::vector<Tensor>{ya, xa.grad(), wa.grad(), ba.grad(), mean, var,
                               yb, xb.grad(), max.grad(), mean_bound.grad()};
  };
  const int threads = at::get_num_threads();
  const auto one = run(1), four = run(4);
  at::set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_SAME(one[i], four[i]);
}

CASE("kernels", "results do not depend on where the buffers lie") {
  // With the factors just before the output, the vector loop's check for overlap fails and its scalar twin runs, for one
  // row: it takes many draws to meet a value that the two round differently.
  for (const int64_t channels : kChannelCounts) {
    for (uint64_t draw = 0; draw < 100; ++draw) {
      const auto x = random_tensor({4, channels}, 3 * draw + 11);
      const auto scale = random_tensor({channels}, 3 * draw + 12, 0.5, 1.5);
      const auto shift = random_tensor({channels}, 3 * draw + 13);
      const auto run = [&](const Tensor& y, const Tensor& factors) {
        kernels::SiteArguments site;
        site.scale = factors.data_ptr<float>();
        site.shift = shift.data_ptr<float>();
        kernels::site_forward(x.data_ptr<float>(), y.data_ptr<float>(), 1, 4, channels, site, nullptr);
        return y;
      };
      const auto buffer = at::empty({x.numel() + channels});
      const auto beside = buffer.narrow(0, 0, channels).copy_(scale);
      EXPECT_SAME(run(buffer.narrow(0, channels, x.numel()).view_as(x), beside), run(at::empty_like(x), scale));
    }
  }
}

CASE("kernels", "not-a-number passes through, so that a damaged network is noticed") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  auto x = channels_last(random_tensor({2, 3, 4, 4}, 2));
  x[1][2][3][0] = nan;
  {
    at::NoGradGuard no_grad;
    EXPECT(at::isnan(clip_site(x, {}, {}, {})[1][2][3][0]).item<bool>());
    EXPECT(at::isnan(clip_site(x, {}, {}, {at::ones({3}), {}})[1][2][3][0]).item<bool>());
  }
  auto mean = at::zeros({3}), var = at::ones({3});
  const auto y = batch_norm_relu(x, at::ones({3}), at::zeros({3}), mean, var);
  EXPECT(at::isnan(y.select(1, 2)).all().item<bool>());
}

}  // namespace padft
