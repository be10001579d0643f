// Resizing with aligned corners + argmax or softmax loss as torch sees it on CUDA.
#include "../interp.h"

#include <ATen/ops/empty.h>

#include "glue.h"
#include "interp.h"

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

LabelType interp_label_type(at::ScalarType type) {
  switch (type) {
    case at::kByte: return LabelType::kByte;
    case at::kInt: return LabelType::kInt;
    case at::kLong: return LabelType::kLong;
    case at::kFloat: return LabelType::kFloat;
    default: return LabelType::kDouble;
  }
}

template <typename Acc>
InterpLossArgs<Acc> interp_args(const InterpLoss& op) {
  return InterpLossArgs<Acc>{.source = interp_source<Acc>(op.scores),
                             .label = op.label.const_data_ptr(),
                             .label_type = interp_label_type(op.label.scalar_type()),
                             .weight = op.weight ? op.weight->const_data_ptr<Acc>() : nullptr,
                             .mask = op.mask ? op.mask->const_data_ptr<bool>() : nullptr,
                             .has_ignore = op.ignore.has_value(),
                             .ignore = op.ignore.value_or(0),
                             .normalization = op.normalization};
}

// Check for bad labels, which synchronises with the GPU, unless a graph is being captured
void check_interp_total(const InterpLoss& op, const LossSum* total, cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  C10_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  if (status != cudaStreamCaptureStatusNone) return;
  LossSum sum;
  C10_CUDA_CHECK(cudaMemcpyAsync(&sum, total, sizeof sum, cudaMemcpyDeviceToHost, stream));
  C10_CUDA_CHECK(cudaStreamSynchronize(stream));
  check_interp_labels(op, sum.bad, sum.example);
}

std::tuple<at::Tensor, at::Tensor> interp_loss_cuda(
    const at::Tensor& x, const at::Tensor& label, int64_t normalization,
    std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient, bool check) {
  const c10::cuda::CUDAGuard guard(x.device());
  const InterpLoss op = prepare_interp_loss(x, label, normalization, ignore, weight, mask,
                                            gradient);
  const auto bytes_of = [&](int64_t count, size_t size) {
    return at::empty({count * static_cast<int64_t>(size)},
                     op.scores.x.options().dtype(at::kByte));
  };
  const at::Tensor sums = bytes_of(kLossBlocks + 1, sizeof(LossSum));
  LossSum* total = reinterpret_cast<LossSum*>(sums.mutable_data_ptr<uint8_t>());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES(op.scores.x.scalar_type(), "interp_softmax_loss", [&] {
    const auto args = interp_args<scalar_t>(op);
    const at::Tensor kept = bytes_of(op.label.numel(), sizeof(Pixel<scalar_t>));
    auto* pixels = reinterpret_cast<Pixel<scalar_t>*>(kept.mutable_data_ptr<uint8_t>());
    C10_CUDA_CHECK(launch_interp_loss(args, pixels, total + 1, total,
                                      op.loss.mutable_data_ptr<scalar_t>(), stream));
    if (gradient)
      C10_CUDA_CHECK(launch_interp_gradient(args, pixels, total,
                                            op.grad.mutable_data_ptr<scalar_t>(), stream));
  });
  if (check) check_interp_total(op, total, stream);
  return {op.loss, interp_gradient_like(op, x)};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) {
  m.impl("interp_argmax", interp_argmax_cuda);
  m.impl("interp_softmax_loss", interp_loss_cuda);
}

}  // namespace fcn
