// What every backend of the fused op needs before its loops: checked arguments and memory.
#pragma once

#include <ATen/core/Tensor.h>

#include "upcrop_math.h"

namespace fcn {

// A window of a second tensor, dense in the format of the first
struct Skip {
  at::Tensor values;          // undefined where nothing is added
  int64_t height, width;      // cells
  int64_t top, left;          // first cell of the window
};

struct Upcrop {
  at::Tensor source;          // dense in `format`
  at::Tensor taps_y, taps_x;  // contiguous
  at::Tensor result;          // dense in the same format, not yet written
  Axis y, x;
  int64_t planes, inner;      // N * C planes of 1, or N planes of C values a cell
  Skip skip = {};             // what the forward pass adds
};

// Forward: source is (N, C, H, W), result is (N, C, *size).
Upcrop prepare_forward(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                       at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                       at::IntArrayRef size);

// Forward, and the window of skip (N, C, H', W') that starts at skip_offset to add to it.
Upcrop prepare_add(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                   at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                   at::IntArrayRef size, const at::Tensor& skip, at::IntArrayRef skip_offset);

// Backward: source is the gradient of the forward's result, result has the cells of in_size.
Upcrop prepare_backward(const at::Tensor& grad, const at::Tensor& taps_y,
                        const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad,
                        at::IntArrayRef offset, at::IntArrayRef in_size);

}  // namespace fcn
