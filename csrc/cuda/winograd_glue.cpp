// 3x3 convolution with stride 1 by Winograd's algorithm as torch sees it on CUDA: the transforms are
// kernels (winograd.cu), the products at the 36 points one batched product of cuBLAS. Whether those
// round to TF32 is torch's switch, which the caller sets.
//
// The direct sum and the filters' gradient are torch's own: only the input's gradient, a
// convolution with flipped filters, is the same algorithm.
#include <ATen/ops/bmm.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "../dense.h"
#include "../winograd.h"
#include "glue.h"
#include "winograd.h"

namespace fcn {
namespace {

constexpr int64_t kScratch = int64_t(1) << 26;  // transformed inputs and products of a piece: 256 MB
constexpr auto kLast = at::MemoryFormat::ChannelsLast;

bool on_vectors(const at::Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0;
}

// dense, at an address that the kernels can read vectors from
at::Tensor dense_vectors(const at::Tensor& t, at::MemoryFormat format) {
  const at::Tensor whole = dense(t, format);
  return on_vectors(whole) ? whole : at::empty_like(whole).copy_(whole);
}

// Filters (36, C, C_out) of taps (3, 3, C, C_out), which are flipped along both axes before
at::Tensor transform_filters(const at::Tensor& taps, bool flip) {
  bool in_place = taps.stride(3) == 1 && on_vectors(taps);
  for (int axis = 0; axis < 3; ++axis) in_place = in_place && taps.stride(axis) % 4 == 0;
  const at::Tensor from = in_place ? taps : dense_vectors(taps, at::MemoryFormat::Contiguous);
  const int64_t y = from.stride(0), x = from.stride(1);
  const at::Tensor result = at::empty({kPoints, taps.size(2), taps.size(3)}, taps.options());
  const TapGrid grid{.data = from.const_data_ptr<float>() + (flip ? 2 * (y + x) : 0),
                     .y = flip ? -y : y,
                     .x = flip ? -x : x,
                     .row = from.stride(2),
                     .rows = taps.size(2),
                     .cols = taps.size(3)};
  C10_CUDA_CHECK(launch_winograd_filters(grid, result.mutable_data_ptr<float>(),
                                         c10::cuda::getCurrentCUDAStream()));
  return result;
}

at::Tensor winograd_filters_cuda(const at::Tensor& taps) {
  const c10::cuda::CUDAGuard guard(taps.device());
  check_taps("winograd_filters", taps, at::kFloat, 1);
  return transform_filters(taps, false);
}

at::Tensor winograd_cuda(const at::Tensor& x, const at::Tensor& filters, int64_t outputs,
                         const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  const c10::cuda::CUDAGuard guard(x.device());
  constexpr const char* op = "winograd";
  const auto [in, out] = check_winograd(op, x, at::kFloat, outputs, bias, pad);
  check_points(op, filters, x, {kPoints, in.channels, out.channels});
  const at::Tensor result = at::empty({out.images, outputs, out.height, out.width},
                                      x.options().memory_format(kLast));
  if (result.numel() == 0) return result;
  const at::Tensor image = dense_vectors(x, kLast);
  const at::Tensor shift = bias ? dense_vectors(*bias, at::MemoryFormat::Contiguous) : at::Tensor();
  const float* shifts = bias ? shift.const_data_ptr<float>() : nullptr;

  const int64_t tiles = out.count(), channels = in.channels + out.channels;
  const int64_t most = std::max<int64_t>(1, kScratch / (kPoints * channels));
  const int64_t pieces = (tiles + most - 1) / most, step = (tiles + pieces - 1) / pieces;
  const at::Tensor memory = at::empty({kPoints * step * channels}, x.options());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  for (int64_t first = 0; first < tiles; first += step) {
    const int64_t count = std::min(step, tiles - first), size = kPoints * count;
    const at::Tensor points =
        memory.narrow(0, 0, size * in.channels).view({kPoints, count, in.channels});
    at::Tensor sums = memory.narrow(0, size * in.channels, size * out.channels)
                          .view({kPoints, count, out.channels});
    C10_CUDA_CHECK(launch_winograd_inputs(in, image.const_data_ptr<float>(), first, count,
                                          points.mutable_data_ptr<float>(), stream));
    at::bmm_out(sums, points, filters);
    C10_CUDA_CHECK(launch_winograd_outputs(out, sums.const_data_ptr<float>(), first, count, shifts,
                                           result.mutable_data_ptr<float>(), stream));
  }
  return result;
}

// The gradient of x: a convolution with the flipped filters
at::Tensor conv3x3_input_cuda(const at::Tensor& grad, const at::Tensor& weight,
                              at::IntArrayRef pad) {
  const c10::cuda::CUDAGuard guard(grad.device());
  check_conv3x3_input(grad, weight, pad);
  return winograd_cuda(grad, transform_filters(weight.permute({2, 3, 0, 1}), true),
                       weight.size(1), std::nullopt, {2 - pad[0], 2 - pad[1]});
}

// The gradient of the weight (C_out, C, 3, 3), channels last
at::Tensor conv3x3_weight_cuda(const at::Tensor& grad, const at::Tensor& x, at::IntArrayRef pad) {
  const c10::cuda::CUDAGuard guard(grad.device());
  check_conv3x3_weight(grad, x, pad);
  const std::vector<int64_t> shape{grad.size(1), x.size(1), 3, 3};
  const auto options = x.options().memory_format(kLast);
  if (grad.numel() == 0) return at::zeros(shape, x.options()).contiguous(kLast);
  const at::Tensor like = at::empty(shape, options);  // of which torch reads the shape alone
  const at::Tensor result =
      std::get<1>(at::convolution_backward(dense(grad, kLast), dense(x, kLast), like, std::nullopt,
                                           {1, 1}, pad, {1, 1}, false, {0, 0}, 1,
                                           {false, true, false}));
  return dense(result, kLast);
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) {
  m.impl("winograd_filters", winograd_filters_cuda);
  m.impl("winograd", winograd_cuda);
  m.impl("conv3x3", conv3x3);
  m.impl("conv3x3_input", conv3x3_input_cuda);
  m.impl("conv3x3_weight", conv3x3_weight_cuda);
}

}  // namespace fcn
