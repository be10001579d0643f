// The fused upsample + crop: checked arguments and allocated results, shared by the backends.
#pragma once

#include <ATen/core/Tensor.h>

#include "upcrop_math.h"

namespace fcn {

// A window of the skip tensor, dense in the format of the source
struct Skip {
  at::Tensor values;      // undefined for no skip
  int64_t height, width;  // pixels of the skip tensor
  int64_t top, left;      // first pixel of the window
};

struct Upcrop {
  at::Tensor source;          // dense in `format`
  at::Tensor taps_y, taps_x;  // contiguous
  at::Tensor result;          // dense in the same format, not yet written
  Axis y, x;
  int64_t planes, inner;  // N * C planes with 1, or N planes with C values per pixel
  Skip skip = {};         // added by the forward pass
};

// Forward: source is (N, C, H, W), result is (N, C, *size).
Upcrop prepare_forward(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                       at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                       at::IntArrayRef size);

// Forward plus the window of skip (N, C, H', W') that starts at skip_offset.
Upcrop prepare_add(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                   at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                   at::IntArrayRef size, const at::Tensor& skip, at::IntArrayRef skip_offset);

// Backward: source is the gradient of the forward's result, result has spatial size in_size.
Upcrop prepare_backward(const at::Tensor& grad, const at::Tensor& taps_y,
                        const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad,
                        at::IntArrayRef offset, at::IntArrayRef in_size);

}  // namespace fcn
