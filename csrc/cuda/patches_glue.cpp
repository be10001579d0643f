// The unrolled windows of a convolution as torch sees them on CUDA.
#include "../patches.h"
#include "glue.h"
#include "patches.h"

namespace fcn {
namespace {

// The largest power of two up to kUnit bytes that channels and addresses are multiples of
int unit_of(const Patches& op, int64_t bytes) {
  int64_t unit = kUnit;
  while (bytes % unit || reinterpret_cast<uintptr_t>(op.source.const_data_ptr()) % unit ||
         reinterpret_cast<uintptr_t>(op.result.const_data_ptr()) % unit)
    unit /= 2;
  return static_cast<int>(unit);
}

at::Tensor patches_cuda(const at::Tensor& x, at::IntArrayRef kernel, at::IntArrayRef pad) {
  const c10::cuda::CUDAGuard guard(x.device());
  const Patches op = prepare_patches(x, kernel, pad);
  if (op.result.numel() == 0) return op.result;
  Windows w = op.windows;
  const int64_t bytes = w.channels * x.element_size();
  const int unit = unit_of(op, bytes);
  w.channels = bytes / unit;
  C10_CUDA_CHECK(launch_patches(op.source.const_data_ptr(), w, unit,
                                op.result.mutable_data_ptr(),
                                c10::cuda::getCurrentCUDAStream()));
  return op.result;
}

at::Tensor patches_input_cuda(const at::Tensor& windows, at::IntArrayRef kernel,
                              at::IntArrayRef pad) {
  const c10::cuda::CUDAGuard guard(windows.device());
  const Patches op = prepare_sums(windows, kernel, pad);
  if (op.result.numel() == 0) return op.result;
  const bool wide = unit_of(op, op.windows.channels * windows.element_size()) == kUnit;
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, windows.scalar_type(), "patches_input", [&] {
        using D = typename Device<scalar_t>::type;
        C10_CUDA_CHECK(launch_sums(reinterpret_cast<const D*>(
                                       op.source.const_data_ptr<scalar_t>()),
                                   op.windows, wide,
                                   reinterpret_cast<D*>(op.result.mutable_data_ptr<scalar_t>()),
                                   stream));
      });
  return op.result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) {
  m.impl("patches", patches_cuda);
  m.impl("patches_input", patches_input_cuda);
}

}  // namespace fcn
