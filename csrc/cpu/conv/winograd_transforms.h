// Winograd convolution of 3x3 filters with stride 1, F(4x4, 3x3) (Lavin and Gray, 2016;
// Toom-Cook):
//
//   Y = A^T [ (G g G^T) .* (B^T d B) ] A,    summed over channels before the output transform
//
// A tile of 4x4 outputs comes from a 6x6 input tile d by 36 products per pair of channels instead
// of 144. The interpolation points are 0, +-3/4, +-3/2 and infinity: with them the rounding error
// is about twice that of direct summation. The products over all tiles are one matrix product per
// point, (tiles x channels) * (channels x outputs), done in winograd.cpp.
//
// This header holds the transforms, free of ATen. Images are channels last; a vector holds 16
// channels of one pixel, so a transform is straight-line code on vectors, along y and then along
// x.
#pragma once

#include <algorithm>

#include "../common/bf16.h"
#include "../gemm/micro_kernel.h"

namespace fcn {

constexpr int64_t kOutputTile = 4, kInputTile = 6;    // side of an output and an input tile
constexpr int64_t kPoints = kInputTile * kInputTile;  // products of a tile
constexpr int64_t kMaxPad = 2;  // the input's gradient is a convolution with pad 2 - pad
constexpr float kA = 0.75f, kB = 1.5f, kAA = kA * kA, kBB = kB * kB;

using Vec16 = VecOf<float>;
constexpr int64_t kVecSize = Lanes<float>::count;

// B^T x: 6 inputs to the 6 points; consecutive values are `step` vectors apart
FCN_INLINE void input_transform(const Vec16* x, int64_t step, Vec16* v) {
  const Vec16 x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step];
  const Vec16 even_a = x4 - kBB * x2, odd_a = kA * (x3 - kBB * x1);
  const Vec16 even_b = x4 - kAA * x2, odd_b = kB * (x3 - kAA * x1);
  v[0] = kAA * kBB * x[0] + (x4 - (kAA + kBB) * x2);
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = kAA * kBB * x1 + (x[5 * step] - (kAA + kBB) * x3);
}

// A^T v: 6 points to 4 outputs
FCN_INLINE void output_transform(const Vec16* v, int64_t step, Vec16* y) {
  const Vec16 sum_a = v[step] + v[2 * step], diff_a = v[step] - v[2 * step];
  const Vec16 sum_b = v[3 * step] + v[4 * step], diff_b = v[3 * step] - v[4 * step];
  y[0] = v[0] + sum_a + sum_b;
  y[1] = kA * diff_a + kB * diff_b;
  y[2] = kAA * sum_a + kBB * sum_b;
  y[3] = v[5 * step] + kA * kAA * diff_a + kB * kBB * diff_b;
}

// A y, the transpose of output_transform: gradients of 4 outputs to the points
FCN_INLINE void gradient_transform(const Vec16* y, int64_t step, Vec16* v) {
  const Vec16 even_a = y[0] + kAA * y[2 * step], odd_a = kA * (y[step] + kAA * y[3 * step]);
  const Vec16 even_b = y[0] + kBB * y[2 * step], odd_b = kB * (y[step] + kBB * y[3 * step]);
  v[0] = y[0];
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = y[3 * step];
}

// Normalisation of the points, which the filter transform applies
constexpr float kScale0 = 1 / (kAA * kBB), kScaleA = 1 / (2 * kAA * (kAA - kBB)),
                kScaleB = 1 / (2 * kBB * (kBB - kAA));

// G g: 3 taps to the points
FCN_INLINE void filter_transform(const Vec16* g, int64_t step, Vec16* v) {
  const Vec16 even_a = kScaleA * (g[0] + kAA * g[2 * step]), odd_a = kScaleA * kA * g[step];
  const Vec16 even_b = kScaleB * (g[0] + kBB * g[2 * step]), odd_b = kScaleB * kB * g[step];
  v[0] = kScale0 * g[0];
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = g[2 * step];
}

// G^T v, the transpose of filter_transform: gradients at the points to those of 3 taps
FCN_INLINE void filter_gradient_transform(const Vec16* v, int64_t step, Vec16* g) {
  const Vec16 sum_a = kScaleA * (v[step] + v[2 * step]),
              sum_b = kScaleB * (v[3 * step] + v[4 * step]);
  g[0] = kScale0 * v[0] + sum_a + sum_b;
  g[1] = kScaleA * kA * (v[step] - v[2 * step]) + kScaleB * kB * (v[3 * step] - v[4 * step]);
  g[2] = v[5 * step] + kAA * sum_a + kBB * sum_b;
}

// Apply a 1-D transform along y, then x: from x (from x from), rows and pixels `row` and `pixel`
// elements apart, to put(i, j, value) for (to x to) values
template <int from, int to, typename T, typename F, typename Put>
FCN_INLINE void transform_2d(const T* x, int64_t row, int64_t pixel, F f, Put put) {
  Vec16 in[from], half[from][to], out[to];  // half: columns, transformed along y
  for (int j = 0; j < from; ++j) {
    for (int i = 0; i < from; ++i) in[i] = load(x + i * row + j * pixel);
    f(in, 1, half[j]);
  }
  for (int i = 0; i < to; ++i) {
    f(&half[0][i], to, out);
    for (int j = 0; j < to; ++j) put(i, j, out[j]);
  }
}

// transform_2d to memory, one value every `point` elements
template <int from, int to, typename T, typename F>
FCN_INLINE void transform_2d_to(const T* x, int64_t row, int64_t pixel, F f, T* v, int64_t point) {
  transform_2d<from, to>(
      x, row, pixel, f, [=](int i, int j, Vec16 value) __attribute__((always_inline)) {
        store(v + (i * to + j) * point, value);
      });
}

// Memory layout of transformed tiles: (36 points, tiles, channels), with pitches `point` and `tile`
struct PointLayout {
  int64_t tile, point;

  // Neither pitch is a multiple of the page size, so that the points map to different cache sets
  PointLayout(int64_t channels, int64_t count)
      : tile(channels + 16), point((count * tile + 1023) / 1024 * 1024 + 80) {}
  int64_t size() const { return kPoints * point; }
};

// A batch of images (N, H, W, C) and the tiles over it; the first starts `pad` before the image
struct TileGrid {
  int64_t images, height, width, channels, pad_y, pad_x, tiles_y, tiles_x;

  int64_t count() const { return images * tiles_y * tiles_x; }
  struct Corner {
    int64_t image, y, x;
  };
  Corner corner(int64_t tile) const {
    const int64_t x = tile % tiles_x, y = tile / tiles_x % tiles_y;
    return {tile / tiles_x / tiles_y, y * kOutputTile - pad_y, x * kOutputTile - pad_x};
  }
};

// A square of `side` pixels: in the image itself or, where it crosses the border, zero-padded in
// `copy`
template <typename T>
struct Patch {
  const T* data;
  int64_t row;  // pitch
};

template <typename T>
Patch<T> patch(const TileGrid& g, const T* image, TileGrid::Corner at, int64_t side, T* copy) {
  const int64_t c = g.channels;
  image += at.image * g.height * g.width * c;
  if (at.y >= 0 && at.x >= 0 && at.y + side <= g.height && at.x + side <= g.width)
    return {image + (at.y * g.width + at.x) * c, g.width * c};
  std::fill_n(copy, side * side * c, T{});
  const int64_t left = std::max<int64_t>(0, at.x), right = std::min(at.x + side, g.width);
  for (int64_t i = std::max<int64_t>(0, -at.y); i < std::min(side, g.height - at.y); ++i)
    if (left < right)
      std::copy_n(image + ((at.y + i) * g.width + left) * c, (right - left) * c,
                  copy + (i * side + left - at.x) * c);
  return {copy, side * c};
}

// Input transform (B^T d B) of tiles begin .. begin + count - 1
template <typename T>
FCN_INLINE void transform_inputs_of(const TileGrid& g, const T* image, int64_t begin, int64_t count,
                                    T* copy, const PointLayout& to, T* v) {
  for (int64_t t = 0; t < count; ++t) {
    const Patch<T> w = patch(g, image, g.corner(begin + t), kInputTile, copy);
    if (w.data != copy)  // prefetch what the next tile reads beyond this one
      for (int64_t i = 0; i < kInputTile; ++i)
        for (int64_t c = 0; c < kOutputTile * g.channels; c += 64 / sizeof(T))
          __builtin_prefetch(w.data + i * w.row + kInputTile * g.channels + c);
    for (int64_t c = 0; c < g.channels; c += kVecSize)
      transform_2d_to<kInputTile, kInputTile>(w.data + c, w.row, g.channels, input_transform,
                                              v + t * to.tile + c, to.point);
  }
}
FCN_CLONES FCN_CONTRACT inline void transform_inputs(const TileGrid& g, const float* image,
                                                     int64_t begin, int64_t count, float* copy,
                                                     const PointLayout& to, float* v) {
  transform_inputs_of(g, image, begin, count, copy, to, v);
}
FCN_AVX512 FCN_CONTRACT inline void transform_inputs(const TileGrid& g, const Bf16* image,
                                                     int64_t begin, int64_t count, Bf16* copy,
                                                     const PointLayout& to, Bf16* v) {
  transform_inputs_of(g, image, begin, count, copy, to, v);
}

// Transform of the gradients of those tiles' outputs (A y A^T)
FCN_CLONES FCN_CONTRACT inline void transform_gradients(const TileGrid& g, const float* image,
                                                        int64_t begin, int64_t count, float* copy,
                                                        const PointLayout& to, float* v) {
  for (int64_t t = 0; t < count; ++t) {
    const Patch<float> w = patch(g, image, g.corner(begin + t), kOutputTile, copy);
    for (int64_t c = 0; c < g.channels; c += kVecSize)
      transform_2d_to<kOutputTile, kInputTile>(w.data + c, w.row, g.channels, gradient_transform,
                                               v + t * to.tile + c, to.point);
  }
}

// Output transform (A^T m A), clipped to the image, plus a bias per channel unless it is null
template <typename T>
FCN_INLINE void transform_outputs_of(const TileGrid& g, const PointLayout& from, const float* v,
                                     int64_t begin, int64_t count, const T* bias, T* image) {
  for (int64_t t = 0; t < count; ++t) {
    const TileGrid::Corner at = g.corner(begin + t);
    const int64_t rows = std::min(kOutputTile, g.height - at.y),
                  cols = std::min(kOutputTile, g.width - at.x);
    T* out = image + ((at.image * g.height + at.y) * g.width + at.x) * g.channels;
    for (int64_t c = 0; c < g.channels; c += kVecSize) {
      const Vec16 shift = bias ? load(bias + c) : Vec16{};
      transform_2d<kInputTile, kOutputTile>(
          v + t * from.tile + c, kInputTile * from.point, from.point,
          output_transform, [=](int i, int j, Vec16 value) __attribute__((always_inline)) {
            if (i < rows && j < cols)
              store(out + (i * g.width + j) * g.channels + c, value + shift);
          });
    }
  }
}
FCN_CLONES FCN_CONTRACT inline void transform_outputs(const TileGrid& g, const PointLayout& from,
                                                      const float* v, int64_t begin, int64_t count,
                                                      const float* bias, float* image) {
  transform_outputs_of(g, from, v, begin, count, bias, image);
}
FCN_AVX512 FCN_CONTRACT inline void transform_outputs(const TileGrid& g, const PointLayout& from,
                                                      const float* v, int64_t begin, int64_t count,
                                                      const Bf16* bias, Bf16* image) {
  transform_outputs_of(g, from, v, begin, count, bias, image);
}

// Filter transform (G g G^T): taps (3, 3, depth, cols) to column panels (36, panels, depth,
// kPanel), rows begin .. end of the depth
FCN_CLONES FCN_CONTRACT inline void transform_filters(const float* taps, int64_t depth,
                                                      int64_t cols, int64_t begin, int64_t end,
                                                      float* v) {
  const int64_t panels = (cols + kPanel<float> - 1) / kPanel<float>;
  const int64_t pixel = depth * cols, point = panels * depth * kPanel<float>;
  for (int64_t k = begin; k < end; ++k)
    for (int64_t c = 0; c < cols; c += kVecSize) {
      float* to = v + (c / kPanel<float> * depth + k) * kPanel<float> + c % kPanel<float>;
      transform_2d_to<3, kInputTile>(taps + k * cols + c, 3 * pixel, pixel, filter_transform, to,
                                     point);
    }
}

// The same for pairs of bfloat16: depth, begin and end count pairs of channels
FCN_INLINE void transform_filter_pairs(const Bf16* taps, int64_t depth, int64_t cols, int64_t begin,
                                       int64_t end, Bf16Pair* v) {
  const int64_t panels = (cols + kPanel<Bf16Pair> - 1) / kPanel<Bf16Pair>;
  const int64_t pixel = 2 * depth * cols, point = panels * depth * kPanel<Bf16Pair>;
  for (int64_t k = begin; k < end; ++k)
    for (int64_t c = 0; c < cols; c += kVecSize) {
      Vec16 low[kPoints];
      Bf16Pair* to =
          v + (c / kPanel<Bf16Pair> * depth + k) * kPanel<Bf16Pair> + c % kPanel<Bf16Pair>;
      transform_2d<3, kInputTile>(
          taps + 2 * k * cols + c, 3 * pixel, pixel,
          filter_transform, [&](int i, int j, Vec16 value) __attribute__((always_inline)) {
            low[i * kInputTile + j] = value;
          });
      transform_2d<3, kInputTile>(
          taps + (2 * k + 1) * cols + c, 3 * pixel, pixel, filter_transform,
          [ =, &low ](int i, int j, Vec16 high) __attribute__((always_inline)) {
            store(to + (i * kInputTile + j) * point, interleave(low[i * kInputTile + j], high));
          });
    }
}
FCN_AVX512 FCN_CONTRACT inline void transform_filters(const Bf16* taps, int64_t depth, int64_t cols,
                                                      int64_t begin, int64_t end, Bf16Pair* v) {
  transform_filter_pairs(taps, depth, cols, begin, end, v);
}

// Gradient of the filters: (36, rows, cols) at the points to taps (rows, 3, 3, cols), rows
// begin .. end
FCN_CLONES FCN_CONTRACT inline void inverse_transform_filters(const float* v, int64_t rows,
                                                              int64_t cols, int64_t begin,
                                                              int64_t end, float* taps) {
  const int64_t point = rows * cols;
  for (int64_t r = begin; r < end; ++r)
    for (int64_t c = 0; c < cols; c += kVecSize)
      transform_2d_to<kInputTile, 3>(v + r * cols + c, kInputTile * point, point,
                                     filter_gradient_transform, taps + r * 9 * cols + c, cols);
}

}  // namespace fcn
