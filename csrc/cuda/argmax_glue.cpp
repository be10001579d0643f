// Upsample + crop + argmax as torch sees it on CUDA.
#include "../argmax.h"

#include "argmax.h"
#include "glue.h"

namespace fcn {
namespace {

std::tuple<at::Tensor, at::Tensor> argmax_cuda(
    const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
    at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset, at::IntArrayRef size,
    at::ScalarType dtype, bool probability) {
  const c10::cuda::CUDAGuard guard(x.device());
  const Argmax op = prepare_argmax(x, taps_y, taps_x, stride, pad, offset, size, dtype,
                                   probability);
  if (op.labels.numel() == 0) return {op.labels, op.probability};
  float* p = op.with_probability ? op.probability.mutable_data_ptr<float>() : nullptr;
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES(op.scores.x.scalar_type(), "upcrop_argmax", [&] {
    const auto source = source_of<scalar_t>(op.scores);
    if (dtype == at::kByte)
      C10_CUDA_CHECK(launch_argmax(source, op.labels.mutable_data_ptr<uint8_t>(), p, stream));
    else
      C10_CUDA_CHECK(launch_argmax(source, op.labels.mutable_data_ptr<int64_t>(), p, stream));
  });
  return {op.labels, op.probability};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) { m.impl("upcrop_argmax", argmax_cuda); }

}  // namespace fcn
