// Geometry of the sub-pixel deconvolution (deconv.cpp), and the copies between rows of blocks and
// images. Free of ATen.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "../gemm/micro_kernel.h"

namespace fcn {

constexpr int64_t kReduction = 48 * 1024;  // elements of the gradient that one product reduces over
constexpr int64_t kRowBatch = 8;     // rows of blocks that share the cached filters of a phase row
constexpr int64_t kEdgeBlocks = 13;  // blocks at either end of a row: one tile of the micro-kernel
constexpr int64_t kMaxParts = 8;     // parts that the gradient of few filters is split into

struct Range {
  int64_t begin, end;
};

// One axis: block q holds the `stride` outputs from q * stride - lead on and reads inputs q ..
// q + taps - 1, input q + i with tap taps - 1 - i of each phase
struct BlockAxis {
  int64_t count, stride, taps, lead, out;
  int64_t inputs() const { return count + taps - 1; }
  int64_t output(int64_t block, int64_t phase) const { return block * stride - lead + phase; }
  bool contains(int64_t output) const { return output >= 0 && output < out; }  // after the crop
  // The blocks of a range whose output at that phase lies within the crop
  Range inside(Range range, int64_t phase) const {
    return {std::max<int64_t>(range.begin, phase < lead),
            std::min(range.end, (out + lead - phase + stride - 1) / stride)};
  }
};

struct SubpixelShape {
  BlockAxis y, x;
  int64_t images, group, in, out;  // in, out: channels of one group
  bool channels_last;              // layout of the result; only with one group

  int64_t block_rows() const { return images * y.count; }
  int64_t phase_rows() const { return group * y.stride; }  // indexed g * stride + r
  int64_t patch_size() const { return y.taps * x.taps * in; }
  int64_t row_size() const { return out * x.stride; }      // outputs of a block at a phase row
  int64_t run_size() const { return x.stride * inner(); }  // contiguous outputs of a block
  int64_t line_size() const { return x.out * inner(); }    // of a line of the result
  int64_t inner() const { return channels_last ? out : 1; }

  // Whether to use the planar layout: few outputs per block, and blocks fill vectors better
  bool planar() const {
    return !channels_last && row_size() < 64 && fill(row_size()) < fill(x.count);
  }
  static double fill(int64_t n) { return n / double((n + 15) / 16 * 16); }
};

// A matrix packed as operand B of `gemm`: column panels, each row-major
template <typename T>
struct Panels {
  int64_t rows, cols;
  int64_t width() const { return (cols + kVector<T> - 1) / kVector<T> * kVector<T>; }
  int64_t panel_size() const { return rows * kPanel<T>; }
  int64_t size() const { return (cols + kPanel<T> - 1) / kPanel<T> * panel_size(); }
  int64_t at(int64_t row, int64_t col) const {
    return col / kPanel<T> * panel_size() + row * kPanel<T> + col % kPanel<T>;
  }
};

// Call f with `count`, as a compile-time constant where it is a stride of FCN nets
template <typename F>
FCN_INLINE void for_run(int64_t count, F f) {
  switch (count) {
    case 2: return f(std::integral_constant<int64_t, 2>());
    case 4: return f(std::integral_constant<int64_t, 4>());
    case 8: return f(std::integral_constant<int64_t, 8>());
    case 16: return f(std::integral_constant<int64_t, 16>());
    case 32: return f(std::integral_constant<int64_t, 32>());
    default: return f(count);
  }
}

// Call move(block, column, element) for every output of a row of blocks at one phase row that lies
// within the crop: its block, its index within the block's row_size(), and its index in the result.
// The outputs form one line of the result in channels_last, one line per channel otherwise.
template <typename F>
FCN_INLINE void for_each_output(const SubpixelShape& p, int64_t g, int64_t image, int64_t y,
                                F move) {
  const int64_t run = p.run_size(), line = p.line_size(), lines = p.row_size() / run;
  const int64_t start = -p.x.lead * (run / p.x.stride), first = start < 0;
  const int64_t full = std::max(first, (line - start) / run);
  for (int64_t c = 0; c < lines; ++c) {
    const int64_t to = ((image * p.group * lines + g * lines + c) * p.y.out + y) * line + start;
    const auto edge = [=](int64_t b) __attribute__((always_inline)) {
      const int64_t end = std::min(run, line - start - b * run);
      for (int64_t i = b ? 0 : -start; i < end; ++i) move(b, c * run + i, to + b * run + i);
    };
    if (first) edge(0);
    for_run(run, [=](auto n) __attribute__((always_inline)) {
      for (int64_t b = first; b < full; ++b)
        for (int64_t i = 0; i < n; ++i) move(b, c * n + i, to + b * n + i);
    });
    if (full < p.x.count) edge(full);
  }
}

// Offset in a row of blocks: interleaved (block-major) or planar (column-major)
template <bool planar>
FCN_INLINE int64_t block_offset(int64_t block, int64_t column, int64_t pitch) {
  return planar ? column * pitch + block : block * pitch + column;
}

// Copy a row of blocks to the result, plus `bias` (row_size values)
template <bool planar, typename T, typename Acc>
void scatter(const SubpixelShape& p, int64_t g, int64_t image, int64_t y,
             const Acc* __restrict__ blocks, int64_t pitch, const Acc* __restrict__ bias,
             T* __restrict__ result) {
  for_each_output(
      p, g, image,
      y, [=](int64_t block, int64_t column, int64_t element) __attribute__((always_inline)) {
        result[element] =
            static_cast<T>(blocks[block_offset<planar>(block, column, pitch)] + bias[column]);
      });
}

// Copy the gradient of the result to a row of blocks; elements outside the crop stay as they are
template <bool planar, typename T, typename Acc>
void gather(const SubpixelShape& p, int64_t g, int64_t image, int64_t y, const T* __restrict__ grad,
            Acc* __restrict__ blocks, int64_t pitch) {
  for_each_output(
      p, g, image,
      y, [=](int64_t block, int64_t column, int64_t element) __attribute__((always_inline)) {
        blocks[block_offset<planar>(block, column, pitch)] = static_cast<Acc>(grad[element]);
      });
}

// Gradient of input row i: add the dense_gradient of the patches that read it, in a fixed order.
// `grads` holds `size` elements per group and row of blocks, that of (x, tap_y, channel) at x *
// step + (tap_y * in + channel) * step_k.
template <typename Acc>
void col2im_row(const SubpixelShape& p, const Acc* grads, int64_t size, int64_t step,
                int64_t step_k, int64_t image, int64_t i, Acc* result) {
  const int64_t channels = p.group * p.in, cells = p.x.inputs(), plane = p.y.inputs() * cells;
  for (int64_t g = 0; g < p.group; ++g) {
    Acc* __restrict__ out = result + image * channels * plane +
                            (p.channels_last ? i * cells * channels : g * p.in * plane + i * cells);
    for (int64_t k = 0; k < (p.channels_last ? 1 : p.in); ++k)
      std::fill_n(out + k * plane, p.channels_last ? cells * channels : cells, Acc(0));
    for (int64_t a = std::max<int64_t>(0, i - p.y.count + 1); a < std::min(p.y.taps, i + 1); ++a) {
      const Acc* __restrict__ from =
          grads + ((g * p.images + image) * p.y.count + i - a) * size + a * p.in * step_k;
      if (p.channels_last)  // one group
        for (int64_t j = 0; j < cells; ++j)
          for (int64_t k = 0; k < p.in; ++k) out[j * channels + k] += from[j * step + k];
      else
        for (int64_t k = 0; k < p.in; ++k)
          for (int64_t j = 0; j < cells; ++j) out[k * plane + j] += from[k * step_k + j * step];
    }
  }
}

}  // namespace fcn
