// Schema and argument checks of filtering with Gaussian kernels in windows.
#include "window.h"

#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

#include "counts.h"
#include "dense.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def(
      "window_filter(Tensor values, Tensor image, Tensor rows, Tensor columns, float[] weights, "
      "float[] places, float[] colours, int radius, bool centre) -> Tensor");
}

namespace fcn {
namespace {

constexpr const char* kOp = "window_filter";
// Of a deviation: its half inverse square is then a normal float32, or 0 for infinity
constexpr double kLeastDeviation = 1e-18, kMostDeviation = 1e18;

// 1 / (2 deviation²)
double factor_of(const char* name, double deviation) {
  TORCH_CHECK_VALUE(deviation >= kLeastDeviation &&
                        (deviation <= kMostDeviation || std::isinf(deviation)),
                    kOp, ": ", name, " has a deviation of ", deviation, ", expected ",
                    kLeastDeviation, " to ", kMostDeviation, ", or infinity to leave it out.");
  return std::isinf(deviation) ? 0 : 0.5 / (deviation * deviation);
}

WindowKernels<double> kernels_of(at::ArrayRef<double> weights, at::ArrayRef<double> places,
                                 at::ArrayRef<double> colours) {
  const size_t count = weights.size();
  TORCH_CHECK_VALUE(count >= 1 && count <= kMostWindowKernels && places.size() == count &&
                        colours.size() == count, kOp, ": ", count, " weights, ", places.size(),
                    " places and ", colours.size(), " colours, expected as many of each, 1 to ",
                    kMostWindowKernels, ".");
  WindowKernels<double> kernels{.each = {}, .count = static_cast<int>(count), .coloured = false};
  for (size_t m = 0; m < count; ++m) {
    TORCH_CHECK_VALUE(std::isfinite(static_cast<float>(weights[m])), kOp, ": weights has ",
                      weights[m], ", expected finite numbers of float32.");
    kernels.each[m] = WindowKernel<double>{weights[m], factor_of("places", places[m]),
                                           factor_of("colours", colours[m])};
    kernels.coloured |= kernels.each[m].colour > 0;
  }
  return kernels;
}

void check_places(const char* name, const at::Tensor& places, const at::Tensor& values, int axis) {
  TORCH_CHECK_VALUE(places.dim() == 1 && places.size(0) == values.size(axis) &&
                        places.scalar_type() == values.scalar_type() &&
                        places.device() == values.device(),
                    kOp, ": ", name, " is ", places.scalar_type(), " of shape ", places.sizes(),
                    " on ", places.device(), ", expected ", values.scalar_type(), " of shape [",
                    values.size(axis), "] on ", values.device(), ".");
}

}  // namespace

WindowFilter prepare_window(const at::Tensor& values, const at::Tensor& image,
                            const at::Tensor& rows, const at::Tensor& columns,
                            at::ArrayRef<double> weights, at::ArrayRef<double> places,
                            at::ArrayRef<double> colours, int64_t radius, bool centre) {
  const auto type = values.scalar_type();
  TORCH_CHECK_VALUE(values.dim() == 4 && (type == at::kFloat || type == at::kDouble), kOp,
                    ": values is ", type, " of shape ", values.sizes(),
                    ", expected Float or Double of 4 axes (N, C, H, W).");
  TORCH_CHECK_VALUE(image.dim() == 4 && image.scalar_type() == type &&
                        image.device() == values.device(),
                    kOp, ": image is ", image.scalar_type(), " of shape ", image.sizes(), " on ",
                    image.device(), ", expected ", type, " of 4 axes (N, F, H, W) on ",
                    values.device(), ".");
  check_sizes(kOp, "values", values.sizes());
  check_sizes(kOp, "image", image.sizes());
  const int64_t n = values.size(0), c = values.size(1), h = values.size(2), w = values.size(3);
  TORCH_CHECK_VALUE(image.size(0) == n && image.size(2) == h && image.size(3) == w, kOp,
                    ": image has shape ", image.sizes(), ", values ", values.sizes(),
                    ". They must agree but for the channels.");
  check_product(kOp, {n, c, h, w});
  check_product(kOp, {n, image.size(1), h, w});
  check_places("rows", rows, values, 2);
  check_places("columns", columns, values, 3);
  TORCH_CHECK_VALUE(radius >= 0, kOp, ": radius is ", radius, ", expected at least 0.");
  const bool any = n && c && h && w;
  return WindowFilter{.values = any ? dense(values) : values,
                      .image = any ? dense(image) : image,
                      .rows = any ? dense(rows) : rows,
                      .columns = any ? dense(columns) : columns,
                      .result = at::zeros(values.sizes(), values.options()),
                      .kernels = kernels_of(weights, places, colours),
                      .radius = std::min(radius, std::max(h, w)),
                      .centre = centre};
}

}  // namespace fcn
