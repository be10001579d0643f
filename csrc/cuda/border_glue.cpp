// Repetition of border cells as torch sees it on CUDA.
#include "../border.h"

#include "../dense.h"
#include "border.h"
#include "glue.h"

namespace fcn {
namespace {

template <bool forward>
at::Tensor run(const RepeatBorder& op) {
  if (op.result.numel() == 0) return op.result;
  const int64_t row = op.columns.top() * op.inner;
  TORCH_CHECK_VALUE(row <= int64_t(0x7fffffff), "repeat_border: a row of ", op.columns.top(),
                    " cells with ", op.inner, " channels, expected at most 2147483647 values on "
                    "CUDA. Cut it into pieces.");
  const c10::cuda::CUDAGuard guard(op.source.device());
  const at::Tensor source = dense(op.source, op.format);
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, source.scalar_type(), "repeat_border",
                                  [&] {
    using D = typename Device<scalar_t>::type;
    const auto run = forward ? launch_border<D> : launch_border_backward<D>;
    C10_CUDA_CHECK(run(reinterpret_cast<const D*>(source.const_data_ptr<scalar_t>()), op.rows,
                       op.columns, op.planes, static_cast<int>(op.inner),
                       reinterpret_cast<D*>(op.result.mutable_data_ptr<scalar_t>()), stream));
  });
  return op.result;
}

at::Tensor repeat_border_cuda(const at::Tensor& x, at::IntArrayRef rows,
                              at::IntArrayRef columns) {
  return run<true>(prepare_border(x, rows, columns));
}

at::Tensor repeat_border_backward_cuda(const at::Tensor& grad, at::IntArrayRef rows,
                                       at::IntArrayRef columns) {
  return run<false>(prepare_border_backward(grad, rows, columns));
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) {
  m.impl("repeat_border", repeat_border_cuda);
  m.impl("repeat_border_backward", repeat_border_backward_cuda);
}

}  // namespace fcn
