// The gradients of a PReLU of channels-last blobs in one pass over them: torch's kernel, which
// broadcasts the slopes, takes several times as long.
//
//   of x:     x > 0 ? grad : slope * grad
//   of slope: the sum over the pixels of x > 0 ? 0 : x * grad
//
// The pixels are cut into bands of kBand, whatever the threads are; a band's sums are of float32,
// and they are added in float64.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <vector>

#include "../../counts.h"
#include "../../dense.h"
#include "../common/target.h"
#include "operands.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("prelu_backward(Tensor grad, Tensor x, Tensor slope) -> (Tensor, Tensor)");
}

namespace fcn {
namespace {

constexpr int64_t kBand = 256;

FCN_CLONES void band_of(const float* grad, const float* x, const float* slope, int64_t pixels,
                        int64_t channels, float* result, float* sums) {
  float* __restrict__ total = sums;
  for (int64_t c = 0; c < channels; ++c) total[c] = 0;
  for (int64_t p = 0; p < pixels; ++p, grad += channels, x += channels, result += channels) {
    float* __restrict__ to = result;
    for (int64_t c = 0; c < channels; ++c) {
      const bool above = x[c] > 0;
      to[c] = above ? grad[c] : slope[c] * grad[c];
      total[c] += above ? 0 : x[c] * grad[c];
    }
  }
}

std::tuple<at::Tensor, at::Tensor> prelu_backward(const at::Tensor& grad, const at::Tensor& x,
                                                  const at::Tensor& slope) {
  constexpr const char* op = "prelu_backward";
  check_tensor(op, "x", x, 4);
  check_tensor(op, "grad", grad, 4);
  check_tensor(op, "slope", slope, 1);
  check_sizes(op, "x", x.sizes());
  TORCH_CHECK_VALUE(grad.sizes() == x.sizes(), op, ": grad is of shape ", grad.sizes(),
                    ", expected ", x.sizes(), ".");
  const int64_t channels = x.size(1), pixels = x.size(0) * x.size(2) * x.size(3);
  TORCH_CHECK_VALUE(slope.numel() == channels, op, ": slope has ", slope.numel(), " numbers for ",
                    channels, " channels.");
  check_product(op, {x.size(0), x.size(1), x.size(2), x.size(3)});
  const auto last = at::MemoryFormat::ChannelsLast;
  const at::Tensor from = dense(x, last), above = dense(grad, last), slopes = dense(slope);
  const at::Tensor result = at::empty_like(from, from.options().memory_format(last));
  const int64_t bands = (pixels + kBand - 1) / kBand;
  const at::Tensor sums = at::empty({bands, channels}, x.options());
  at::parallel_for(0, bands, 16, [&](int64_t begin, int64_t end) {
    for (int64_t band = begin; band < end; ++band) {
      const int64_t at = band * kBand * channels;
      band_of(data<float>(above) + at, data<float>(from) + at, data<float>(slopes),
              std::min(kBand, pixels - band * kBand), channels, data<float>(result) + at,
              data<float>(sums) + band * channels);
    }
  });
  return {result, sums.sum(0, false, at::kDouble).to(at::kFloat)};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("prelu_backward", prelu_backward); }

}  // namespace fcn
