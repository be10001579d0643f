// Max pooling on the GPU. Every thread gathers what it writes, so nothing is atomic, and gradients
// are summed in one fixed order.
#include "pool.h"

#include <type_traits>

#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 128;

__device__ __forceinline__ int inside(int cell, int cells) {
  return cell < 0 ? 0 : cell < cells ? cell : cells - 1;
}

// A thread pools `vec` values of a cell. blockIdx.z walks the planes, blockIdx.y the rows of one.
// A window's cells beyond the edge are replaced by its nearest ones that exist, which changes
// neither the maximum nor its first place; so all loads of a window of k x k cells (k = 0: any) are
// issued at once. Bound: the input is read once, rows that windows share from the cache again.
template <int k, bool indexed, int vec, typename T>
__global__ void __launch_bounds__(kThreads, 8)
    max_pool_kernel(const T* __restrict__ source, PoolAxis y, PoolAxis x, int64_t planes, int inner,
                    T* __restrict__ result, uint8_t* __restrict__ index) {
  const int64_t width = int64_t(x.out) * inner, below = int64_t(x.in) * inner;
  const int64_t at = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * vec;
  if (at >= width) return;
  const int height_k = k ? k : y.k, width_k = k ? k : x.k;
  const int left = first_cell(x, static_cast<int>(at) / inner);
  const int value = static_cast<int>(at) % inner;
  for (int64_t plane = blockIdx.z; plane < planes; plane += gridDim.z)
    for (int64_t row = blockIdx.y; row < y.out; row += gridDim.y) {
      const T* image = source + plane * y.in * below + value;
      const int top = first_cell(y, static_cast<int>(row));
      Pack<T, vec> largest{};
      int place[vec]{};
#pragma unroll (k ? k : 1)
      for (int dy = 0; dy < height_k; ++dy) {
        const int iy = inside(top + dy, y.in);
        const T* cells = image + iy * below;
#pragma unroll (k ? k : 1)
        for (int dx = 0; dx < width_k; ++dx) {
          const int ix = inside(left + dx, x.in);
          const Pack<T, vec> values = load_pack<vec>(cells + ix * inner);
          for (int v = 0; v < vec; ++v)
            if (dy + dx == 0 || exceeds(widen(values.values[v]), widen(largest.values[v]))) {
              largest.values[v] = values.values[v];
              if (indexed) place[v] = (iy - top) * width_k + ix - left;
            }
        }
      }
      const int64_t to = (plane * y.out + row) * width + at;
      store_pack(result + to, largest);
      if constexpr (indexed) {
        Pack<uint8_t, vec> places;
        for (int v = 0; v < vec; ++v) places.values[v] = static_cast<uint8_t>(place[v]);
        store_pack(index + to, places);
      }
    }
}

// A thread sums, for `vec` values of an input's cell, the gradients of the windows whose maximum it
// is, by rows. Bound: gradient and index are read once, from the cache for each further cell of a
// window, the result is written once.
template <int vec, typename T>
__global__ void __launch_bounds__(kThreads)
    max_pool_backward_kernel(const T* __restrict__ source, const uint8_t* __restrict__ index,
                             PoolAxis y, PoolAxis x, int64_t planes, int inner,
                             T* __restrict__ result) {
  using Acc = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const int64_t width = int64_t(x.in) * inner;
  const int64_t at = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * vec;
  if (at >= width) return;
  const int ix = static_cast<int>(at) / inner, value = static_cast<int>(at) % inner;
  const PoolSpan columns = windows_of(x, ix);
  for (int64_t plane = blockIdx.z; plane < planes; plane += gridDim.z)
    for (int64_t row = blockIdx.y; row < y.in; row += gridDim.y) {
      const int iy = static_cast<int>(row);
      const PoolSpan rows = windows_of(y, iy);
      Acc sum[vec];
      for (int v = 0; v < vec; ++v) sum[v] = 0;
#pragma unroll 1
      for (int oy = rows.begin; oy < rows.end; ++oy)
#pragma unroll 1
        for (int ox = columns.begin; ox < columns.end; ++ox) {
          const int64_t from = ((plane * y.out + oy) * x.out + ox) * inner + value;
          const auto grads = load_pack<vec>(source + from);
          const auto places = load_pack<vec>(index + from);
          const int place = (iy - first_cell(y, oy)) * x.k + ix - first_cell(x, ox);
          for (int v = 0; v < vec; ++v)
            if (places.values[v] == place) sum[v] += Acc(widen(grads.values[v]));
        }
      Pack<T, vec> sums;
      for (int v = 0; v < vec; ++v) store(sums.values + v, sum[v]);
      store_pack(result + (plane * y.in + row) * width + at, sums);
    }
}

// The grid for `rows` rows of `width` values in packs of `vec`
dim3 grid_of(int64_t width, int vec, int64_t rows, int64_t planes) {
  return dim3(blocks_for(width, kThreads * vec), blocks_for(rows, 1, kMostRows),
              blocks_for(planes, 1, kMostRows));
}

// Whether the channels of a cell and all arrays are made of packs of `vec` values
template <typename T>
bool has_packs(int vec, int inner, const T* source, const T* result, const uint8_t* index) {
  return inner % vec == 0 && is_aligned_to(source, vec * sizeof(T)) &&
         is_aligned_to(result, vec * sizeof(T)) && is_aligned_to(index, vec);
}

template <bool indexed, int vec, typename T>
cudaError_t launch_windows(const T* source, PoolAxis y, PoolAxis x, int64_t planes, int inner,
                           T* result, uint8_t* index, cudaStream_t stream) {
  const bool square = y.k == x.k;
  const auto kernel = square && x.k == 2   ? max_pool_kernel<2, indexed, vec, T>
                      : square && x.k == 3 ? max_pool_kernel<3, indexed, vec, T>
                                           : max_pool_kernel<0, indexed, vec, T>;
  return launch(kernel, grid_of(int64_t(x.out) * inner, vec, y.out, planes), kThreads, 0, stream,
                source, y, x, planes, inner, result, index);
}

}  // namespace

template <typename T>
cudaError_t launch_max_pool(const T* source, PoolAxis y, PoolAxis x, int64_t planes, int inner,
                            T* result, uint8_t* index, cudaStream_t stream) {
  if (planes == 0 || inner == 0) return cudaSuccess;
  constexpr int vec = 16 / sizeof(T);
  const bool packs = has_packs(vec, inner, source, result, index);
  const auto launcher = index ? packs ? launch_windows<true, vec, T> : launch_windows<true, 1, T>
                      : packs ? launch_windows<false, vec, T> : launch_windows<false, 1, T>;
  return launcher(source, y, x, planes, inner, result, index, stream);
}

template <typename T>
cudaError_t launch_max_pool_backward(const T* source, const uint8_t* index, PoolAxis y, PoolAxis x,
                                     int64_t planes, int inner, T* result, cudaStream_t stream) {
  if (planes == 0 || inner == 0) return cudaSuccess;
  constexpr int vec = 16 / sizeof(T);
  const bool packs = has_packs(vec, inner, source, result, index);
  return launch(packs ? max_pool_backward_kernel<vec, T> : max_pool_backward_kernel<1, T>,
                grid_of(int64_t(x.in) * inner, packs ? vec : 1, y.in, planes), kThreads, 0, stream,
                source, index, y, x, planes, inner, result);
}

#define INSTANTIATE(T)                                                                         \
  template cudaError_t launch_max_pool(const T*, PoolAxis, PoolAxis, int64_t, int, T*, uint8_t*, \
                                       cudaStream_t);                                          \
  template cudaError_t launch_max_pool_backward(const T*, const uint8_t*, PoolAxis, PoolAxis,    \
                                                int64_t, int, T*, cudaStream_t);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(__half)
INSTANTIATE(__nv_bfloat16)
#undef INSTANTIATE

}  // namespace fcn
