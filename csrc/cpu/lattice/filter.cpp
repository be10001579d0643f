// Gaussian filtering on a permutohedral lattice on the CPU.
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "../../dense.h"
#include "rows.h"

namespace fcn {
namespace {

template <typename T>
FCN_CLONES void slice_rows(const Lattice& lattice, const T* values, int64_t pitch,
                           int64_t channels, int64_t begin, int64_t end, T* to) {
  const int corners = lattice.axes + 1;
  const int32_t* vertices = lattice.vertices.const_data_ptr<int32_t>();
  const float* weights = lattice.weights.const_data_ptr<float>();
  const float gain = lattice_gain(lattice.axes);
  for_row_parts<T>(pitch, [&](int64_t at, auto vectors) __attribute__((always_inline)) {
    constexpr int n = decltype(vectors)::value;
    const int64_t width = std::min<int64_t>(n * RowLanes<T>::count, channels - at);
    for (int64_t p = begin; p < end; ++p) {
      typename RowLanes<T>::V sums[n];
      slice_row(vertices + p * corners, weights + p * corners, corners, gain, values + at, pitch,
                sums);
      std::memcpy(to + p * channels + at, sums, width * sizeof(T));
    }
  });
}

template <typename T>
void filter(const Lattice& lattice, const at::Tensor& values, bool reverse, T* to) {
  const int64_t channels = values.size(1), pitch = row_pitch<T>(channels);
  const int64_t grain = std::max<int64_t>(1, 16384 / pitch);
  const T* from = values.const_data_ptr<T>();
  AlignedBuffer<T> padded(lattice.points * pitch);
  at::parallel_for(0, lattice.points, grain, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      std::copy_n(from + p * channels, channels, padded.data() + p * pitch);
  });
  LatticeFilter<T> filter(lattice, pitch);
  const T* found = filter.run(padded.data(), reverse);
  at::parallel_for(0, lattice.points, grain, [&](int64_t begin, int64_t end) {
    slice_rows(lattice, found, pitch, channels, begin, end, to);
  });
}

at::Tensor lattice_filter_cpu(const at::Tensor& values, const at::Tensor& vertices,
                              const at::Tensor& weights, const at::Tensor& neighbours,
                              bool reverse) {
  check_lattice_values(values);
  const Lattice lattice =
      prepare_lattice("lattice_filter", vertices, weights, neighbours, values);
  const at::Tensor source = dense(values), result = at::empty(values.sizes(), values.options());
  if (result.numel())
    AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "lattice_filter", [&] {
      filter<scalar_t>(lattice, source, reverse, result.mutable_data_ptr<scalar_t>());
    });
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("lattice_filter", lattice_filter_cpu); }

}  // namespace fcn
