// The ReLU's backward pass on the CPU, where only tests and users call it: the nets leave it to
// torch there.
#include "../../relu_backward.h"

#include <ATen/ops/sum.h>
#include <ATen/ops/threshold_backward.h>
#include <torch/library.h>

namespace fcn {
namespace {

std::tuple<at::Tensor, at::Tensor> relu_backward(const at::Tensor& grad, const at::Tensor& top) {
  const ReluBackward op = prepare_relu_backward(grad, top);
  op.result.copy_(at::threshold_backward(op.grad, op.top, 0));
  op.sums.copy_(at::sum(op.result, {0, 2, 3}, false, op.sums.scalar_type()));
  return {op.result, op.sums};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("relu_backward", relu_backward); }

}  // namespace fcn
