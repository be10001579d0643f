// The rows of outputs between two rows of inputs, of a kernel of two strides: the inputs' rows are as
// wide as the output already, and stay in the cache while all rows between them are written.
#pragma once

#include "row_kernels.h"

namespace fcn {

// out[r][c] = now_taps[r] * now[c] + before_taps[r] * before[c], of `rows` rows of n values that
// start `pitch` apart
template <int rows, typename T, typename Acc>
FCN_CLONES void write_few(const Acc* now, const Acc* before, const Acc* now_taps,
                          const Acc* before_taps, int64_t n, int64_t pitch, T* __restrict__ out) {
#pragma omp simd
  for (int64_t c = 0; c < n; ++c)
    for (int r = 0; r < rows; ++r)
      out[r * pitch + c] = static_cast<T>(now_taps[r] * now[c] + before_taps[r] * before[c]);
}

// out[c] = now_tap * now[c] + before_tap * before[c] + skip[c]
template <typename T, typename Acc>
FCN_CLONES void write_sum(const Acc* now, const Acc* before, Acc now_tap, Acc before_tap,
                          const T* skip, int64_t n, T* __restrict__ out) {
#pragma omp simd
  for (int64_t c = 0; c < n; ++c)
    out[c] = static_cast<T>(now_tap * now[c] + before_tap * before[c] +
                            static_cast<Acc>(skip[c]));
}

template <typename Acc>
struct Between {
  const Acc *now, *before;            // rows of `width` values
  const Acc *now_taps, *before_taps;  // of the first row of outputs, the next row's behind it
  int64_t width;

  // Eight rows at a time: what is read once serves all of them, and little but writing is left
  template <typename T>
  void write(int64_t n, int64_t pitch, T* out) const {
    int64_t r = 0;
    const auto few = [&](auto count) {
      for (; r + count <= n; r += count)
        write_few<count>(now, before, now_taps + r, before_taps + r, width, pitch,
                         out + r * pitch);
    };
    few(std::integral_constant<int, 8>());
    few(std::integral_constant<int, 4>());
    few(std::integral_constant<int, 2>());
    few(std::integral_constant<int, 1>());
  }

  // With a skip, whose rows are `pitch` apart: one row at a time, as memory is read ahead best
  // along one row, and of long rows so many columns as leave both inputs' in the nearest cache
  template <typename T>
  void write_sums(int64_t n, const T* skip, int64_t pitch, T* out) const {
    constexpr int64_t kColumns = 2048;
    for (int64_t c = 0; c < width; c += kColumns)
      for (int64_t r = 0; r < n; ++r)
        write_sum(now + c, before + c, now_taps[r], before_taps[r], skip + r * pitch + c,
                  std::min(kColumns, width - c), out + r * width + c);
  }
};

}  // namespace fcn
