// Filtering with Gaussian kernels in windows on the GPU. A thread gathers some channels of one
// pixel, so nothing is atomic, and sums have the order of the window.
#include "window.h"

#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kAcross = 32, kDown = 4;  // pixels of a block
constexpr int kThreads = kAcross * kDown;
constexpr int kChannels = 8;            // of a thread, in registers

__device__ __forceinline__ float exp_of(float x) { return expf(x); }
__device__ __forceinline__ double exp_of(double x) { return exp(x); }

// How alike two pixels of an image are; own, other: their places in a plane
template <typename Acc>
__device__ __forceinline__ Acc likeness(const WindowArgs<Acc>& a, const Acc* image, int64_t plane,
                                        int64_t own, int64_t other, Acc distance) {
  Acc difference = 0, sum = 0;
  if (a.kernels.coloured) {
#pragma unroll 1
    for (int64_t f = 0; f < a.features; ++f) {
      const Acc d = image[f * plane + own] - image[f * plane + other];
      difference += d * d;
    }
  }
#pragma unroll 1
  for (int m = 0; m < a.kernels.count; ++m) {
    const WindowKernel<Acc>& kernel = a.kernels.each[m];
    sum += kernel.weight * exp_of(window_exponent(kernel, distance, difference));
  }
  return sum;
}

// blockIdx.z walks the images and parts of their channels, blockIdx.y and x the pixels. Bound: a
// load from the cache for each product, which threads of a row share lines of; kernels are computed
// anew for each part of the channels, so that none is kept in memory. Loops of unknown length are
// not unrolled: ptxas spilled registers then.
template <typename Acc>
__global__ void __launch_bounds__(kThreads) window_kernel(const WindowArgs<Acc> a) {
  const int64_t plane = a.height * a.width, parts = (a.channels + kChannels - 1) / kChannels;
  const int64_t first_x = static_cast<int64_t>(blockIdx.x) * kAcross + threadIdx.x % kAcross;
  const int64_t first_y = static_cast<int64_t>(blockIdx.y) * kDown + threadIdx.x / kAcross;
  const int64_t step_x = static_cast<int64_t>(gridDim.x) * kAcross;
  const int64_t step_y = static_cast<int64_t>(gridDim.y) * kDown;
  for (int64_t part = blockIdx.z; part < a.batch * parts; part += gridDim.z) {
    const int64_t n = part / parts, c = part % parts * kChannels;
    const int64_t left = a.channels - c;
    const int count = left < kChannels ? static_cast<int>(left) : kChannels;
    const Acc* image = a.image + n * a.features * plane;
    const int64_t first = (n * a.channels + c) * plane;
    for (int64_t y = first_y; y < a.height; y += step_y)
      for (int64_t x = first_x; x < a.width; x += step_x) {
        const WindowSpan down = window_span(y, a.radius, a.height);
        const WindowSpan across = window_span(x, a.radius, a.width);
        Acc sums[kChannels];
#pragma unroll
        for (int i = 0; i < kChannels; ++i) sums[i] = 0;
        for (int64_t iy = down.begin; iy < down.end; ++iy) {
          const Acc dy = a.rows[y] - a.rows[iy];
#pragma unroll 1
          for (int64_t ix = across.begin; ix < across.end; ++ix) {
            if (!a.centre && iy == y && ix == x) continue;
            const Acc dx = a.columns[x] - a.columns[ix];
            const int64_t other = iy * a.width + ix;
            const Acc like = likeness(a, image, plane, y * a.width + x, other, dy * dy + dx * dx);
            const Acc* values = a.values + first + other;
#pragma unroll
            for (int i = 0; i < kChannels; ++i)
              if (i < count) sums[i] += like * values[i * plane];
          }
        }
#pragma unroll
        for (int i = 0; i < kChannels; ++i)
          if (i < count) a.result[first + i * plane + y * a.width + x] = sums[i];
      }
  }
}

}  // namespace

template <typename Acc>
cudaError_t launch_window_filter(const WindowArgs<Acc>& args, cudaStream_t stream) {
  const int64_t parts = args.batch * ((args.channels + kChannels - 1) / kChannels);
  if (parts == 0 || args.height == 0 || args.width == 0) return cudaSuccess;
  const dim3 grid(blocks_for(args.width, kAcross, kMostBlocks),
                  blocks_for(args.height, kDown, kMostRows), blocks_for(parts, 1, kMostRows));
  return launch(window_kernel<Acc>, grid, kThreads, 0, stream, args);
}

template cudaError_t launch_window_filter(const WindowArgs<float>&, cudaStream_t);
template cudaError_t launch_window_filter(const WindowArgs<double>&, cudaStream_t);

}  // namespace fcn
