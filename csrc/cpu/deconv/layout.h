// Tensors in the order in which the general deconvolution reads them.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "../../dense.h"
#include "subpixel.h"

namespace fcn {

// to[c][r] = from[r][c]; a few rows at once stay in the first cache
template <typename T>
void turn(const T* __restrict__ from, int64_t from_row, int64_t rows, int64_t cols,
          T* __restrict__ to, int64_t to_row) {
  for (int64_t r = 0; r < rows; r += 16, from += 16 * from_row, to += 16)
    for_run(std::min<int64_t>(16, rows - r), [=](auto n) __attribute__((always_inline)) {
      for (int64_t c = 0; c < cols; ++c)
        for (int64_t i = 0; i < n; ++i) to[c * to_row + i] = from[i * from_row + c];
    });
}

// A copy of x (N, H, W, C) with the numbers of a channel one beside the other (planes) or those of a
// pixel. torch's own takes several times as long.
template <typename T>
at::Tensor turned(const at::Tensor& x, bool planes) {
  const int64_t height = x.size(1), width = x.size(2), channels = x.size(3);
  const at::Tensor result =
      planes ? at::empty({x.size(0), channels, height, width}, x.options()).permute({0, 2, 3, 1})
             : at::empty(x.sizes(), x.options());
  if (x.stride(planes ? 3 : 2) != 1 || !is_aligned(x)) return result.copy_(x);
  const T* from = x.const_data_ptr<T>();
  T* to = result.mutable_data_ptr<T>();
  at::parallel_for(0, x.size(0) * height, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t image = t / height, y = t % height;
      const T* line = from + image * x.stride(0) + y * x.stride(1);
      T* into = to + image * result.stride(0) + y * result.stride(1);
      planes ? turn(line, x.stride(2), width, channels, into, result.stride(3))
             : turn(line, x.stride(3), channels, width, into, channels);
    }
  });
  return result;
}

// The gradients dense in the format of the result
template <typename T>
at::Tensor gradients(const Phases& p, const at::Tensor& grad) {
  const auto format = p.last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  if (grad.is_contiguous(format)) return dense(grad, format);
  return turned<T>(grad.permute({0, 2, 3, 1}), !p.last).permute({0, 3, 1, 2});
}

}  // namespace fcn
