// The ReLU's backward pass as torch sees it on CUDA.
#include <ATen/ops/empty.h>

#include "../relu_backward.h"
#include "glue.h"
#include "relu_backward.h"

namespace fcn {
namespace {

std::tuple<at::Tensor, at::Tensor> relu_backward_cuda(const at::Tensor& grad,
                                                      const at::Tensor& top) {
  const c10::cuda::CUDAGuard guard(grad.device());
  const ReluBackward op = prepare_relu_backward(grad, top);
  if (op.sums.numel() == 0) return {op.result, op.sums};
  const int64_t channels = grad.size(1);
  const Pixels size{grad.size(0) * grad.size(2) * grad.size(3), channels};
  const auto whole = [&](const at::Tensor& t) {
    return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0;
  };
  const bool wide = channels * grad.element_size() % 16 == 0 && whole(op.grad) && whole(op.top) &&
                    whole(op.result);
  const at::Tensor partial = at::empty({partial_rows(size), channels}, op.sums.options());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, grad.scalar_type(), "relu_backward", [&] {
        using D = typename Device<scalar_t>::type;
        using Acc = at::opmath_type<scalar_t>;
        C10_CUDA_CHECK(launch_relu_backward(
            reinterpret_cast<const D*>(op.grad.const_data_ptr<scalar_t>()),
            reinterpret_cast<const D*>(op.top.const_data_ptr<scalar_t>()), size, wide,
            reinterpret_cast<D*>(op.result.mutable_data_ptr<scalar_t>()),
            partial.mutable_data_ptr<Acc>(), op.sums.mutable_data_ptr<Acc>(), stream));
      });
  return {op.result, op.sums};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) { m.impl("relu_backward", relu_backward_cuda); }

}  // namespace fcn
