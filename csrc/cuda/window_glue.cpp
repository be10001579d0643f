// Filtering with Gaussian kernels in windows as torch sees it on CUDA.
#include "../window.h"

#include "glue.h"
#include "window.h"

namespace fcn {
namespace {

at::Tensor window_filter_cuda(const at::Tensor& values, const at::Tensor& image,
                              const at::Tensor& rows, const at::Tensor& columns,
                              at::ArrayRef<double> weights, at::ArrayRef<double> places,
                              at::ArrayRef<double> colours, int64_t radius, bool centre) {
  const c10::cuda::CUDAGuard guard(values.device());
  const WindowFilter op = prepare_window(values, image, rows, columns, weights, places, colours,
                                         radius, centre);
  if (op.result.numel() == 0) return op.result;
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "window_filter", [&] {
    const WindowArgs<scalar_t> args{.values = op.values.const_data_ptr<scalar_t>(),
                                    .image = op.image.const_data_ptr<scalar_t>(),
                                    .rows = op.rows.const_data_ptr<scalar_t>(),
                                    .columns = op.columns.const_data_ptr<scalar_t>(),
                                    .result = op.result.mutable_data_ptr<scalar_t>(),
                                    .batch = values.size(0),
                                    .channels = values.size(1),
                                    .features = image.size(1),
                                    .height = values.size(2),
                                    .width = values.size(3),
                                    .radius = op.radius,
                                    .kernels = kernels_in<scalar_t>(op.kernels),
                                    .centre = op.centre};
    C10_CUDA_CHECK(launch_window_filter(args, stream));
  });
  return op.result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) { m.impl("window_filter", window_filter_cuda); }

}  // namespace fcn
