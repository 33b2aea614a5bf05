#include "core/views.h"

#include <algorithm>

#include "check.h"
#include "core/batches.h"
#include "support.h"

namespace padft {
namespace {

/// One view with nothing changed: the whole of `size`² pixels, colours as they are.
std::vector<float> plain_view(double size) {
  std::vector<float> view = {0, 0, static_cast<float>(size), static_cast<float>(size), 0, 1, 1};
  for (const double value : colour_matrix(1, 0, false)) view.push_back(static_cast<float>(value));
  return view;
}

at::Tensor views_of(const std::vector<std::vector<float>>& rows) {
  auto views = at::empty({static_cast<int64_t>(rows.size()), kViewColumns});
  for (size_t i = 0; i < rows.size(); ++i) views[static_cast<int64_t>(i)].copy_(at::tensor(rows[i]));
  return views;
}

at::Tensor applied(const std::array<double, 9>& matrix, const std::vector<double>& colour) {
  return at::tensor(std::vector<double>(matrix.begin(), matrix.end())).view({3, 3}).matmul(at::tensor(colour));
}

}  // namespace

CASE("views", "a whole, unchanged view is the image") {
  const auto data = test::made_dataset(5, 3, 2, 7);
  const auto rows = at::tensor({4, 0}, at::kLong);
  const auto seen = gather_views(data, rows, views_of({plain_view(7), plain_view(7)}));
  EXPECT_CLOSE(seen, gather(data, rows), 1e-5);
  EXPECT(seen.is_contiguous(at::MemoryFormat::ChannelsLast));
}

CASE("views", "a mirror turns left and right") {
  const auto data = test::made_dataset(2, 2, 2, 6);
  auto view = plain_view(6);
  view[4] = 1;
  const auto rows = at::tensor({1}, at::kLong);
  EXPECT_CLOSE(gather_views(data, rows, views_of({view})), gather(data, rows).flip({3}), 1e-5);
}

CASE("views", "a crop is enlarged bilinearly, and nothing beyond it is mixed in") {
  const auto data = test::made_dataset(2, 2, 3, 8);
  auto view = plain_view(8);
  view[0] = 2, view[1] = 3, view[2] = 4, view[3] = 2;  // 4 wide and 2 high from (2, 3)
  const auto rows = at::tensor({1}, at::kLong);
  const auto cut = data.images().narrow(0, 1, 1).narrow(2, 3, 2).narrow(3, 2, 4).to(at::kFloat).div(255.f);
  EXPECT_CLOSE(gather_views(data, rows, views_of({view})),
               at::upsample_bilinear2d(cut, {8, 8}, /*align_corners=*/false), 1e-5);
  view[4] = 1;
  EXPECT_CLOSE(gather_views(data, rows, views_of({view})),
               at::upsample_bilinear2d(cut, {8, 8}, /*align_corners=*/false).flip({3}), 1e-5);
  view[2] = view[3] = 1;  // one pixel fills the view
  const auto one = gather_views(data, rows, views_of({view}));
  EXPECT_CLOSE(one, cut.narrow(2, 0, 1).narrow(3, 0, 1).expand({1, 3, 8, 8}), 1e-6);
}

CASE("views", "images that are not square are cropped along their own sides") {
  const auto pixels = at::arange(3 * 4 * 6, at::kByte).view({1, 3, 4, 6});
  const Dataset data(pixels, at::zeros({1}, at::kLong), 2);
  auto view = plain_view(0);
  view[0] = 3, view[1] = 1, view[2] = 3, view[3] = 3;
  const auto cut = pixels.narrow(2, 1, 3).narrow(3, 3, 3).to(at::kFloat).div(255.f);
  EXPECT_CLOSE(gather_views(data, at::zeros({1}, at::kLong), views_of({view})),
               at::upsample_bilinear2d(cut, {4, 6}, /*align_corners=*/false), 1e-5);
}

CASE("views", "each row of a batch has a view of its own, and values stay in range") {
  const auto data = test::made_dataset(6, 3, 4, 8);
  const auto rows = at::tensor({5, 5, 2}, at::kLong);
  Stream stream(8);
  const auto views = draw_views(3, 8, 8, {}, stream);
  const auto together = gather_views(data, rows, views);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_CLOSE(together.narrow(0, i, 1), gather_views(data, rows.narrow(0, i, 1), views.narrow(0, i, 1)), 1e-6);
  }
  EXPECT(!at::allclose(together[0], together[1]));
  EXPECT(together.min().item<float>() >= 0 && together.max().item<float>() <= 1);
}

CASE("views", "brightness and contrast come before saturation") {
  const auto data = test::made_dataset(1, 1, 4, 6);
  const auto rows = at::zeros({1}, at::kLong);
  auto view = plain_view(6);
  view[5] = 1.3f, view[6] = 0.7f;
  const auto matrix = colour_matrix(0.6, 0.05, false);
  std::copy(matrix.begin(), matrix.end(), view.begin() + 7);
  const auto lit = adjust_colour(gather(data, rows), at::tensor({1.3f}), at::tensor({0.7f}));
  const auto mixing = at::tensor(std::vector<double>(matrix.begin(), matrix.end())).view({3, 3}).to(at::kFloat);
  EXPECT_CLOSE(gather_views(data, rows, views_of({view})), at::einsum("ij,njhw->nihw", {mixing, lit}).clamp(0, 1), 1e-5);
}

CASE("views", "saturation and hue keep the luma; full saturation and no turn change nothing") {
  const std::vector<double> luma = {0.299, 0.587, 0.114}, colour = {0.9, 0.2, 0.5};
  EXPECT_CLOSE(applied(colour_matrix(1, 0, false), colour), at::tensor(colour), 1e-12);
  EXPECT_CLOSE(applied(colour_matrix(1, 1, false), colour), at::tensor(colour), 1e-12);  // a full circle
  const double own = at::tensor(colour).dot(at::tensor(luma)).item<double>();
  for (const auto& matrix : {colour_matrix(0.6, 0, false), colour_matrix(1.4, 0.1, false), colour_matrix(1, -0.3, false)}) {
    EXPECT_NEAR(applied(matrix, colour).dot(at::tensor(luma)).item<double>(), own, 1e-12);
    EXPECT_CLOSE(applied(matrix, {0.4, 0.4, 0.4}), at::tensor({0.4, 0.4, 0.4}).to(at::kDouble), 1e-12);  // grey stays grey
  }
  EXPECT_CLOSE(applied(colour_matrix(0.5, 0, false), colour), at::tensor(colour).mul(0.5).add(own / 2), 1e-12);
  for (const auto& grey : {colour_matrix(1.3, 0.1, true), colour_matrix(0, 0.2, false)}) {
    EXPECT_CLOSE(applied(grey, colour), at::full({3}, own, at::kDouble), 1e-12);
  }
  // A turn there and back; a third of the circle moves a colour elsewhere.
  const auto there = applied(colour_matrix(1, 0.08, false), colour);
  const std::vector<double> moved(there.data_ptr<double>(), there.data_ptr<double>() + 3);
  EXPECT_CLOSE(applied(colour_matrix(1, -0.08, false), moved), at::tensor(colour), 1e-12);
  EXPECT(!at::allclose(applied(colour_matrix(1, 1.0 / 3, false), colour), at::tensor(colour), 0.1, 0.1));
}

CASE("views", "draws stay in their ranges and fill them") {
  Stream stream(3);
  const int64_t count = 4000;
  const auto views = draw_views(count, 32, 32, {}, stream);
  const auto column = [&](int64_t index) { return views.select(1, index); };
  const auto area = column(2) * column(3) / 1024, ratio = column(2) / column(3);
  EXPECT(area.min().item<double>() > 0.17 && area.min().item<double>() < 0.23);  // sides are whole pixels
  EXPECT(area.max().item<double>() > 0.97 && area.max().item<double>() <= 1);
  EXPECT(ratio.min().item<double>() > 0.68 && ratio.max().item<double>() < 1.47);
  for (const int64_t side : {0, 1}) {
    EXPECT(column(side).min().item<double>() == 0);
    EXPECT((column(side) + column(side + 2)).max().item<double>() == 32);
    EXPECT((column(side) + column(side + 2)).min().item<double>() < 20);
  }
  EXPECT_NEAR(column(4).mean().item<double>(), 0.5, 0.03);
  for (const int64_t factor : {5, 6}) {
    EXPECT(column(factor).min().item<double>() >= 0.6 && column(factor).min().item<double>() < 0.61);
    EXPECT(column(factor).max().item<double>() <= 1.4 && column(factor).max().item<double>() > 1.39);
    EXPECT_NEAR(column(factor).eq(1).to(at::kDouble).mean().item<double>(), 0.2, 0.03);
  }
  // Grey rows have three equal rows in their matrix.
  const auto grey = column(7).eq(column(10)).logical_and(column(8).eq(column(11)));
  EXPECT_NEAR(grey.to(at::kDouble).mean().item<double>(), 0.2, 0.03);
}

CASE("views", "what is switched off leaves the image as it is, and moves no other draw") {
  ViewOptions options;
  options.smallest_crop = 1;
  options.jitter_probability = options.grey_probability = 0;
  options.flip = false;
  Stream stream(4), same(4), other(4);
  const auto data = test::made_dataset(8, 4, 2, 9);
  const auto rows = at::arange(8, at::kLong);
  EXPECT_CLOSE(gather_views(data, rows, draw_views(8, 9, 9, options, stream)), gather(data, rows), 1e-5);
  const auto all = draw_views(8, 9, 9, {}, same);
  options = {};
  options.flip = false;
  const auto straight = draw_views(8, 9, 9, options, other);
  EXPECT_EQUAL(straight.select(1, 4).sum().item<double>(), 0.0);
  EXPECT_SAME(straight.narrow(1, 5, 11), all.narrow(1, 5, 11));
  EXPECT_SAME(straight.narrow(1, 0, 4), all.narrow(1, 0, 4));
}

CASE("views", "crops of thin images fit") {
  Stream stream(6);
  const auto views = draw_views(300, 2, 40, {}, stream);
  EXPECT((views.select(1, 0) + views.select(1, 2)).max().item<double>() <= 40);
  EXPECT((views.select(1, 1) + views.select(1, 3)).max().item<double>() <= 2);
  EXPECT(views.narrow(1, 2, 2).min().item<double>() >= 1);
}

CASE("views", "refuses images without three channels") {
  const auto data = test::made_dataset(2, 2, 2, 6, /*channels=*/1);
  EXPECT_ERROR(gather_views(data, at::zeros({1}, at::kLong), views_of({plain_view(6)})), "ERR_DATA",
               "3 channels, got 1");
}

}  // namespace padft
