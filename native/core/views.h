// The views that contrastive learning compares: crops of random size, mirrors and colours, drawn on the host for a whole
// epoch and made on the device batch by batch.
#pragma once

#include <ATen/ATen.h>

#include <array>

#include "dataset.h"
#include "random.h"

namespace padft {

/// SimCLR's augmentation for small images (Chen et al., ICML 2020, appendix B.9), which blurs nothing.
struct ViewOptions {
  double smallest_crop = 0.2;       ///< share of the image's area that a crop shows at least, in (0, 1]
  double jitter = 0.4;              ///< factors of brightness, contrast and saturation are U[1 − jitter, 1 + jitter]
  double hue = 0.1;                 ///< colours turn by U[−hue, hue] of a full circle
  double jitter_probability = 0.8;
  double grey_probability = 0.2;
  bool flip = true;                 ///< mirrors with probability 1/2
};

/// Columns of a view: the crop's left edge, top, width and height in pixels, 1 when mirrored, factors of brightness and
/// contrast, and the 3×3 matrix, row by row, that changes the colours then.
constexpr int64_t kViewColumns = 16;

/// float32 [count, kViewColumns] on the host: one view an image of this size. A crop has the area U[smallest, 1] and the
/// ratio 3/4 … 4/3, uniform in its logarithm, and is the whole image after ten that do not fit. Everything is drawn
/// whether it is used or not, so that one choice never moves another.
at::Tensor draw_views(int64_t count, int64_t height, int64_t width, const ViewOptions& options, Stream& stream);

/// What saturation, a turn of the hue by `turn` of a full circle, and then grey make of a colour: a 3×3 matrix, row by row.
///
/// torchvision jitters in random order, turns the hue in HSV and clamps after each step. Here the order is fixed, hue is a
/// rotation about the grey axis in YIQ, which keeps the luma, and values are clamped
/// after brightness, after contrast and after this matrix.
std::array<double, 9> colour_matrix(double saturation, double turn, bool grey);

/// Row `rows[i]` seen as `views[i]` ([B, kViewColumns], on the data's device) → float32 [B, 3, H, W] in [0, 1],
/// channels-last. The crop is enlarged bilinearly to the image's size, unrounded. ERR_DATA unless images have 3 channels.
at::Tensor gather_views(const Dataset& data, const at::Tensor& rows, const at::Tensor& views);

}  // namespace padft
