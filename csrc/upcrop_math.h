// Deconvolution and crop in one step: which inputs feed an output, which outputs an input feeds,
// and with which tap. Shared by host and device, so it includes nothing of ATen or c10.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace fcn {

// One axis. Input i adds x[i] * taps[t] to cell i * stride + t of the uncropped, unpadded
// deconvolution; output o is cell o + shift of it, with shift = crop offset + deconvolution pad.
struct Axis {
  int64_t in, out;    // cells
  int64_t k, stride;  // taps, cells
  int64_t shift;      // cells
};

struct Span {
  int64_t begin, end;  // [begin, end), empty when begin == end
};

FCN_HD Span span(int64_t begin, int64_t end) {
  return Span{begin, begin < end ? end : begin};
}

// The inputs that feed output o: ceil((u - k + 1) / stride) .. floor(u / stride), clamped.
FCN_HD Span sources(const Axis& axis, int64_t o) {
  const int64_t u = o + axis.shift;
  const int64_t first = u < axis.k ? 0 : (u - axis.k) / axis.stride + 1;
  const int64_t end = u / axis.stride + 1;
  return span(first, end < axis.in ? end : axis.in);
}

// The outputs that input i feeds: i * stride - shift .. + k - 1, clamped.
FCN_HD Span targets(const Axis& axis, int64_t i) {
  const int64_t first = i * axis.stride - axis.shift;
  const int64_t end = first + axis.k;
  return span(first > 0 ? first : 0, end < axis.out ? end : axis.out);
}

// The tap between output o and input i of its sources.
FCN_HD int64_t tap(const Axis& axis, int64_t o, int64_t i) {
  return o + axis.shift - i * axis.stride;
}

// Sub-pixel position of an output: cell u = o + shift of the deconvolution lies `phase` cells after
// input `i`, so inputs i, i - 1, ... feed it with taps phase, phase + stride, ...
struct Subpixel {
  int64_t i, phase;
};

FCN_HD Subpixel subpixel(const Axis& axis, int64_t o) {
  const int64_t u = o + axis.shift;
  return Subpixel{u / axis.stride, u % axis.stride};
}

// One output of the forward pass. x is one image plane, `inner` elements apart from cell to cell
// (1, or the channels when they come last), already moved to the channel wanted.
template <typename Acc, typename T>
FCN_HD Acc output_at(const T* x, const Acc* taps_y, const Acc* taps_x, const Axis& ay,
                     const Axis& ax, int64_t inner, int64_t oy, int64_t ox) {
  const Span rows = sources(ay, oy), cols = sources(ax, ox);
  Acc sum = 0;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    Acc row = 0;
    for (int64_t j = cols.begin; j < cols.end; ++j)
      row += taps_x[tap(ax, ox, j)] * widen(x[(i * ax.in + j) * inner]);
    sum += taps_y[tap(ay, oy, i)] * row;
  }
  return sum;
}

// One input's gradient: the same sum seen from the other end, so a gather as well.
template <typename Acc, typename T>
FCN_HD Acc gradient_at(const T* grad, const Acc* taps_y, const Acc* taps_x, const Axis& ay,
                       const Axis& ax, int64_t inner, int64_t i, int64_t j) {
  const Span rows = targets(ay, i), cols = targets(ax, j);
  Acc sum = 0;
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    Acc row = 0;
    for (int64_t x = cols.begin; x < cols.end; ++x)
      row += taps_x[tap(ax, x, j)] * widen(grad[(y * ax.out + x) * inner]);
    sum += taps_y[tap(ay, y, i)] * row;
  }
  return sum;
}

}  // namespace fcn
