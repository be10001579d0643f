// Repetition of border cells on the GPU. Every thread gathers what it writes, so nothing is atomic,
// and sums have one fixed order.
#include "border.h"

#include <type_traits>

#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 128;
constexpr int kAhead = 4;  // copies in a row that are read at once

// A thread copies `vec` values of a cell. blockIdx.z walks the planes, blockIdx.y the rows of one.
// Bound: the bottom is read once, its border from the cache again, the top written once.
template <int vec, typename T>
__global__ void __launch_bounds__(kThreads)
    border_kernel(const T* __restrict__ source, Border rows, Border columns, int64_t planes,
                  int inner, T* __restrict__ result) {
  const int64_t width = int64_t(columns.top()) * inner;
  const int64_t at = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * vec;
  if (at >= width) return;
  const int cell = static_cast<int>(at) / inner, value = static_cast<int>(at) % inner;
  const int from = copied_from(columns, cell) * inner + value;
  const int64_t below = int64_t(columns.bottom) * inner;  // from one row of the bottom to the next
  for (int64_t plane = blockIdx.z; plane < planes; plane += gridDim.z)
    for (int64_t row = blockIdx.y; row < rows.top(); row += gridDim.y) {
      const int64_t copied = plane * rows.bottom + copied_from(rows, static_cast<int>(row));
      store_pack(result + (plane * rows.top() + row) * width + at,
                 load_pack<vec>(source + copied * below + from));
    }
}

// A thread sums the copies of `vec` values of a cell, by rows: one copy inside, count + 1 on a
// border, their square at its corners. The gradient is read once, the result written once.
template <int vec, typename T>
__global__ void __launch_bounds__(kThreads)
    border_backward_kernel(const T* __restrict__ source, Border rows, Border columns,
                           int64_t planes, int inner, T* __restrict__ result) {
  using Acc = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const int64_t width = int64_t(columns.bottom) * inner, top = int64_t(columns.top()) * inner;
  const int64_t at = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * vec;
  if (at >= width) return;
  const int cell = static_cast<int>(at) / inner, value = static_cast<int>(at) % inner;
  const Copies x = copies_of(columns, cell);
  for (int64_t plane = blockIdx.z; plane < planes; plane += gridDim.z)
    for (int64_t row = blockIdx.y; row < rows.bottom; row += gridDim.y) {
      const Copies y = copies_of(rows, static_cast<int>(row));
      Acc sum[vec];
      for (int v = 0; v < vec; ++v) sum[v] = Acc(-0.0);  // to which even -0 adds as it is
      for (int iy = y.begin; iy < y.end; ++iy) {
        const T* grad = source + (plane * rows.top() + iy) * top + value;
#pragma unroll 1
        for (int begin = x.begin; begin < x.end; begin += kAhead) {
          Pack<T, vec> ahead[kAhead];
#pragma unroll
          for (int i = 0; i < kAhead; ++i)
            if (begin + i < x.end)
              ahead[i] = load_pack<vec>(grad + (begin + i) * inner);
#pragma unroll
          for (int i = 0; i < kAhead; ++i)
            if (begin + i < x.end)
              for (int v = 0; v < vec; ++v) sum[v] += Acc(widen(ahead[i].values[v]));
        }
      }
      Pack<T, vec> sums;
      for (int v = 0; v < vec; ++v) store(sums.values + v, sum[v]);
      store_pack(result + (plane * rows.bottom + row) * width + at, sums);
    }
}

// Launch a kernel, with packs of 16 bytes where they fit, for `cells` columns and `lines` rows
template <typename T, typename Kernel>
cudaError_t launch_packs(Kernel* packs, Kernel* single, const T* source, Border rows,
                         Border columns, int64_t planes, int inner, T* result, int64_t lines,
                         int64_t cells, cudaStream_t stream) {
  if (planes == 0 || lines == 0 || cells * inner == 0) return cudaSuccess;
  constexpr int vec = 16 / sizeof(T);
  const bool whole = inner % vec == 0 && is_aligned_to(source, 16) && is_aligned_to(result, 16);
  const dim3 grid(blocks_for(cells * inner, kThreads * (whole ? vec : 1)),
                  blocks_for(lines, 1, kMostRows), blocks_for(planes, 1, kMostRows));
  return launch(whole ? packs : single, grid, kThreads, 0, stream, source, rows, columns, planes,
                inner, result);
}

}  // namespace

template <typename T>
cudaError_t launch_border(const T* source, Border rows, Border columns, int64_t planes, int inner,
                          T* result, cudaStream_t stream) {
  return launch_packs(border_kernel<16 / sizeof(T), T>, border_kernel<1, T>, source, rows, columns,
                      planes, inner, result, rows.top(), columns.top(), stream);
}

template <typename T>
cudaError_t launch_border_backward(const T* source, Border rows, Border columns, int64_t planes,
                                   int inner, T* result, cudaStream_t stream) {
  return launch_packs(border_backward_kernel<16 / sizeof(T), T>, border_backward_kernel<1, T>,
                      source, rows, columns, planes, inner, result, rows.bottom, columns.bottom,
                      stream);
}

#define INSTANTIATE(T)                                                                         \
  template cudaError_t launch_border(const T*, Border, Border, int64_t, int, T*, cudaStream_t); \
  template cudaError_t launch_border_backward(const T*, Border, Border, int64_t, int, T*,      \
                                              cudaStream_t);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(__half)
INSTANTIATE(__nv_bfloat16)
#undef INSTANTIATE

}  // namespace fcn
