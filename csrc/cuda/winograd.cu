// The transforms of Winograd's convolution on the GPU: a thread transforms 4 channels of one tile,
// the threads of a warp channel after channel, so that each access is of whole cache lines.
#include "winograd.h"

#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kChannels = 4;  // of a thread

// 4 channels of a pixel or a point
struct alignas(16) Vec4 {
  float a, b, c, d;
};
__device__ __forceinline__ Vec4 operator+(const Vec4& u, const Vec4& v) {
  return {u.a + v.a, u.b + v.b, u.c + v.c, u.d + v.d};
}
__device__ __forceinline__ Vec4 operator-(const Vec4& u, const Vec4& v) {
  return {u.a - v.a, u.b - v.b, u.c - v.c, u.d - v.d};
}
__device__ __forceinline__ Vec4 operator*(float s, const Vec4& v) {
  return {s * v.a, s * v.b, s * v.c, s * v.d};
}

__device__ __forceinline__ Vec4 load(const float* at) {
  return *reinterpret_cast<const Vec4*>(at);
}
__device__ __forceinline__ void store(float* at, const Vec4& value) {
  *reinterpret_cast<Vec4*>(at) = value;
}

__device__ __forceinline__ int64_t thread_index() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

__global__ void __launch_bounds__(kThreads)
    inputs_kernel(const TileGrid g, const float* __restrict__ image, int64_t first, int64_t count,
                  float* __restrict__ points) {
  const int64_t parts = g.channels / kChannels, step = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t point = count * g.channels;
  for (int64_t i = thread_index(); i < count * parts; i += step) {
    const TileGrid::Corner at = g.corner(first + i / parts);
    const float* from =  // of the tile's corner, which may be before the image
        image + ((at.image * g.height + at.y) * g.width + at.x) * g.channels + i % parts * kChannels;
    float* to = points + i * kChannels;
    transform_tile<Vec4, kInputTile, kInputTile>(
        [&](int row, int col) {
          const int64_t y = at.y + row, x = at.x + col;
          Vec4 value{};
          if (y >= 0 && y < g.height && x >= 0 && x < g.width)
            value = load(from + (row * g.width + col) * g.channels);
          return value;
        },
        InputTransform{},
        [&](int row, int col, const Vec4& value) {
          store(to + (row * kInputTile + col) * point, value);
        });
  }
}

__global__ void __launch_bounds__(kThreads)
    outputs_kernel(const TileGrid g, const float* __restrict__ points, int64_t first,
                   int64_t count, const float* __restrict__ bias, float* __restrict__ image) {
  const int64_t parts = g.channels / kChannels, step = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t point = count * g.channels;
  for (int64_t i = thread_index(); i < count * parts; i += step) {
    const TileGrid::Corner at = g.corner(first + i / parts);
    const int64_t c = i % parts * kChannels, rows = g.height - at.y, cols = g.width - at.x;
    const float* from = points + i * kChannels;
    float* to = image + ((at.image * g.height + at.y) * g.width + at.x) * g.channels + c;
    const Vec4 shift = bias ? load(bias + c) : Vec4{};
    transform_tile<Vec4, kInputTile, kOutputTile>(
        [&](int row, int col) { return load(from + (row * kInputTile + col) * point); },
        OutputTransform{},
        [&](int row, int col, const Vec4& value) {
          if (row < rows && col < cols)
            store(to + (row * g.width + col) * g.channels, value + shift);
        });
  }
}

__global__ void __launch_bounds__(kThreads)
    filters_kernel(const TapGrid taps, float* __restrict__ points) {
  const int64_t parts = taps.cols / kChannels, step = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t point = taps.rows * taps.cols;
  for (int64_t i = thread_index(); i < taps.rows * parts; i += step) {
    const float* from = taps.data + i / parts * taps.row + i % parts * kChannels;
    float* to = points + i * kChannels;
    transform_tile<Vec4, 3, kInputTile>(
        [&](int row, int col) { return load(from + row * taps.y + col * taps.x); },
        FilterTransform{},
        [&](int row, int col, const Vec4& value) {
          store(to + (row * kInputTile + col) * point, value);
        });
  }
}

dim3 blocks(int64_t rows, int64_t cols) {
  return dim3(blocks_for(rows * (cols / kChannels), kThreads, kMostBlocks));
}

}  // namespace

cudaError_t launch_winograd_inputs(const TileGrid& g, const float* image, int64_t first,
                                   int64_t count, float* points, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return launch(inputs_kernel, blocks(count, g.channels), kThreads, 0, stream, g, image, first,
                count, points);
}

cudaError_t launch_winograd_outputs(const TileGrid& g, const float* points, int64_t first,
                                    int64_t count, const float* bias, float* image,
                                    cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return launch(outputs_kernel, blocks(count, g.channels), kThreads, 0, stream, g, points, first,
                count, bias, image);
}

cudaError_t launch_winograd_filters(const TapGrid& taps, float* points, cudaStream_t stream) {
  if (taps.rows == 0 || taps.cols == 0) return cudaSuccess;
  return launch(filters_kernel, blocks(taps.rows, taps.cols), kThreads, 0, stream, taps, points);
}

}  // namespace fcn
