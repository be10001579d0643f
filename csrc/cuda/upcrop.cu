// The fused op on the GPU, first version: one thread gathers one cell, so nothing is atomic.
#include "upcrop.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// Where torch builds this, the implicit conversions of the 16-bit types are switched off.
__device__ __forceinline__ float widen(__half value) { return __half2float(value); }
__device__ __forceinline__ float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

namespace fcn {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kMostRows = 65535;    // gridDim.y
constexpr int64_t kMostBlocks = 1 << 20;  // gridDim.x

__device__ __forceinline__ void store(float* at, float value) { *at = value; }
__device__ __forceinline__ void store(double* at, double value) { *at = value; }
__device__ __forceinline__ void store(__half* at, float value) { *at = __float2half_rn(value); }
__device__ __forceinline__ void store(__nv_bfloat16* at, float value) {
  *at = __float2bfloat16_rn(value);
}

// blockIdx.y walks the rows of all planes of the result, blockIdx.x the values of a row
template <bool forward, typename T, typename Acc>
__global__ void __launch_bounds__(kThreads)
    upcrop_kernel(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                  int64_t planes, int64_t inner, T* result) {
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
      const Acc sum =
          forward ? output_at(channel, taps_y, taps_x, y, x, inner, cell_y, cell_x)
                  : gradient_at(channel, taps_y, taps_x, y, x, inner, cell_y, cell_x);
      store(result + row * width + at, sum);
    }
  }
}

template <bool forward, typename T, typename Acc>
cudaError_t launch(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                   int64_t planes, int64_t inner, T* result, cudaStream_t stream) {
  const int64_t rows = planes * (forward ? y.out : y.in);
  const int64_t width = (forward ? x.out : x.in) * inner;
  if (rows == 0 || width == 0) return cudaSuccess;
  const int64_t blocks = (width + kThreads - 1) / kThreads;
  const dim3 grid(static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks),
                  static_cast<unsigned>(rows < kMostRows ? rows : kMostRows));
  upcrop_kernel<forward><<<grid, kThreads, 0, stream>>>(source, taps_y, taps_x, y, x, planes,
                                                        inner, result);
  return cudaGetLastError();
}

}  // namespace

template <typename T, typename Acc>
cudaError_t launch_upcrop(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                          int64_t planes, int64_t inner, T* result, cudaStream_t stream) {
  return launch<true>(source, taps_y, taps_x, y, x, planes, inner, result, stream);
}

template <typename T, typename Acc>
cudaError_t launch_upcrop_backward(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y,
                                   Axis x, int64_t planes, int64_t inner, T* result,
                                   cudaStream_t stream) {
  return launch<false>(source, taps_y, taps_x, y, x, planes, inner, result, stream);
}

#define INSTANTIATE(T, Acc)                                                                    \
  template cudaError_t launch_upcrop(const T*, const Acc*, const Acc*, Axis, Axis, int64_t,    \
                                     int64_t, T*, cudaStream_t);                               \
  template cudaError_t launch_upcrop_backward(const T*, const Acc*, const Acc*, Axis, Axis,    \
                                              int64_t, int64_t, T*, cudaStream_t);
INSTANTIATE(float, float)
INSTANTIATE(double, double)
INSTANTIATE(__half, float)
INSTANTIATE(__nv_bfloat16, float)
#undef INSTANTIATE

}  // namespace fcn
