// The transforms of ../../winograd_math.h over many tiles on the CPU, free of ATen. A vector holds 16
// channels of one pixel.
#pragma once

#include <algorithm>

#include "../../winograd_math.h"
#include "../common/bf16.h"
#include "../gemm/micro_kernel.h"

namespace fcn {

using Vec16 = VecOf<float>;
constexpr int64_t kVecSize = Lanes<float>::count;
static_assert(kVecSize == kWinogradChannels);

// transform_tile of values in memory, from x on, rows and pixels `row` and `pixel` elements apart
template <int from, int to, typename T, typename F, typename Put>
FCN_INLINE void transform_2d(const T* x, int64_t row, int64_t pixel, F f, Put put) {
  transform_tile<Vec16, from, to>(
      [=](int i, int j) __attribute__((always_inline)) { return load(x + i * row + j * pixel); }, f,
      put);
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
      transform_2d_to<kInputTile, kInputTile>(w.data + c, w.row, g.channels, InputTransform{},
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
      transform_2d_to<kOutputTile, kInputTile>(w.data + c, w.row, g.channels, GradientTransform{},
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
          OutputTransform{}, [=](int i, int j, Vec16 value) __attribute__((always_inline)) {
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
      transform_2d_to<3, kInputTile>(taps + k * cols + c, 3 * pixel, pixel, FilterTransform{}, to,
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
          FilterTransform{}, [&](int i, int j, Vec16 value) __attribute__((always_inline)) {
            low[i * kInputTile + j] = value;
          });
      transform_2d<3, kInputTile>(
          taps + (2 * k + 1) * cols + c, 3 * pixel, pixel, FilterTransform{},
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
                                     FilterGradientTransform{}, taps + r * 9 * cols + c, cols);
}

}  // namespace fcn
