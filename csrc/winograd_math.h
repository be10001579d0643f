// Winograd convolution of 3x3 filters with stride 1, F(4x4, 3x3) (Lavin and Gray, 2016;
// Toom-Cook):
//
//   Y = A^T [ (G g G^T) .* (B^T d B) ] A,    summed over channels before the output transform
//
// A tile of 4x4 outputs comes from a 6x6 input tile d by 36 products per pair of channels instead
// of 144. The interpolation points are 0, +-3/4, +-3/2 and infinity: with them the rounding error
// is about twice that of direct summation. The products over all tiles are one matrix product per
// point, (tiles x channels) * (channels x outputs).
//
// This header holds the transforms and the tiles, shared by host and device, so it includes
// nothing of ATen or c10. Images are channels last; V is a vector of channels of one pixel, so a
// transform is straight-line code on vectors, along y and then along x.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define FCN_WINOGRAD_HD __host__ __device__ __forceinline__
#else
#define FCN_WINOGRAD_HD inline __attribute__((always_inline))
#endif

namespace fcn {

constexpr int64_t kOutputTile = 4, kInputTile = 6;    // side of an output and an input tile
constexpr int64_t kPoints = kInputTile * kInputTile;  // products of a tile
constexpr int64_t kWinogradChannels = 16;             // channels are multiples of it
constexpr int64_t kMaxKernel = 255;  // of a convolution by blocks of 3x3 taps
constexpr int64_t kMaxPad = 2;  // the input's gradient is a convolution with pad 2 - pad
constexpr float kA = 0.75f, kB = 1.5f, kAA = kA * kA, kBB = kB * kB;

// B^T x: 6 inputs to the 6 points; consecutive values are `step` vectors apart
struct InputTransform {
  template <typename V>
  FCN_WINOGRAD_HD void operator()(const V* x, int64_t step, V* v) const {
    const V x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step];
    const V even_a = x4 - kBB * x2, odd_a = kA * (x3 - kBB * x1);
    const V even_b = x4 - kAA * x2, odd_b = kB * (x3 - kAA * x1);
    v[0] = kAA * kBB * x[0] + (x4 - (kAA + kBB) * x2);
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = kAA * kBB * x1 + (x[5 * step] - (kAA + kBB) * x3);
  }
};

// A^T v: 6 points to 4 outputs
struct OutputTransform {
  template <typename V>
  FCN_WINOGRAD_HD void operator()(const V* v, int64_t step, V* y) const {
    const V sum_a = v[step] + v[2 * step], diff_a = v[step] - v[2 * step];
    const V sum_b = v[3 * step] + v[4 * step], diff_b = v[3 * step] - v[4 * step];
    y[0] = v[0] + sum_a + sum_b;
    y[1] = kA * diff_a + kB * diff_b;
    y[2] = kAA * sum_a + kBB * sum_b;
    y[3] = v[5 * step] + kA * kAA * diff_a + kB * kBB * diff_b;
  }
};

// A y, the transpose of OutputTransform: gradients of 4 outputs to the points
struct GradientTransform {
  template <typename V>
  FCN_WINOGRAD_HD void operator()(const V* y, int64_t step, V* v) const {
    const V even_a = y[0] + kAA * y[2 * step], odd_a = kA * (y[step] + kAA * y[3 * step]);
    const V even_b = y[0] + kBB * y[2 * step], odd_b = kB * (y[step] + kBB * y[3 * step]);
    v[0] = y[0];
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = y[3 * step];
  }
};

// Normalisation of the points, which the filter transform applies
constexpr float kScale0 = 1 / (kAA * kBB), kScaleA = 1 / (2 * kAA * (kAA - kBB)),
                kScaleB = 1 / (2 * kBB * (kBB - kAA));

// G g: 3 taps to the points
struct FilterTransform {
  template <typename V>
  FCN_WINOGRAD_HD void operator()(const V* g, int64_t step, V* v) const {
    const V even_a = kScaleA * (g[0] + kAA * g[2 * step]), odd_a = kScaleA * kA * g[step];
    const V even_b = kScaleB * (g[0] + kBB * g[2 * step]), odd_b = kScaleB * kB * g[step];
    v[0] = kScale0 * g[0];
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = g[2 * step];
  }
};

// G^T v, the transpose of FilterTransform: gradients at the points to those of 3 taps
struct FilterGradientTransform {
  template <typename V>
  FCN_WINOGRAD_HD void operator()(const V* v, int64_t step, V* g) const {
    const V sum_a = kScaleA * (v[step] + v[2 * step]), sum_b = kScaleB * (v[3 * step] + v[4 * step]);
    g[0] = kScale0 * v[0] + sum_a + sum_b;
    g[1] = kScaleA * kA * (v[step] - v[2 * step]) + kScaleB * kB * (v[3 * step] - v[4 * step]);
    g[2] = v[5 * step] + kAA * sum_a + kBB * sum_b;
  }
};

// Apply a 1-D transform along y, then x: from the (from x from) values get(i, j), at row i and
// pixel j, to put(i, j, value) for (to x to) values
template <typename V, int from, int to, typename Get, typename F, typename Put>
FCN_WINOGRAD_HD void transform_tile(Get get, F f, Put put) {
  V in[from], half[from][to], out[to];  // half: columns, transformed along y
  for (int j = 0; j < from; ++j) {
    for (int i = 0; i < from; ++i) in[i] = get(i, j);
    f(in, 1, half[j]);
  }
  for (int i = 0; i < to; ++i) {
    f(&half[0][i], to, out);
    for (int j = 0; j < to; ++j) put(i, j, out[j]);
  }
}

// A batch of images (N, H, W, C) and the tiles over it; the first starts `pad` before the image
struct TileGrid {
  int64_t images, height, width, channels, pad_y, pad_x, tiles_y, tiles_x;

  FCN_WINOGRAD_HD int64_t count() const { return images * tiles_y * tiles_x; }
  struct Corner {
    int64_t image, y, x;
  };
  FCN_WINOGRAD_HD Corner corner(int64_t tile) const {
    const int64_t x = tile % tiles_x, y = tile / tiles_x % tiles_y;
    return {tile / tiles_x / tiles_y, y * kOutputTile - pad_y, x * kOutputTile - pad_x};
  }
};

}  // namespace fcn
