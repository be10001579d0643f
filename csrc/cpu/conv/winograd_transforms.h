// Winograd's convolution of 3x3 filters, F(4x4, 3x3): a tile of 4x4 outputs from 6x6 inputs by 36
// products a channel where the sum itself takes 144 (Lavin and Gray, 2016; Toom and Cook). The
// points are 0, +-3/4, +-3/2 and infinity: with them its error is twice that of a sum in order.
// Free of ATen.
#pragma once

#include "../common/bf16.h"
#include "../gemm/micro_kernel.h"

namespace fcn {

constexpr int64_t kTile = 4, kWide = 6, kPlaces = 36;  // outputs, inputs, places of a tile
constexpr float kA = 0.75f, kB = 1.5f, kAA = kA * kA, kBB = kB * kB;

using Lane = VecOf<float>;
constexpr int64_t kLanes = Lanes<float>::count;

// x of 6 inputs -> their values at the points
FCN_INLINE void to_points(const Lane* x, int64_t step, Lane* v) {
  const Lane x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step];
  const Lane even_a = x4 - kBB * x2, odd_a = kA * (x3 - kBB * x1);
  const Lane even_b = x4 - kAA * x2, odd_b = kB * (x3 - kAA * x1);
  v[0] = kAA * kBB * x[0] + (x4 - (kAA + kBB) * x2);
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = kAA * kBB * x1 + (x[5 * step] - (kAA + kBB) * x3);
}

// Values at the points -> 4 outputs
FCN_INLINE void from_points(const Lane* v, int64_t step, Lane* y) {
  const Lane sum_a = v[step] + v[2 * step], gap_a = v[step] - v[2 * step];
  const Lane sum_b = v[3 * step] + v[4 * step], gap_b = v[3 * step] - v[4 * step];
  y[0] = v[0] + sum_a + sum_b;
  y[1] = kA * gap_a + kB * gap_b;
  y[2] = kAA * sum_a + kBB * sum_b;
  y[3] = v[5 * step] + kA * kAA * gap_a + kB * kBB * gap_b;
}

// The transpose of from_points: gradients of 4 outputs -> at the points
FCN_INLINE void to_points_of_gradient(const Lane* y, int64_t step, Lane* v) {
  const Lane even_a = y[0] + kAA * y[2 * step], odd_a = kA * (y[step] + kAA * y[3 * step]);
  const Lane even_b = y[0] + kBB * y[2 * step], odd_b = kB * (y[step] + kBB * y[3 * step]);
  v[0] = y[0];
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = y[3 * step];
}

// What the points' products are divided by, of each pair of points
constexpr float kOver0 = 1 / (kAA * kBB), kOverA = 1 / (2 * kAA * (kAA - kBB)),
                kOverB = 1 / (2 * kBB * (kBB - kAA));

// 3 taps -> at the points
FCN_INLINE void to_points_of_filter(const Lane* g, int64_t step, Lane* v) {
  const Lane even_a = kOverA * (g[0] + kAA * g[2 * step]), odd_a = kOverA * kA * g[step];
  const Lane even_b = kOverB * (g[0] + kBB * g[2 * step]), odd_b = kOverB * kB * g[step];
  v[0] = kOver0 * g[0];
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = g[2 * step];
}

// The transpose of to_points_of_filter: gradients at the points -> of 3 taps
FCN_INLINE void from_points_of_filter(const Lane* v, int64_t step, Lane* g) {
  const Lane sum_a = kOverA * (v[step] + v[2 * step]), sum_b = kOverB * (v[3 * step] + v[4 * step]);
  g[0] = kOver0 * v[0] + sum_a + sum_b;
  g[1] = kOverA * kA * (v[step] - v[2 * step]) + kOverB * kB * (v[3 * step] - v[4 * step]);
  g[2] = v[5 * step] + kAA * sum_a + kBB * sum_b;
}

// Along both axes: from x[from][from], `row` and `cell` numbers apart, to put(i, j, value) of
// to x to values
template <int from, int to, typename T, typename F, typename Put>
FCN_INLINE void along_both(const T* x, int64_t row, int64_t cell, F f, Put put) {
  Lane in[from], half[from][to], out[to];  // half: columns of x, transformed along y
  for (int j = 0; j < from; ++j) {
    for (int i = 0; i < from; ++i) in[i] = load(x + i * row + j * cell);
    f(in, 1, half[j]);
  }
  for (int i = 0; i < to; ++i) {
    f(&half[0][i], to, out);
    for (int j = 0; j < to; ++j) put(i, j, out[j]);
  }
}

// Along both axes to places of memory, `place` numbers apart
template <int from, int to, typename T, typename F>
FCN_INLINE void along_both_to(const T* x, int64_t row, int64_t cell, F f, T* v, int64_t place) {
  along_both<from, to>(x, row, cell, f, [=](int i, int j, Lane value)
                           __attribute__((always_inline)) { store(v + (i * to + j) * place, value); });
}

// Where tiles' numbers stand: `place` apart from place to place, `line` from tile to tile
struct Tiles {
  int64_t line, place;

  // Neither distance is a multiple of a page, so that the places fall on different cache sets
  Tiles(int64_t channels, int64_t count)
      : line(channels + 16), place((count * line + 1023) / 1024 * 1024 + 80) {}
  int64_t size() const { return kPlaces * place; }
};

// An image batch (N, H, W, C), and how tiles lie on it; tile 0 starts `pad` before the image
struct Grid {
  int64_t images, height, width, channels, pad_y, pad_x, tiles_y, tiles_x;

  int64_t count() const { return images * tiles_y * tiles_x; }
  struct Spot { int64_t image, y, x; };
  Spot spot(int64_t tile) const {
    const int64_t x = tile % tiles_x, y = tile / tiles_x % tiles_y;
    return {tile / tiles_x / tiles_y, y * kTile - pad_y, x * kTile - pad_x};
  }
};

#define FCN_FUSED __attribute__((optimize("fp-contract=fast")))

// A square of `side` cells at a tile's spot: in the image itself, or with zeros around it in `copy`
template <typename T>
struct Window {
  const T* data;
  int64_t row;
};
template <typename T>
Window<T> window(const Grid& g, const T* image, Grid::Spot at, int64_t side, T* copy) {
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

// Tiles begin .. begin + count - 1 of an image at the points, whose inputs they are
template <typename T>
FCN_INLINE void each_to_points(const Grid& g, const T* image, int64_t begin, int64_t count, T* copy,
                               const Tiles& to, T* v) {
  for (int64_t t = 0; t < count; ++t) {
    const Window<T> w = window(g, image, g.spot(begin + t), kWide, copy);
    if (w.data != copy)  // what the next tile reads besides
      for (int64_t i = 0; i < kWide; ++i)
        for (int64_t c = 0; c < kTile * g.channels; c += 64 / sizeof(T))
          __builtin_prefetch(w.data + i * w.row + kWide * g.channels + c);
    for (int64_t c = 0; c < g.channels; c += kLanes)
      along_both_to<kWide, kWide>(w.data + c, w.row, g.channels, to_points, v + t * to.line + c,
                                  to.place);
  }
}
FCN_CLONES FCN_FUSED inline void inputs_to_points(const Grid& g, const float* image, int64_t begin,
                                                  int64_t count, float* copy, const Tiles& to,
                                                  float* v) {
  each_to_points(g, image, begin, count, copy, to, v);
}
FCN_AVX512 FCN_FUSED inline void inputs_to_points(const Grid& g, const Bf16* image, int64_t begin,
                                                  int64_t count, Bf16* copy, const Tiles& to,
                                                  Bf16* v) {
  each_to_points(g, image, begin, count, copy, to, v);
}

// The same for the gradient of their outputs
FCN_CLONES FCN_FUSED inline void gradients_to_points(const Grid& g, const float* image,
                                                     int64_t begin, int64_t count, float* copy,
                                                     const Tiles& to, float* v) {
  for (int64_t t = 0; t < count; ++t) {
    const Window<float> w = window(g, image, g.spot(begin + t), kTile, copy);
    for (int64_t c = 0; c < g.channels; c += kLanes)
      along_both_to<kTile, kWide>(w.data + c, w.row, g.channels, to_points_of_gradient,
                                  v + t * to.line + c, to.place);
  }
}

// Tiles of an image from the points, cut where the image ends; bias: one a channel, or null
template <typename T>
FCN_INLINE void each_from_points(const Grid& g, const Tiles& from, const float* v, int64_t begin,
                                 int64_t count, const T* bias, T* image) {
  for (int64_t t = 0; t < count; ++t) {
    const Grid::Spot at = g.spot(begin + t);
    const int64_t rows = std::min(kTile, g.height - at.y), cols = std::min(kTile, g.width - at.x);
    T* out = image + ((at.image * g.height + at.y) * g.width + at.x) * g.channels;
    for (int64_t c = 0; c < g.channels; c += kLanes) {
      const Lane shift = bias ? load(bias + c) : Lane{};
      along_both<kWide, kTile>(v + t * from.line + c, kWide * from.place, from.place, from_points,
                               [=](int i, int j, Lane value) __attribute__((always_inline)) {
        if (i < rows && j < cols) store(out + (i * g.width + j) * g.channels + c, value + shift);
      });
    }
  }
}
FCN_CLONES FCN_FUSED inline void outputs_from_points(const Grid& g, const Tiles& from,
                                                     const float* v, int64_t begin, int64_t count,
                                                     const float* bias, float* image) {
  each_from_points(g, from, v, begin, count, bias, image);
}
FCN_AVX512 FCN_FUSED inline void outputs_from_points(const Grid& g, const Tiles& from,
                                                     const float* v, int64_t begin, int64_t count,
                                                     const Bf16* bias, Bf16* image) {
  each_from_points(g, from, v, begin, count, bias, image);
}

// taps (3, 3, depth, cols) -> (36, panels, depth, kPanel), rows begin .. end of the depth
FCN_CLONES FCN_FUSED inline void filters_to_points(const float* taps, int64_t depth, int64_t cols,
                                                   int64_t begin, int64_t end, float* v) {
  const int64_t panels = (cols + kPanel<float> - 1) / kPanel<float>;
  const int64_t cell = depth * cols, place = panels * depth * kPanel<float>;
  for (int64_t k = begin; k < end; ++k)
    for (int64_t c = 0; c < cols; c += kLanes) {
      float* to = v + (c / kPanel<float> * depth + k) * kPanel<float> + c % kPanel<float>;
      along_both_to<3, kWide>(taps + k * cols + c, 3 * cell, cell, to_points_of_filter, to, place);
    }
}

// The same in pairs: depth, begin and end count pairs of rows of the taps
FCN_INLINE void pairs_to_points(const Bf16* taps, int64_t depth, int64_t cols, int64_t begin,
                                int64_t end, Pair* v) {
  const int64_t panels = (cols + kPanel<Pair> - 1) / kPanel<Pair>;
  const int64_t cell = 2 * depth * cols, place = panels * depth * kPanel<Pair>;
  for (int64_t k = begin; k < end; ++k)
    for (int64_t c = 0; c < cols; c += kLanes) {
      Lane low[kPlaces];
      Pair* to = v + (c / kPanel<Pair> * depth + k) * kPanel<Pair> + c % kPanel<Pair>;
      along_both<3, kWide>(taps + 2 * k * cols + c, 3 * cell, cell, to_points_of_filter,
                           [&](int i, int j, Lane value) __attribute__((always_inline)) {
        low[i * kWide + j] = value;
      });
      along_both<3, kWide>(taps + (2 * k + 1) * cols + c, 3 * cell, cell, to_points_of_filter,
                           [=, &low](int i, int j, Lane high) __attribute__((always_inline)) {
        store(to + (i * kWide + j) * place, interleave(low[i * kWide + j], high));
      });
    }
}
FCN_AVX512 FCN_FUSED inline void filters_to_points(const Bf16* taps, int64_t depth, int64_t cols,
                                                   int64_t begin, int64_t end, Pair* v) {
  pairs_to_points(taps, depth, cols, begin, end, v);
}

// Gradients (36, rows, cols) at the points -> (rows, 3, 3, cols) of the taps, rows begin .. end
FCN_CLONES FCN_FUSED inline void filters_from_points(const float* v, int64_t rows, int64_t cols,
                                                     int64_t begin, int64_t end, float* taps) {
  const int64_t place = rows * cols;
  for (int64_t r = begin; r < end; ++r)
    for (int64_t c = 0; c < cols; c += kLanes)
      along_both_to<kWide, 3>(v + r * cols + c, kWide * place, place, from_points_of_filter,
                              taps + r * 9 * cols + c, cols);
}

}  // namespace fcn
