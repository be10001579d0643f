// Vertical pass for k = 2 * stride: all output rows between two input rows are blends of that pair.
// The pair is upsampled horizontally first and stays in the L1 cache while the rows are written.
#pragma once

#include "row_kernels.h"

namespace fcn {

// out[r][c] = below_taps[r] * below[c] + above_taps[r] * above[c], for `rows` rows of n values
template <int rows, typename T, typename Acc>
FCN_CLONES void blend_pair(const Acc* below, const Acc* above, const Acc* below_taps,
                           const Acc* above_taps, int64_t n, int64_t pitch, T* __restrict__ out) {
#pragma omp simd
  for (int64_t c = 0; c < n; ++c)
    for (int r = 0; r < rows; ++r)
      out[r * pitch + c] = static_cast<T>(below_taps[r] * below[c] + above_taps[r] * above[c]);
}

// out[c] = below_tap * below[c] + above_tap * above[c] + skip[c]
template <typename T, typename Acc>
FCN_CLONES void blend_pair_add(const Acc* below, const Acc* above, Acc below_tap, Acc above_tap,
                               const T* skip, int64_t n, T* __restrict__ out) {
#pragma omp simd
  for (int64_t c = 0; c < n; ++c)
    out[c] =
        static_cast<T>(below_tap * below[c] + above_tap * above[c] + static_cast<Acc>(skip[c]));
}

template <typename Acc>
struct RowPair {
  const Acc *below, *above;            // rows of `width` values
  const Acc *below_taps, *above_taps;  // for consecutive output rows
  int64_t width;

  // Write n rows, up to eight per pass over the pair, so that stores dominate
  template <typename T>
  void write(int64_t n, int64_t pitch, T* out) const {
    int64_t r = 0;
    const auto few = [&](auto count) {
      for (; r + count <= n; r += count)
        blend_pair<count>(below, above, below_taps + r, above_taps + r, width, pitch,
                          out + r * pitch);
    };
    few(std::integral_constant<int, 8>());
    few(std::integral_constant<int, 4>());
    few(std::integral_constant<int, 2>());
    few(std::integral_constant<int, 1>());
  }

  // Write n rows plus a skip whose rows are `pitch` apart. One row at a time, which suits the
  // hardware prefetcher, and in column blocks that keep the pair in the L1 cache.
  template <typename T>
  void write_added(int64_t n, const T* skip, int64_t pitch, T* out) const {
    constexpr int64_t kColumnBlock = 2048;
    for (int64_t c = 0; c < width; c += kColumnBlock)
      for (int64_t r = 0; r < n; ++r)
        blend_pair_add(below + c, above + c, below_taps[r], above_taps[r], skip + r * pitch + c,
                       std::min(kColumnBlock, width - c), out + r * width + c);
  }
};

}  // namespace fcn
