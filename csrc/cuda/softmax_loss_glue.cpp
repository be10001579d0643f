// Upsample + crop + softmax loss as torch sees it on CUDA.
#include "../softmax_loss.h"

#include "loss_glue.h"
#include "softmax_loss.h"

namespace fcn {
namespace {

std::tuple<at::Tensor, at::Tensor> softmax_loss_cuda(
    const at::Tensor& x, const at::Tensor& label, const at::Tensor& taps_y,
    const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
    int64_t normalization, std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient, bool check) {
  const c10::cuda::CUDAGuard guard(x.device());
  const SoftmaxLoss op = prepare_softmax_loss(x, label, taps_y, taps_x, stride, pad, offset,
                                              normalization, ignore, weight, mask, gradient);
  const LossMemory memory(op);
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES(op.scores.x.scalar_type(), op.name, [&] {
    const LossArgs<scalar_t> args{.source = source_of<scalar_t>(op.scores),
                                  .targets = targets_of<scalar_t>(op, op.scores.classes)};
    auto* pixels = memory.pixels<scalar_t>();
    C10_CUDA_CHECK(launch_loss(args, pixels, memory.partial(), memory.total(),
                               op.loss.mutable_data_ptr<scalar_t>(), stream));
    if (gradient) {
      const Source<scalar_t>& source = args.source;
      const int64_t size = args.targets.pixels;
      const at::Tensor slopes = at::empty(
          {slope_planes(size, source.batch, source.classes, sizeof(scalar_t)) * size},
          op.loss.options());
      C10_CUDA_CHECK(launch_loss_gradient(args, pixels, memory.total(),
                                          slopes.mutable_data_ptr<scalar_t>(),
                                          op.grad.mutable_data_ptr<scalar_t>(), stream));
    }
  });
  if (check) check_total(op.name, op, op.scores.classes, memory.total(), stream);
  return {op.loss, gradient_like(op, x)};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) { m.impl("upcrop_softmax_loss", softmax_loss_cuda); }

}  // namespace fcn
