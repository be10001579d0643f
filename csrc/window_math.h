// Gaussian kernels between the pixels of a window: how alike two pixels are. Shared by host and
// device, so it includes nothing of ATen or c10.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace fcn {

constexpr int kMostWindowKernels = 8;

// weight * exp(-place * distance² - colour * difference²); with a factor of 0 that has no part
template <typename Acc>
struct WindowKernel {
  Acc weight, place, colour;
};

template <typename Acc>
struct WindowKernels {
  WindowKernel<Acc> each[kMostWindowKernels];
  int count;
  bool coloured;  // whether any has a factor of colour
};

// Exponent of a kernel, at most 0, for the squared distance in pixels and the squared difference of
// colour. A factor of 0 leaves its term out, infinite or NaN as that may be.
template <typename Acc>
FCN_HD Acc window_exponent(const WindowKernel<Acc>& kernel, Acc distance, Acc difference) {
  const Acc place = kernel.place > 0 ? kernel.place * distance : Acc(0);
  return -(kernel.colour > 0 ? place + kernel.colour * difference : place);
}

// The cells [begin, end) of an axis of `cells` that are at most `radius` cells from one
struct WindowSpan {
  int64_t begin, end;
};

FCN_HD WindowSpan window_span(int64_t cell, int64_t radius, int64_t cells) {
  const int64_t left = cell < radius ? cell : radius;
  const int64_t right = cells - 1 - cell < radius ? cells - 1 - cell : radius;
  return WindowSpan{cell - left, cell + right + 1};
}

}  // namespace fcn
