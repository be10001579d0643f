// Max pooling as torch sees it on CUDA.
#include "../pool.h"

#include "glue.h"
#include "pool.h"

namespace fcn {
namespace {

std::tuple<at::Tensor, at::Tensor> max_pool_cuda(const at::Tensor& x, at::IntArrayRef kernel,
                                                 at::IntArrayRef stride, at::IntArrayRef pad,
                                                 at::IntArrayRef size, bool index) {
  const c10::cuda::CUDAGuard guard(x.device());
  const Pool op = prepare_pool(x, kernel, stride, pad, size, index);
  if (op.result.numel() == 0) return {op.result, op.index};
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "max_pool", [&] {
    using D = typename Device<scalar_t>::type;
    C10_CUDA_CHECK(launch_max_pool(
        reinterpret_cast<const D*>(op.source.const_data_ptr<scalar_t>()), op.y, op.x, op.planes,
        static_cast<int>(op.inner), reinterpret_cast<D*>(op.result.mutable_data_ptr<scalar_t>()),
        index ? op.index.mutable_data_ptr<uint8_t>() : nullptr, stream));
  });
  return {op.result, op.index};
}

at::Tensor max_pool_backward_cuda(const at::Tensor& grad, const at::Tensor& index,
                                  at::IntArrayRef kernel, at::IntArrayRef stride,
                                  at::IntArrayRef pad, at::IntArrayRef in_size) {
  const c10::cuda::CUDAGuard guard(grad.device());
  const Pool op = prepare_pool_backward(grad, index, kernel, stride, pad, in_size);
  if (op.result.numel() == 0) return op.result;
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(),
                                  "max_pool_backward", [&] {
    using D = typename Device<scalar_t>::type;
    C10_CUDA_CHECK(launch_max_pool_backward(
        reinterpret_cast<const D*>(op.source.const_data_ptr<scalar_t>()),
        op.index.const_data_ptr<uint8_t>(), op.y, op.x, op.planes, static_cast<int>(op.inner),
        reinterpret_cast<D*>(op.result.mutable_data_ptr<scalar_t>()), stream));
  });
  return op.result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) {
  m.impl("max_pool", max_pool_cuda);
  m.impl("max_pool_backward", max_pool_backward_cuda);
}

}  // namespace fcn
