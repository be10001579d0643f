// The gradient of a convolution's ReLU and of its bias in one pass: checked arguments and allocated
// results, shared by the backends.
#pragma once

#include <ATen/core/Tensor.h>

namespace fcn {

struct ReluBackward {
  at::Tensor grad, top;     // (N, C, H, W), dense in channels_last
  at::Tensor result, sums;  // the same, and (C,) in the type of sums
};

ReluBackward prepare_relu_backward(const at::Tensor& grad, const at::Tensor& top);

}  // namespace fcn
