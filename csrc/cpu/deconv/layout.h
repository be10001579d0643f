// Conversion between planar (N, C, H, W) and interleaved (channels-last) memory, blocked for the
// cache.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "../../dense.h"
#include "subpixel.h"

namespace fcn {

// to[c][r] = from[r][c], 16 rows at a time, which stay in the L1 cache
template <typename T>
void transpose(const T* __restrict__ from, int64_t from_row, int64_t rows, int64_t cols,
               T* __restrict__ to, int64_t to_row) {
  for (int64_t r = 0; r < rows; r += 16, from += 16 * from_row, to += 16)
    for_run(std::min<int64_t>(16, rows - r), [=](auto n) __attribute__((always_inline)) {
      for (int64_t c = 0; c < cols; ++c)
        for (int64_t i = 0; i < n; ++i) to[c * to_row + i] = from[i * from_row + c];
    });
}

// A copy of x (N, H, W, C) in planar or interleaved memory; several times as fast as Tensor.copy_
template <typename T>
at::Tensor relayout(const at::Tensor& x, bool planar) {
  const int64_t height = x.size(1), width = x.size(2), channels = x.size(3);
  const at::Tensor result =
      planar ? at::empty({x.size(0), channels, height, width}, x.options()).permute({0, 2, 3, 1})
             : at::empty(x.sizes(), x.options());
  if (x.stride(planar ? 3 : 2) != 1 || !is_aligned(x)) return result.copy_(x);
  const T* from = x.const_data_ptr<T>();
  T* to = result.mutable_data_ptr<T>();
  at::parallel_for(0, x.size(0) * height, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t image = t / height, y = t % height;
      const T* line = from + image * x.stride(0) + y * x.stride(1);
      T* into = to + image * result.stride(0) + y * result.stride(1);
      planar ? transpose(line, x.stride(2), width, channels, into, result.stride(3))
             : transpose(line, x.stride(3), channels, width, into, channels);
    }
  });
  return result;
}

// The gradient of the result, dense in the format of the result
template <typename T>
at::Tensor dense_gradient(const SubpixelShape& p, const at::Tensor& grad) {
  const auto format =
      p.channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  if (grad.is_contiguous(format)) return dense(grad, format);
  return relayout<T>(grad.permute({0, 2, 3, 1}), !p.channels_last).permute({0, 3, 1, 2});
}

}  // namespace fcn
