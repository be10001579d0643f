// Resizing with aligned corners + argmax or softmax loss as torch sees it on CUDA.
#include "../interp.h"

#include "interp.h"
#include "loss_glue.h"

namespace fcn {
namespace {

template <typename Acc>
InterpSource<Acc> interp_source(const InterpScores& s) {
  TORCH_CHECK_VALUE(s.classes <= int64_t(0x7fffffff), s.classes,
                    " classes, expected at most 2147483647 on CUDA. Cut them into pieces.");
  return InterpSource<Acc>{.x = s.x.const_data_ptr<Acc>(),
                           .y = s.y,
                           .x_axis = s.x_axis,
                           .batch = s.batch,
                           .classes = s.classes};
}

std::tuple<at::Tensor, at::Tensor> interp_argmax_cuda(const at::Tensor& x, at::IntArrayRef size,
                                                      at::ScalarType dtype, bool probability) {
  const c10::cuda::CUDAGuard guard(x.device());
  const InterpArgmax op = prepare_interp_argmax(x, size, dtype, probability);
  if (op.labels.numel() == 0) return {op.labels, op.probability};
  float* p = op.with_probability ? op.probability.mutable_data_ptr<float>() : nullptr;
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES(op.scores.x.scalar_type(), "interp_argmax", [&] {
    const auto source = interp_source<scalar_t>(op.scores);
    if (dtype == at::kByte)
      C10_CUDA_CHECK(
          launch_interp_argmax(source, op.labels.mutable_data_ptr<uint8_t>(), p, stream));
    else
      C10_CUDA_CHECK(
          launch_interp_argmax(source, op.labels.mutable_data_ptr<int64_t>(), p, stream));
  });
  return {op.labels, op.probability};
}

std::tuple<at::Tensor, at::Tensor> interp_loss_cuda(
    const at::Tensor& x, const at::Tensor& label, int64_t normalization,
    std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient, bool check) {
  const c10::cuda::CUDAGuard guard(x.device());
  const InterpLoss op = prepare_interp_loss(x, label, normalization, ignore, weight, mask,
                                            gradient);
  const LossMemory memory(op);
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES(op.scores.x.scalar_type(), op.name, [&] {
    const InterpLossArgs<scalar_t> args{.source = interp_source<scalar_t>(op.scores),
                                        .targets = targets_of<scalar_t>(op, op.scores.classes)};
    auto* pixels = memory.pixels<scalar_t>();
    C10_CUDA_CHECK(launch_interp_loss(args, pixels, memory.partial(), memory.total(),
                                      op.loss.mutable_data_ptr<scalar_t>(), stream));
    if (gradient)
      C10_CUDA_CHECK(launch_interp_gradient(args, pixels, memory.total(),
                                            op.grad.mutable_data_ptr<scalar_t>(), stream));
  });
  if (check) check_total(op.name, op, op.scores.classes, memory.total(), stream);
  return {op.loss, gradient_like(op, x)};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) {
  m.impl("interp_argmax", interp_argmax_cuda);
  m.impl("interp_softmax_loss", interp_loss_cuda);
}

}  // namespace fcn
