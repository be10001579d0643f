// An image's convolution on the CPU, where only tests and users call it: the nets leave it to torch
// there.
#include "../../image_conv.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/relu.h>
#include <torch/library.h>

namespace fcn {
namespace {

at::Tensor image_conv_relu(const at::Tensor& x, const at::Tensor& weight,
                           const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  const ImageConv op = prepare_image_conv(x, weight, bias, pad);
  const int64_t pads[] = {op.pad_y, op.pad_x};
  if (op.top.numel() > 0)
    op.top.copy_(at::relu(at::conv2d(op.x, op.filters, op.bias, at::IntArrayRef{1, 1}, pads)));
  return op.top;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("image_conv_relu", image_conv_relu); }

}  // namespace fcn
