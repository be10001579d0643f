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
#if defined(__CUDACC__)  // of many assignments in a row nvcc makes stores of single floats
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(at), "f"(value.a), "f"(value.b),
               "f"(value.c), "f"(value.d));
#else
  *reinterpret_cast<Vec4*>(at) = value;
#endif
}

// The pixels begin .. end - 1 of a tile's side that lie in an image of `size`
struct Inside {
  int begin, end;

  __device__ __forceinline__ Inside(int64_t size, int64_t corner, int64_t side)
      : begin(static_cast<int>(corner < 0 ? -corner : 0)),
        end(static_cast<int>(size - corner < side ? size - corner : side)) {}
  __device__ __forceinline__ bool all(int side) const { return begin == 0 && end == side; }
  __device__ __forceinline__ bool operator()(int i) const { return i >= begin && i < end; }
};

__device__ __forceinline__ int64_t thread_index() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

__global__ void __launch_bounds__(kThreads)
    inputs_kernel(const TileGrid g, const float* __restrict__ image, int64_t first, int64_t count,
                  float* __restrict__ points) {
  const int64_t parts = g.channels / kChannels, i = thread_index();
  const int64_t point = count * g.channels, line = g.width * g.channels;
  if (i >= count * parts) return;
  const TileGrid::Corner at = g.corner(first + i / parts);
  const float* from =  // of the tile's corner, which may be before the image
      image + (at.image * g.height + at.y) * line + at.x * g.channels + i % parts * kChannels;
  float* to = points + i * kChannels;
  const Inside rows(g.height, at.y, kInputTile), cols(g.width, at.x, kInputTile);
  const auto get = [&](int row, int col) { return load(from + row * line + col * g.channels); };
  const auto put = [&](int row, int col, const Vec4& value) {
    store(to + (row * kInputTile + col) * point, value);
  };
  if (rows.all(kInputTile) && cols.all(kInputTile))  // most tiles, without a check at each pixel
    transform_tile<Vec4, kInputTile, kInputTile>(get, InputTransform{}, put);
  else
    transform_tile<Vec4, kInputTile, kInputTile>(
        [&](int row, int col) { return rows(row) && cols(col) ? get(row, col) : Vec4{}; },
        InputTransform{}, put);
}

__global__ void __launch_bounds__(kThreads)
    outputs_kernel(const TileGrid g, const float* __restrict__ points, int64_t first,
                   int64_t count, const float* __restrict__ bias, float* __restrict__ image) {
  const int64_t parts = g.channels / kChannels, i = thread_index();
  const int64_t point = count * g.channels, line = g.width * g.channels;
  if (i >= count * parts) return;
  const TileGrid::Corner at = g.corner(first + i / parts);
  const int64_t c = i % parts * kChannels;
  const float* from = points + i * kChannels;
  float* to = image + (at.image * g.height + at.y) * line + at.x * g.channels + c;
  const Inside rows(g.height, at.y, kOutputTile), cols(g.width, at.x, kOutputTile);
  const Vec4 shift = bias ? load(bias + c) : Vec4{};
  transform_tile<Vec4, kInputTile, kOutputTile>(
      [&](int row, int col) { return load(from + (row * kInputTile + col) * point); },
      OutputTransform{},
      [&](int row, int col, const Vec4& value) {
        if (rows(row) && cols(col))
          store(to + row * line + col * g.channels, value + shift);
      });
}

__global__ void __launch_bounds__(kThreads)
    filters_kernel(const TapGrid taps, float* __restrict__ points) {
  const int64_t parts = taps.cols / kChannels, i = thread_index();
  const int64_t point = taps.rows * taps.cols;
  if (i >= taps.rows * parts) return;
  const float* from = taps.data + i / parts * taps.row + i % parts * kChannels;
  float* to = points + i * kChannels;
  transform_tile<Vec4, 3, kInputTile>(
      [&](int row, int col) { return load(from + row * taps.y + col * taps.x); },
      FilterTransform{},
      [&](int row, int col, const Vec4& value) {
        store(to + (row * kInputTile + col) * point, value);
      });
}

// A thread for 4 columns of a row. As many as fill the grid would write 158 TB of points.
dim3 blocks(int64_t rows, int64_t cols) {
  return dim3(blocks_for(rows * (cols / kChannels), kThreads));
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
