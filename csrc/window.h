// Filtering with Gaussian kernels in windows: checked arguments and the allocated result, shared by
// the backends.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "window_math.h"

namespace fcn {

// Of float32 or float64. The arguments are dense where the result has values.
struct WindowFilter {
  at::Tensor values;         // (N, C, H, W)
  at::Tensor image;          // (N, F, H, W)
  at::Tensor rows, columns;  // (H), (W): the places of rows and columns, in pixels
  at::Tensor result;         // (N, C, H, W), zeros
  WindowKernels<double> kernels;
  int64_t radius;            // at most the larger side
  bool centre;               // whether a pixel is in its own window
};

WindowFilter prepare_window(const at::Tensor& values, const at::Tensor& image,
                            const at::Tensor& rows, const at::Tensor& columns,
                            at::ArrayRef<double> weights, at::ArrayRef<double> places,
                            at::ArrayRef<double> colours, int64_t radius, bool centre);

// The kernels in the type of the values
template <typename Acc>
WindowKernels<Acc> kernels_in(const WindowKernels<double>& from) {
  WindowKernels<Acc> to{.each = {}, .count = from.count, .coloured = from.coloured};
  for (int m = 0; m < from.count; ++m)
    to.each[m] = WindowKernel<Acc>{static_cast<Acc>(from.each[m].weight),
                                   static_cast<Acc>(from.each[m].place),
                                   static_cast<Acc>(from.each[m].colour)};
  return to;
}

}  // namespace fcn
