// The fused op on the GPU. Every thread gathers what it writes, so nothing is atomic.
#include "upcrop.h"

#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = 16;  // rows of outputs that a thread walks down

__device__ __forceinline__ void store(float* at, float value) { *at = value; }
__device__ __forceinline__ void store(double* at, double value) { *at = value; }
__device__ __forceinline__ void store(__half* at, float value) { *at = __float2half_rn(value); }
__device__ __forceinline__ void store(__nv_bfloat16* at, float value) {
  *at = __float2bfloat16_rn(value);
}

// `vec` values that are stored with one instruction
template <typename T, int vec>
struct alignas(sizeof(T) * vec) Pack {
  T values[vec];
};

// k = 2 * stride on both axes. A thread keeps `vec` values of a row of the result (a cell holds
// `inner` of them) and walks down: the two input rows, expanded to its values, stay in registers
// until the walk passes an input. blockIdx.y walks pieces of kRows rows of all planes.
template <int vec, typename T, typename Acc>
__global__ void __launch_bounds__(kThreads)
    pairs_kernel(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                 int64_t planes, int inner, Added<T> added, T* result) {
  const int width = static_cast<int>(x.out) * inner;  // values; the host checks that they fit
  const int column = (blockIdx.x * kThreads + threadIdx.x) * vec;
  if (column >= width) return;
  const int stride_y = static_cast<int>(y.stride), stride_x = static_cast<int>(x.stride);
  int before[vec], now[vec];  // offsets in an input row, -1 beside it
  Acc tap_before[vec], tap_now[vec];
  for (int v = 0; v < vec; ++v) {
    const int u = (column + v) / inner + static_cast<int>(x.shift), c = (column + v) % inner;
    const int i = u / stride_x, phase = u % stride_x;
    now[v] = i < x.in ? i * inner + c : -1;
    before[v] = i > 0 && i <= x.in ? (i - 1) * inner + c : -1;
    tap_now[v] = taps_x[phase];
    tap_before[v] = taps_x[phase + stride_x];
  }
  const int64_t pieces = (y.out + kRows - 1) / kRows;
  for (int64_t piece = blockIdx.y; piece < planes * pieces; piece += gridDim.y) {
    const int64_t plane = piece / pieces;
    const int begin = static_cast<int>(piece % pieces) * kRows;
    const int end = static_cast<int>(y.out - begin < kRows ? y.out : begin + kRows);
    const T* image = source + plane * y.in * x.in * inner;
    Acc above[vec], below[vec];  // input rows i - 1 and i at this thread's values
    const auto expand = [&](int i, Acc* wide) {
      const bool inside = i >= 0 && i < y.in;
      const T* row = image + static_cast<int64_t>(inside ? i : 0) * x.in * inner;
      for (int v = 0; v < vec; ++v) {
        const Acc a = inside && before[v] >= 0 ? Acc(widen(row[before[v]])) : Acc(0);
        const Acc b = inside && now[v] >= 0 ? Acc(widen(row[now[v]])) : Acc(0);
        wide[v] = tap_before[v] * a + tap_now[v] * b;
      }
    };
    const int u = begin + static_cast<int>(y.shift);
    int i = u / stride_y, phase = u % stride_y;
    expand(i - 1, above);
    expand(i, below);
    T* out = result + (plane * y.out + begin) * width + column;
    for (int row = begin; row < end; ++row, out += width) {
      const Acc low = taps_y[phase], high = taps_y[phase + stride_y];
      Pack<T, vec> pack;
      for (int v = 0; v < vec; ++v) {
        Acc sum = high * above[v] + low * below[v];
        if (added.values) sum += Acc(widen(added.row(plane, row, inner)[column + v]));
        store(pack.values + v, sum);
      }
      *reinterpret_cast<Pack<T, vec>*>(out) = pack;
      if (++phase < stride_y) continue;
      phase = 0, ++i;
      for (int v = 0; v < vec; ++v) above[v] = below[v];
      if (row + 1 < end) expand(i, below);
    }
  }
}

// Any geometry. blockIdx.y walks the rows of all planes of the result, blockIdx.x their values.
template <bool forward, typename T, typename Acc>
__global__ void __launch_bounds__(kThreads)
    upcrop_kernel(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                  int64_t planes, int64_t inner, Added<T> added, T* result) {
  const int64_t height = forward ? y.out : y.in;
  const int64_t width = (forward ? x.out : x.in) * inner;
  const int64_t plane_size = (forward ? y.in * x.in : y.out * x.out) * inner;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t row = blockIdx.y; row < planes * height; row += gridDim.y) {
    const T* plane = source + row / height * plane_size;
    const int64_t cell_y = row % height;
    for (int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; at < width;
         at += step) {
      const T* channel = plane + at % inner;
      const int64_t cell_x = at / inner;
      Acc sum = forward ? output_at(channel, taps_y, taps_x, y, x, inner, cell_y, cell_x)
                        : gradient_at(channel, taps_y, taps_x, y, x, inner, cell_y, cell_x);
      if (forward && added.values)
        sum += Acc(widen(added.row(row / height, cell_y, inner)[at]));
      store(result + row * width + at, sum);
    }
  }
}

template <bool forward, typename T, typename Acc>
cudaError_t launch_rows(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                   int64_t planes, int64_t inner, Added<T> added, T* result,
                   cudaStream_t stream) {
  const int64_t rows = planes * (forward ? y.out : y.in);
  const int64_t width = (forward ? x.out : x.in) * inner;
  if (rows == 0 || width == 0) return cudaSuccess;
  const dim3 grid(blocks_for(width, kThreads, kMostBlocks), blocks_for(rows, 1, kMostRows));
  return launch(upcrop_kernel<forward, T, Acc>, grid, kThreads, 0, stream, source, taps_y, taps_x,
                y, x, planes, inner, added, result);
}

template <int vec, typename T, typename Acc>
cudaError_t launch_pairs(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                         int64_t planes, int64_t inner, Added<T> added, T* result,
                         cudaStream_t stream) {
  const int64_t pieces = planes * ((y.out + kRows - 1) / kRows);
  if (pieces == 0) return cudaSuccess;
  const dim3 grid(blocks_for(x.out * inner, kThreads * vec, kMostBlocks * 16),
                  blocks_for(pieces, 1, kMostRows));
  return launch(pairs_kernel<vec, T, Acc>, grid, kThreads, 0, stream, source, taps_y, taps_x, y, x,
                planes, static_cast<int>(inner), added, result);
}

// Whether one axis suits pairs_kernel, whose offsets are of 32 bits
bool fits(const Axis& axis, int64_t inner) {
  constexpr int64_t most = 1 << 30;
  return axis.k == 2 * axis.stride && axis.k < most && axis.out + axis.shift < most &&
         axis.out < most / inner && axis.in < most / inner;
}

}  // namespace

template <typename T, typename Acc>
cudaError_t launch_upcrop(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                          int64_t planes, int64_t inner, Added<T> added, T* result,
                          cudaStream_t stream) {
  constexpr int vec = 16 / sizeof(T);
  if (inner == 0 || !fits(y, 1) || !fits(x, inner))
    return launch_rows<true>(source, taps_y, taps_x, y, x, planes, inner, added, result, stream);
  const bool whole = x.out * inner % vec == 0 && reinterpret_cast<uintptr_t>(result) % 16 == 0;
  return whole ? launch_pairs<vec>(source, taps_y, taps_x, y, x, planes, inner, added, result,
                                   stream)
               : launch_pairs<1>(source, taps_y, taps_x, y, x, planes, inner, added, result,
                                 stream);
}

template <typename T, typename Acc>
cudaError_t launch_upcrop_backward(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y,
                                   Axis x, int64_t planes, int64_t inner, T* result,
                                   cudaStream_t stream) {
  return launch_rows<false>(source, taps_y, taps_x, y, x, planes, inner, Added<T>{}, result, stream);
}

#define INSTANTIATE(T, Acc)                                                                    \
  template cudaError_t launch_upcrop(const T*, const Acc*, const Acc*, Axis, Axis, int64_t,    \
                                     int64_t, Added<T>, T*, cudaStream_t);                     \
  template cudaError_t launch_upcrop_backward(const T*, const Acc*, const Acc*, Axis, Axis,    \
                                              int64_t, int64_t, T*, cudaStream_t);
INSTANTIATE(float, float)
INSTANTIATE(double, double)
INSTANTIATE(__half, float)
INSTANTIATE(__nv_bfloat16, float)
#undef INSTANTIATE

}  // namespace fcn
