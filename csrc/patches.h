// The unrolled windows of a convolution and their adjoint: checked arguments and allocated results,
// shared by the backends.
#pragma once

#include <ATen/core/Tensor.h>

#include "patches_math.h"

namespace fcn {

struct Patches {
  at::Tensor source, result;  // dense; an image in channels_last, windows contiguous
  Windows windows;
};

// source is an image (N, C, H, W), result its windows (N, rows, columns, k_y * k_x * C)
Patches prepare_patches(const at::Tensor& x, at::IntArrayRef kernel, at::IntArrayRef pad);

// source is windows, result the image whose values are the sums of what the windows hold of them
Patches prepare_sums(const at::Tensor& windows, at::IntArrayRef kernel, at::IntArrayRef pad);

}  // namespace fcn
