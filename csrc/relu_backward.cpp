// Schema and argument checks of the ReLU's backward pass, shared by all backends.
#include "relu_backward.h"

#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "counts.h"
#include "dense.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("relu_backward(Tensor grad, Tensor top) -> (Tensor, Tensor)");
}

namespace fcn {

ReluBackward prepare_relu_backward(const at::Tensor& grad, const at::Tensor& top) {
  const char* op = "relu_backward";
  const auto type = grad.scalar_type();
  TORCH_CHECK_VALUE(grad.dim() == 4 && (type == at::kFloat || type == at::kDouble ||
                                        type == at::kHalf || type == at::kBFloat16),
                    op, ": grad is ", type, " of shape ", grad.sizes(),
                    ", expected Float, Double, Half or BFloat16 with 4 axes.");
  TORCH_CHECK_VALUE(top.sizes() == grad.sizes() && top.scalar_type() == type &&
                        top.device() == grad.device(),
                    op, ": top is ", top.scalar_type(), " of shape ", top.sizes(), " on ",
                    top.device(), ", grad ", type, " of shape ", grad.sizes(), " on ",
                    grad.device(), ". They must agree.");
  check_sizes(op, "grad", grad.sizes());
  check_product(op, {grad.size(0), grad.size(1), grad.size(2), grad.size(3)});
  const auto last = at::MemoryFormat::ChannelsLast;
  const auto options = grad.options();
  return ReluBackward{.grad = dense(grad, last),
                      .top = dense(top, last),
                      .result = at::empty(grad.sizes(), options.memory_format(last)),
                      .sums = at::empty({grad.size(1)}, options.dtype(at::toOpMathType(type)))};
}

}  // namespace fcn
