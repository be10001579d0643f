// The fused op's CUDA backend as torch sees it; built only with a CUDA torch.
#include "../upcrop.h"
#include "glue.h"
#include "upcrop.h"

namespace fcn {
namespace {

template <bool forward, typename T>
void launch_on_stream(const Upcrop& op) {
  const c10::cuda::CUDAGuard guard(op.source.device());
  using D = typename Device<T>::type;
  using Acc = at::opmath_type<T>;
  const D* source = reinterpret_cast<const D*>(op.source.const_data_ptr<T>());
  D* result = reinterpret_cast<D*>(op.result.mutable_data_ptr<T>());
  const Acc* taps_y = op.taps_y.const_data_ptr<Acc>();
  const Acc* taps_x = op.taps_x.const_data_ptr<Acc>();
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  if constexpr (forward) {
    const Skip& skip = op.skip;
    Added<D> added;
    if (skip.values.defined())
      added = Added<D>{.values = reinterpret_cast<const D*>(skip.values.const_data_ptr<T>()),
                       .height = skip.height,
                       .width = skip.width,
                       .top = skip.top,
                       .left = skip.left};
    C10_CUDA_CHECK(launch_upcrop(source, taps_y, taps_x, op.y, op.x, op.planes, op.inner, added,
                                 result, stream));
  } else {
    C10_CUDA_CHECK(launch_upcrop_backward(source, taps_y, taps_x, op.y, op.x, op.planes, op.inner,
                                          result, stream));
  }
}

at::Tensor run_forward(const Upcrop& op) {
  if (op.result.numel() == 0) return op.result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, op.source.scalar_type(), "upcrop",
                                  [&] { launch_on_stream<true, scalar_t>(op); });
  return op.result;
}

at::Tensor upcrop_cuda(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                       at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                       at::IntArrayRef size) {
  return run_forward(prepare_forward(x, taps_y, taps_x, stride, pad, offset, size));
}

at::Tensor upcrop_add_cuda(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                           at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                           at::IntArrayRef size, const at::Tensor& skip,
                           at::IntArrayRef skip_offset) {
  return run_forward(
      prepare_add(x, taps_y, taps_x, stride, pad, offset, size, skip, skip_offset));
}

at::Tensor upcrop_backward_cuda(const at::Tensor& grad, const at::Tensor& taps_y,
                                const at::Tensor& taps_x, at::IntArrayRef stride,
                                at::IntArrayRef pad, at::IntArrayRef offset,
                                at::IntArrayRef in_size) {
  const Upcrop op = prepare_backward(grad, taps_y, taps_x, stride, pad, offset, in_size);
  if (op.result.numel() == 0) return op.result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), "upcrop_backward",
                                  [&] { launch_on_stream<false, scalar_t>(op); });
  return op.result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) {
  m.impl("upcrop", upcrop_cuda);
  m.impl("upcrop_add", upcrop_add_cuda);
  m.impl("upcrop_backward", upcrop_backward_cuda);
}

}  // namespace fcn
