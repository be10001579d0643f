// Upsample + crop + softmax loss as torch sees it on CUDA.
#include "../softmax_loss.h"

#include <ATen/ops/empty.h>

#include "glue.h"
#include "softmax_loss.h"

namespace fcn {
namespace {

LabelType label_type(at::ScalarType type) {
  switch (type) {
    case at::kByte: return LabelType::kByte;
    case at::kInt: return LabelType::kInt;
    case at::kLong: return LabelType::kLong;
    case at::kFloat: return LabelType::kFloat;
    default: return LabelType::kDouble;
  }
}

template <typename Acc>
LossArgs<Acc> args_of(const SoftmaxLoss& op) {
  return LossArgs<Acc>{.source = source_of<Acc>(op.scores),
                       .label = op.label.const_data_ptr(),
                       .label_type = label_type(op.label.scalar_type()),
                       .weight = op.weight ? op.weight->const_data_ptr<Acc>() : nullptr,
                       .mask = op.mask ? op.mask->const_data_ptr<bool>() : nullptr,
                       .has_ignore = op.ignore.has_value(),
                       .ignore = op.ignore.value_or(0),
                       .normalization = op.normalization};
}

// Check for bad labels, which synchronises with the GPU, unless a graph is being captured
void check_total(const SoftmaxLoss& op, const LossSum* total, cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  C10_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  if (status != cudaStreamCaptureStatusNone) return;
  LossSum sum;
  C10_CUDA_CHECK(cudaMemcpyAsync(&sum, total, sizeof sum, cudaMemcpyDeviceToHost, stream));
  C10_CUDA_CHECK(cudaStreamSynchronize(stream));
  check_labels(op, sum.bad, sum.example);
}

std::tuple<at::Tensor, at::Tensor> softmax_loss_cuda(
    const at::Tensor& x, const at::Tensor& label, const at::Tensor& taps_y,
    const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
    int64_t normalization, std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient, bool check) {
  const c10::cuda::CUDAGuard guard(x.device());
  const SoftmaxLoss op = prepare_softmax_loss(x, label, taps_y, taps_x, stride, pad, offset,
                                              normalization, ignore, weight, mask, gradient);
  const auto options = op.scores.x.options();
  const auto bytes_of = [&](int64_t count, size_t size) {
    return at::empty({count * static_cast<int64_t>(size)}, options.dtype(at::kByte));
  };
  const at::Tensor sums = bytes_of(kLossBlocks + 1, sizeof(LossSum));
  LossSum* total = reinterpret_cast<LossSum*>(sums.mutable_data_ptr<uint8_t>());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES(op.scores.x.scalar_type(), "upcrop_softmax_loss", [&] {
    const auto args = args_of<scalar_t>(op);
    const at::Tensor kept = bytes_of(op.label.numel(), sizeof(Pixel<scalar_t>));
    auto* pixels = reinterpret_cast<Pixel<scalar_t>*>(kept.mutable_data_ptr<uint8_t>());
    C10_CUDA_CHECK(launch_loss(args, pixels, total + 1, total,
                               op.loss.mutable_data_ptr<scalar_t>(), stream));
    if (gradient) {
      const Source<scalar_t>& source = args.source;
      const int64_t size = source.y.out * source.x_axis.out;
      const at::Tensor slopes = at::empty(
          {slope_planes(size, source.batch, source.classes, sizeof(scalar_t)) * size}, options);
      C10_CUDA_CHECK(launch_loss_gradient(args, pixels, total, slopes.mutable_data_ptr<scalar_t>(),
                                          op.grad.mutable_data_ptr<scalar_t>(), stream));
    }
  });
  if (check) check_total(op, total, stream);
  return {op.loss, gradient_like(op, x)};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) { m.impl("upcrop_softmax_loss", softmax_loss_cuda); }

}  // namespace fcn
