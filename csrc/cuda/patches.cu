// The unrolled windows of a convolution and their adjoint on the GPU. Both are gathers, so nothing
// is atomic. In channels-last order a line of a window is one piece of memory, here and in the
// image.
#include "patches.h"

#include "../upcrop_math.h"
#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 128;
constexpr int kWarp = 32;
constexpr int kLines = kThreads / kWarp;  // of a block at once

// A warp copies a line
template <typename Unit>
__global__ void __launch_bounds__(kThreads)
    patches_kernel(const Unit* __restrict__ image, Windows w, Unit* __restrict__ windows) {
  const int64_t size = w.line_size(), lines = w.lines();
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kLines + threadIdx.x / kWarp; i < lines;
       i += static_cast<int64_t>(gridDim.x) * kLines) {
    const Line line = line_of(w, i);
    Unit* to = windows + i * size;
#pragma unroll 4
    for (int64_t at = threadIdx.x % kWarp; at < size; at += kWarp) {
      Unit value{};
      if (at >= line.begin && at < line.end) value = image[line.first + at];
      to[at] = value;
    }
  }
}

// A thread sums `count` channels of a cell, in Acc
template <int count, typename Acc, typename T>
__global__ void __launch_bounds__(kThreads)
    sums_kernel(const T* __restrict__ windows, Windows w, T* __restrict__ image) {
  const int64_t pieces = w.channels / count, all = w.cells() * pieces;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < all;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    Acc sums[count] = {};
    const T* channel = windows + i % pieces * count;
    each_window(w, i / pieces, [&](int64_t at) {
      const auto held = *reinterpret_cast<const Pack<T, count>*>(channel + at);
      for (int c = 0; c < count; ++c) sums[c] += Acc(widen(held.values[c]));
    });
    Pack<T, count> result;
    for (int c = 0; c < count; ++c) store(result.values + c, sums[c]);
    reinterpret_cast<Pack<T, count>*>(image)[i] = result;
  }
}

template <typename Unit>
cudaError_t launch_units(const void* image, const Windows& w, void* windows, cudaStream_t stream) {
  return launch(patches_kernel<Unit>, dim3(blocks_for(w.lines(), kLines, kMostBlocks)), kThreads, 0,
                stream, static_cast<const Unit*>(image), w, static_cast<Unit*>(windows));
}

template <typename T> struct Wide { using type = float; };
template <> struct Wide<double> { using type = double; };

}  // namespace

cudaError_t launch_patches(const void* image, Windows w, int unit, void* windows,
                           cudaStream_t stream) {
  switch (unit) {
    case 16: return launch_units<Pack<uint32_t, 4>>(image, w, windows, stream);
    case 8: return launch_units<Pack<uint32_t, 2>>(image, w, windows, stream);
    case 4: return launch_units<uint32_t>(image, w, windows, stream);
    default: return launch_units<uint16_t>(image, w, windows, stream);
  }
}

template <typename T>
cudaError_t launch_sums(const T* windows, Windows w, bool wide, T* image, cudaStream_t stream) {
  using Acc = typename Wide<T>::type;
  constexpr int most = sizeof(T) < sizeof(double) ? kUnit / sizeof(T) : 1;  // two would spill
  const int count = wide ? most : 1;
  const dim3 grid(blocks_for(w.cells() * (w.channels / count), kThreads, kMostBlocks));
  return launch(wide ? sums_kernel<most, Acc, T> : sums_kernel<1, Acc, T>, grid, kThreads, 0,
                stream, windows, w, image);
}

template cudaError_t launch_sums(const float*, Windows, bool, float*, cudaStream_t);
template cudaError_t launch_sums(const double*, Windows, bool, double*, cudaStream_t);
template cudaError_t launch_sums(const __half*, Windows, bool, __half*, cudaStream_t);
template cudaError_t launch_sums(const __nv_bfloat16*, Windows, bool, __nv_bfloat16*,
                                 cudaStream_t);

}  // namespace fcn
