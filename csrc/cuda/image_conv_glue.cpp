// An image's convolution as torch sees it on CUDA.
#include "../image_conv.h"
#include "glue.h"
#include "image_conv.h"

namespace fcn {
namespace {

at::Tensor image_conv_relu_cuda(const at::Tensor& x, const at::Tensor& weight,
                                const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  const c10::cuda::CUDAGuard guard(x.device());
  const ImageConv op = prepare_image_conv(x, weight, bias, pad);
  if (op.top.numel() == 0) return op.top;
  const int64_t outputs = op.top.size(1);
  TORCH_CHECK_VALUE(outputs <= kMostOutputs, "image_conv_relu: ", outputs,
                    " outputs, expected at most ", kMostOutputs, " on CUDA.");
  const ImageSize size{.images = op.x.size(0), .height = op.x.size(2), .width = op.x.size(3),
                       .channels = static_cast<int>(op.x.size(1)),
                       .outputs = static_cast<int>(outputs), .rows = op.top.size(2),
                       .columns = op.top.size(3), .pad_y = op.pad_y, .pad_x = op.pad_x};
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, x.scalar_type(), "image_conv_relu", [&] {
        using D = typename Device<scalar_t>::type;
        using Acc = at::opmath_type<scalar_t>;
        const auto values = [](const at::Tensor& t) {
          return reinterpret_cast<const D*>(t.const_data_ptr<scalar_t>());
        };
        C10_CUDA_CHECK((launch_image_conv<D, Acc>(
            values(op.x), values(op.filters), values(op.bias), size,
            reinterpret_cast<D*>(op.top.mutable_data_ptr<scalar_t>()),
            c10::cuda::getCurrentCUDAStream())));
      });
  return op.top;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) { m.impl("image_conv_relu", image_conv_relu_cuda); }

}  // namespace fcn
