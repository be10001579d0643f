// Geometry in which at most two inputs an axis feed an output, k <= 2 * stride, as in every FCN.
// Output o lies `phase` cells behind input i (upcrop_math.h's Subpixel): it reads input i with the
// near tap, taps[phase], and input i - 1 with the far tap, taps[phase + stride], each where the
// kernel and the image have one.
//
// The adjoint, an input's gradient, is separable. A thread walks down the outputs of a column and
// sums them by vertical taps in registers; whenever it has passed an input's last output, the
// block exchanges its sums through shared memory and adds them by horizontal taps. An output is
// read once for each band of input rows, and once more per stride outputs at the edges of tiles.
#pragma once

#include "../upcrop_math.h"
#include "device.h"

namespace fcn {

inline bool has_two_taps(const Axis& axis) { return axis.k <= 2 * axis.stride; }

__device__ __forceinline__ float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return fma(a, b, c); }

// Far plus near input by their taps. Each sum of two is this one, in which the compiler has no
// choice of what to fuse: a score has the same bits in all kernels that compute it.
template <typename Acc>
__device__ __forceinline__ Acc of_pair(Acc far_tap, Acc far, Acc near_tap, Acc near) {
  return fused(far_tap, far, near_tap * near);
}

// The inputs of one output along a row: offsets of both, -1 where there is none, and their taps
template <typename Acc>
struct Column {
  int far = -1, near = -1;
  Acc far_tap = 0, near_tap = 0;

  __device__ __forceinline__ Column() {}

  // For axes whose sizes fit 32 bits, and output o of them
  __device__ __forceinline__ Column(const Axis& axis, const Acc* taps, int64_t o) {
    const uint32_t u = static_cast<uint32_t>(o + axis.shift);
    const uint32_t stride = static_cast<uint32_t>(axis.stride), k = static_cast<uint32_t>(axis.k);
    const uint32_t i = u / stride, phase = u % stride, in = static_cast<uint32_t>(axis.in);
    if (i < in && phase < k) near = static_cast<int>(i), near_tap = taps[phase];
    if (i > 0 && i <= in && phase + stride < k)
      far = static_cast<int>(i - 1), far_tap = taps[phase + stride];
  }

  // Their weighted sum in an input row
  template <typename T>
  __device__ __forceinline__ Acc blend(const T* row) const {
    const Acc a = far >= 0 ? Acc(widen(row[far])) : Acc(0);
    const Acc b = near >= 0 ? Acc(widen(row[near])) : Acc(0);
    return of_pair(far_tap, a, near_tap, b);
  }
};

// A block's share of the adjoint: inputs [top, bottom) x [left, right) of `inner` interleaved
// values each, and the outputs [first, first + columns) of a row that feed them
struct Tile {
  int64_t top, bottom, left, right, first;
  int columns, inner;

  FCN_HD Tile(const Axis& x, int64_t top, int64_t bottom, int64_t left, int64_t right, int inner)
      : top(top), bottom(bottom), left(left), right(right), inner(inner) {
    const auto inside = [&](int64_t o) { return o < 0 ? 0 : o < x.out ? o : x.out; };
    first = inside(left * x.stride - x.shift);
    columns = static_cast<int>(inside((right - 1) * x.stride - x.shift + x.k) - first);
  }
};

// How many inputs, rows and columns, a tile has
struct TileSize {
  int64_t rows, columns, bands, strips;  // bands and strips: tiles along y and x

  // For at most `outputs` output columns, which the caller knows to be at least x.k; `others`:
  // blocks that multiply those of one plane. Short bands feed more blocks, long ones read less
  // twice; results do not depend on them.
  TileSize(const Axis& y, const Axis& x, int64_t outputs, int64_t others) {
    constexpr int64_t kEnough = 512;  // blocks: four for each multiprocessor of an H100
    const auto pieces = [](int64_t n, int64_t each) { return (n + each - 1) / each; };
    strips = x.out <= outputs ? 1 : pieces(x.in, (outputs - x.k) / x.stride + 1);
    columns = pieces(x.in, strips);
    strips = pieces(x.in, columns);
    for (rows = 8; rows > 1 && pieces(y.in, rows) * strips * others < kEnough;) rows /= 2;
    bands = pieces(y.in, rows);
  }
};

// Shared memory without bank conflicts for strides of a power of two: a gap after 32 values
FCN_HD int padded(int at) { return at + at / 32; }

// One value of a row of sums: by horizontal taps, from the outputs that input j feeds
template <typename Acc>
__device__ __forceinline__ Acc across(const Axis& x, const Acc* taps_x, const Tile& tile,
                                      const Acc* row, int64_t j, int channel) {
  const Span outputs = targets(x, j);
  const int begin = static_cast<int>(outputs.begin - tile.first);
  const int count = static_cast<int>(outputs.end - outputs.begin);
  const int64_t first = tap(x, outputs.begin, j);
  Acc sum = 0;
#pragma unroll 4
  for (int o = 0; o < count; ++o)
    sum += taps_x[first + o] * row[padded((begin + o) * tile.inner + channel)];
  return sum;
}

// The sums of a tile; all threads of the block call it. A thread has `vec` values of each row of
// outputs, of which value v stands at slot(v) of the tile's columns * inner, or beyond them.
//   row(output row, values): reads a row
//   store(i, j, channel, sum): takes a result
// shared: padded(columns * inner) values. `ahead` rows are read at a time. The sums are in the
// order of the outputs, y then x.
template <int vec, int ahead, typename Acc, typename Slot, typename Row, typename Store>
__device__ __forceinline__ void gather(const Axis& y, const Axis& x, const Acc* taps_y,
                                       const Acc* taps_x, const Tile& tile, Acc* shared,
                                       Slot slot, Row row, Store store) {
  const int64_t stride = y.stride, both = y.k > stride ? y.k - stride : 0;
  const int64_t some = y.k < stride ? y.k : stride;
  const int count = tile.columns * tile.inner;
  const int results = static_cast<int>(tile.right - tile.left) * tile.inner;
  const auto inside = [&](int64_t o) { return o < 0 ? 0 : o < y.out ? o : y.out; };
  Acc far_sum[vec], near_sum[vec];  // of inputs m - 1 and m
  for (int v = 0; v < vec; ++v) near_sum[v] = 0;
  for (int64_t m = tile.top; m <= tile.bottom; ++m) {
    for (int v = 0; v < vec; ++v) far_sum[v] = near_sum[v], near_sum[v] = 0;
    const int64_t start = m * stride - y.shift;  // the row of phase 0
    const int64_t middle = inside(start + both), end = inside(start + some);
#pragma unroll ahead
    for (int64_t oy = inside(start); oy < middle; ++oy) {
      const Acc near = taps_y[oy - start], far = taps_y[oy - start + stride];
      Acc values[vec];
      row(oy, values);
      for (int v = 0; v < vec; ++v) {
        far_sum[v] += far * values[v];
        near_sum[v] += near * values[v];
      }
    }
#pragma unroll 1
    for (int64_t oy = middle; oy < end && m < tile.bottom; ++oy) {
      Acc values[vec];
      const Acc near = taps_y[oy - start];
      row(oy, values);
      for (int v = 0; v < vec; ++v) near_sum[v] += near * values[v];
    }
    if (m == tile.top) continue;
    for (int v = 0; v < vec; ++v)
      if (slot(v) < count) shared[padded(slot(v))] = far_sum[v];
    __syncthreads();
#pragma unroll 1
    for (int o = threadIdx.x; o < results; o += blockDim.x) {
      const int64_t j = tile.left + o / tile.inner;
      store(m - 1, j, o % tile.inner,
            across(x, taps_x, tile, shared, j, o % tile.inner));
    }
    __syncthreads();
  }
}

}  // namespace fcn
