// The scores of one pixel, class by class, computed on the fly.
#pragma once

#include "../upcrop_math.h"

namespace fcn {

// Arguments of the reducing kernels: x is (batch, classes, y.in, x_axis.in), dense
template <typename Acc>
struct Source {
  const Acc *x, *taps_y, *taps_x;
  Axis y, x_axis;
  int64_t batch, classes;
};

// subpixel and sources with 32-bit divisions; callers of the launchers check is_short
__device__ __forceinline__ Subpixel short_subpixel(const Axis& axis, int64_t o) {
  const uint32_t u = static_cast<uint32_t>(o + axis.shift), s = static_cast<uint32_t>(axis.stride);
  return Subpixel{u / s, u % s};
}

__device__ __forceinline__ Span short_sources(const Axis& axis, int64_t o) {
  const uint32_t u = static_cast<uint32_t>(o + axis.shift), s = static_cast<uint32_t>(axis.stride);
  const uint32_t k = static_cast<uint32_t>(axis.k), end = u / s + 1;
  return span(u < k ? 0 : (u - k) / s + 1, end < axis.in ? end : axis.in);
}

// pairs: k = 2 * stride on both axes, so four inputs with fixed weights for all classes
template <bool pairs, typename Acc>
struct PixelScore {
  const Source<Acc>& from;
  int64_t image, plane, oy, ox;
  Span rows, cols;
  int64_t at[4];
  Acc weight_y[2], weight_x[2];

  __device__ __forceinline__ PixelScore(const Source<Acc>& from, int64_t n, int64_t oy, int64_t ox)
      : from(from), plane(from.y.in * from.x_axis.in), oy(oy), ox(ox) {
    image = n * from.classes * plane;
    if constexpr (pairs) {
      find_inputs();
    } else {
      rows = short_sources(from.y, oy);
      cols = short_sources(from.x_axis, ox);
    }
  }

  __device__ __forceinline__ void find_inputs() {
    const Subpixel py = short_subpixel(from.y, oy), px = short_subpixel(from.x_axis, ox);
    weight_y[0] = from.taps_y[py.phase + from.y.stride];
    weight_y[1] = from.taps_y[py.phase];
    weight_x[0] = from.taps_x[px.phase + from.x_axis.stride];
    weight_x[1] = from.taps_x[px.phase];
    for (int a = 0; a < 2; ++a)
      for (int b = 0; b < 2; ++b) {
        const int64_t i = py.i - 1 + a, j = px.i - 1 + b;
        const bool inside = i >= 0 && i < from.y.in && j >= 0 && j < from.x_axis.in;
        at[a * 2 + b] = inside ? i * from.x_axis.in + j : -1;
      }
  }

  __device__ __forceinline__ Acc operator()(int64_t c) const {
    const Acc* x = from.x + image + c * plane;
    if constexpr (pairs) {
      Acc v[4];
      for (int q = 0; q < 4; ++q) v[q] = at[q] >= 0 ? x[at[q]] : Acc(0);
      return weight_y[0] * (weight_x[0] * v[0] + weight_x[1] * v[1]) +
             weight_y[1] * (weight_x[0] * v[2] + weight_x[1] * v[3]);
    } else {
      Acc sum = 0;
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        Acc row = 0;
        for (int64_t j = cols.begin; j < cols.end; ++j)
          row += from.taps_x[tap(from.x_axis, ox, j)] * x[i * from.x_axis.in + j];
        sum += from.taps_y[tap(from.y, oy, i)] * row;
      }
      return sum;
    }
  }
};

// Whether 32-bit divisions suffice for an axis
inline bool is_short(const Axis& axis) {
  return axis.out + axis.shift + axis.k <= int64_t(0x7fffffff);
}

template <typename Acc>
bool all_pairs(const Source<Acc>& s) {
  return s.y.k == 2 * s.y.stride && s.x_axis.k == 2 * s.x_axis.stride;
}

}  // namespace fcn
