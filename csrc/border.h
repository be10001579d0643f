// Repetition of border cells: checked arguments and allocated results, shared by the backends.
#pragma once

#include <ATen/core/Tensor.h>

#include "border_math.h"

namespace fcn {

struct RepeatBorder {
  at::Tensor source;          // as given
  at::Tensor result;          // dense in `format`, not yet written
  at::MemoryFormat format;    // of the source, if that is dense
  Border rows, columns;
  int64_t planes, inner;      // N * C planes with 1, or N planes with C values per cell
};

// Forward: source is (N, C, H, W), result has 2 * count more rows and columns.
RepeatBorder prepare_border(const at::Tensor& x, at::IntArrayRef rows, at::IntArrayRef columns);

// Backward: source is the gradient of the forward's result, result of its source.
RepeatBorder prepare_border_backward(const at::Tensor& grad, at::IntArrayRef rows,
                                     at::IntArrayRef columns);

}  // namespace fcn
