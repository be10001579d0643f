// Filtering with Gaussian kernels in windows on the CPU. Threads share the rows of the result. For
// each step (dy, dx) inside the window the kernel of a whole row is computed once, in vectors of
// pixels, and multiplied into all channels; so memory is two rows a thread beside the result,
// whatever the window, and the sum of a pixel has one order: by rows of its window.
#include "../../window.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>

#include "../common/simd.h"
#include "../common/target.h"

namespace fcn {
namespace {

constexpr int64_t kGrain = 65536;  // products per task at least

template <typename Acc>
struct Planes {
  const Acc *values, *image, *rows, *columns;
  Acc* result;
  int64_t channels, features, height, width, radius;
  WindowKernels<Acc> kernels;
  bool centre;
};

// difference[x] = squared difference of colour between pixels own[x] and other[x] of `count`
template <typename Acc>
FCN_CLONES void differences(const Acc* own, const Acc* other, int64_t features, int64_t plane,
                            int64_t count, Acc* __restrict__ difference) {
  std::fill_n(difference, count, Acc(0));
  for (int64_t f = 0; f < features; ++f)
    for (int64_t x = 0; x < count; ++x) {
      const Acc d = own[f * plane + x] - other[f * plane + x];
      difference[x] += d * d;
    }
}

// kernel[x] += weight * exp(exponent) for `count` pixels, whose columns are own and other; `down`
// is the squared distance of their rows. exponent: memory for whole vectors.
template <typename Acc>
FCN_CLONES void add_kernel(const WindowKernel<Acc>& kernel, Acc down, const Acc* own,
                           const Acc* other, const Acc* difference, int64_t count,
                           Acc* __restrict__ exponent, Acc* __restrict__ sum) {
  constexpr int64_t lanes = Lanes<Acc>::count;
  for (int64_t x = 0; x < count; ++x) {
    const Acc across = own[x] - other[x];
    exponent[x] = window_exponent(kernel, down + across * across, difference[x]);
  }
  for (int64_t x = 0; x < count; x += lanes)
    store(sum + x, load(sum + x) + kernel.weight * exp_lanes(load(exponent + x)));
}

// to[c][x] += kernel[x] * from[c][x] for `count` pixels of all channels
template <typename Acc>
FCN_CLONES void add_products(const Acc* kernel, const Acc* from, int64_t channels, int64_t plane,
                             int64_t count, Acc* __restrict__ to) {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t x = 0; x < count; ++x) to[c * plane + x] += kernel[x] * from[c * plane + x];
}

// Row y of image n
template <typename Acc>
void filter_row(const Planes<Acc>& p, int64_t n, int64_t y, Acc* difference, Acc* exponent,
                Acc* sum, int64_t pitch) {
  const int64_t plane = p.height * p.width;
  const Acc* image = p.image + n * p.features * plane;
  const int64_t first = n * p.channels * plane;
  const WindowSpan span = window_span(y, p.radius, p.height);
  for (int64_t iy = span.begin; iy < span.end; ++iy)
    for (int64_t dx = -p.radius; dx <= p.radius; ++dx) {
      const int64_t begin = std::max<int64_t>(0, -dx), end = std::min(p.width, p.width - dx);
      if (begin >= end || (!p.centre && iy == y && dx == 0)) continue;
      const int64_t count = end - begin, own = y * p.width + begin;
      const int64_t other = iy * p.width + begin + dx;
      if (p.kernels.coloured)
        differences(image + own, image + other, p.features, plane, count, difference);
      std::fill_n(sum, pitch, Acc(0));
      const Acc down = (p.rows[y] - p.rows[iy]) * (p.rows[y] - p.rows[iy]);
      for (int m = 0; m < p.kernels.count; ++m)
        add_kernel(p.kernels.each[m], down, p.columns + begin, p.columns + begin + dx, difference,
                   count, exponent, sum);
      add_products(sum, p.values + first + other, p.channels, plane, count,
                   p.result + first + own);
    }
}

template <typename Acc>
void filter(const WindowFilter& op) {
  const at::IntArrayRef shape = op.values.sizes();
  const Planes<Acc> planes{.values = op.values.const_data_ptr<Acc>(),
                           .image = op.image.const_data_ptr<Acc>(),
                           .rows = op.rows.const_data_ptr<Acc>(),
                           .columns = op.columns.const_data_ptr<Acc>(),
                           .result = op.result.mutable_data_ptr<Acc>(),
                           .channels = shape[1],
                           .features = op.image.size(1),
                           .height = shape[2],
                           .width = shape[3],
                           .radius = op.radius,
                           .kernels = kernels_in<Acc>(op.kernels),
                           .centre = op.centre};
  constexpr int64_t lanes = Lanes<Acc>::count;
  const int64_t pitch = (shape[3] + lanes - 1) / lanes * lanes;
  const int64_t side = 2 * op.radius + 1;
  const int64_t row = std::min(side, shape[2]) * std::min(side, shape[3]) * shape[3];
  const int64_t grain = std::max<int64_t>(1, kGrain / std::min(row * shape[1], kGrain));
  at::parallel_for(0, shape[0] * shape[2], grain, [&](int64_t begin, int64_t end) {
    AlignedBuffer<Acc> difference(pitch), exponent(pitch), sum(pitch);
    for (int64_t at = begin; at < end; ++at)
      filter_row(planes, at / shape[2], at % shape[2], difference.data(), exponent.data(),
                 sum.data(), pitch);
  });
}

at::Tensor window_filter_cpu(const at::Tensor& values, const at::Tensor& image,
                             const at::Tensor& rows, const at::Tensor& columns,
                             at::ArrayRef<double> weights, at::ArrayRef<double> places,
                             at::ArrayRef<double> colours, int64_t radius, bool centre) {
  const WindowFilter op = prepare_window(values, image, rows, columns, weights, places, colours,
                                         radius, centre);
  if (op.result.numel())
    AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "window_filter",
                               [&] { filter<scalar_t>(op); });
  return op.result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("window_filter", window_filter_cpu); }

}  // namespace fcn
