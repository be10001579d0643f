// Max pooling: checked arguments and allocated results, shared by the backends.
#pragma once

#include <ATen/core/Tensor.h>

#include "pool_math.h"

namespace fcn {

struct Pool {
  at::Tensor source;      // dense
  at::Tensor result;      // dense in the same format, not yet written
  at::Tensor index;       // of Byte, in the windows' shape and that format; (0) if not wanted
  PoolAxis y, x;
  int64_t planes, inner;  // N * C planes with 1, or N planes with C values per cell
};

// Forward: source is (N, C, H, W), result is (N, C, *size), and index, if wanted, gets each
// window's first maximum in row order: a cell's row in the window times the kernel's width plus its
// column, both counted with the padding.
Pool prepare_pool(const at::Tensor& x, at::IntArrayRef kernel, at::IntArrayRef stride,
                  at::IntArrayRef pad, at::IntArrayRef size, bool index);

// Backward: source is the gradient of the forward's result, result has spatial size in_size.
Pool prepare_pool_backward(const at::Tensor& grad, const at::Tensor& index,
                           at::IntArrayRef kernel, at::IntArrayRef stride, at::IntArrayRef pad,
                           at::IntArrayRef in_size);

}  // namespace fcn
