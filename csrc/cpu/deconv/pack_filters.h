// Packing of the deconvolution's filters into operands of `gemm`, and back. Free of ATen.
#pragma once

#include <vector>

#include "subpixel.h"

namespace fcn {

// View of filters (group, taps_y, taps_x, in, stride_y, a, b): a and b are out and stride_x, in the
// order of a block's elements in the result (stride_x, out for channels_last)
template <typename T>
struct FilterView {
  const T* data;
  const int64_t* step;
  int64_t a, b;
  const T* at(int64_t g, int64_t tap_y, int64_t tap_x, int64_t in, int64_t phase) const {
    return data + g * step[0] + tap_y * step[1] + tap_x * step[2] + in * step[3] + phase * step[4];
  }
};

template <typename T>
void copy_run(const T* __restrict__ from, int64_t step, int64_t count, T* __restrict__ to) {
  if (step != 1)
    for (int64_t i = 0; i < count; ++i) to[i] = from[i * step];
  else
    for_run(count, [=](auto n) __attribute__((always_inline)) {
      for (int64_t i = 0; i < n; ++i) to[i] = from[i];
    });
}

// Operand B of the forward product, (patch, row_size) for each phase row; packs a range of all rows
template <typename T>
void pack_forward(const SubpixelShape& p, const FilterView<T>& filters, Range range, T* packed) {
  const Panels<T> panels{p.patch_size(), p.row_size()};
  std::vector<T> row(panels.width() + kPanel<T>);
  const bool dense = filters.step[5] == filters.b * filters.step[6];
  const int64_t runs = dense ? 1 : filters.a, run = p.row_size() / runs;
  for (int64_t i = range.begin; i < range.end; ++i) {
    const int64_t phase_row = i / panels.rows, k = i % panels.rows, tap = k / p.in;
    const T* from = filters.at(phase_row / p.y.stride, p.y.taps - 1 - tap / p.x.taps,
                               p.x.taps - 1 - tap % p.x.taps, k % p.in, phase_row % p.y.stride);
    for (int64_t a = 0; a < runs; ++a)
      copy_run(from + a * filters.step[5], filters.step[6], run, row.data() + a * run);
    T* to = packed + phase_row * panels.size() + k * kPanel<T>;
    for (int64_t j = 0; j < panels.cols; j += kPanel<T>, to += panels.panel_size())
      std::memcpy(to, row.data() + j, kPanel<T> * sizeof(T));
  }
}

// Operand B of the input's gradient, (taps_x * row_size, taps_y * in) for each phase row; packs a
// range of (phase row, tap along x)
template <typename T>
void pack_input_gradient(const SubpixelShape& p, const FilterView<T>& filters, Range range,
                         T* packed) {
  const Panels<T> panels{p.x.taps * p.row_size(), p.y.taps * p.in};
  for (int64_t i = range.begin; i < range.end; ++i) {
    const int64_t phase_row = i / p.x.taps, tap = i % p.x.taps;
    T* to = packed + phase_row * panels.size();
    for (int64_t j = 0; j < filters.a; ++j)  // few rows at once: they are far apart in memory
      for (int64_t col = 0; col < panels.width(); ++col) {
        const int64_t a = col / p.in, k = col % p.in;
        T* __restrict__ column = to + panels.at(tap * p.row_size() + j * filters.b, col);
        if (col >= panels.cols) {
          for (int64_t l = 0; l < filters.b; ++l) column[l * kPanel<T>] = 0;
          continue;
        }
        const T* __restrict__ from =
            filters.at(phase_row / p.y.stride, p.y.taps - 1 - a, tap, k, phase_row % p.y.stride) +
            j * filters.step[5];
        for (int64_t l = 0; l < filters.b; ++l) column[l * kPanel<T>] = from[l * filters.step[6]];
      }
  }
}

// The filters' gradient of input channel g * in + k, as (out, taps_y, stride_y, taps_x, stride_x):
// the sum of `count` parts (phase rows, patch, pitch), in their order
template <typename T>
void unpack_filter_gradient(const SubpixelShape& p, const T* parts, int64_t count, int64_t pitch,
                            int64_t channel, T* result) {
  const int64_t part_size = p.phase_rows() * p.patch_size() * pitch, width = p.x.taps * p.x.stride;
  const int64_t height = p.y.taps * p.y.stride, g = channel / p.in, k = channel % p.in;
  const int64_t step_c = p.channels_last ? 1 : p.x.stride, step_x = p.channels_last ? p.out : 1;
  T* __restrict__ out = result + channel * p.out * height * width;
  for (int64_t v = 0; v < height; ++v)
    for (int64_t tap = 0; tap < p.x.taps; ++tap) {
      const int64_t row = ((p.y.taps - 1 - v / p.y.stride) * p.x.taps + p.x.taps - 1 - tap) * p.in;
      const int64_t phase_row = g * p.y.stride + v % p.y.stride;
      const T* __restrict__ from = parts + (phase_row * p.patch_size() + row + k) * pitch;
      for (int64_t c = 0; c < p.out; ++c) {
        T* __restrict__ to = out + (c * height + v) * width + tap * p.x.stride;
        copy_run(from + c * step_c, step_x, p.x.stride, to);
        for (int64_t s = 1; s < count; ++s)
          for (int64_t x = 0; x < p.x.stride; ++x)
            to[x] += from[s * part_size + c * step_c + x * step_x];
      }
    }
}

}  // namespace fcn
