// Row kernels of the fused op, which is separable: `blend` is the vertical pass (a weighted sum of
// rows), `expand` the horizontal pass (a row of the input upsampled to the output's width),
// `contract` the adjoint of expand. Each has a variant for kernels of two strides (k = 2 * stride,
// as in FCN), where an output has two taps: the outputs between two inputs form a block of one
// stride with the same two sources.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../../upcrop_math.h"
#include "../common/target.h"

namespace fcn {

// sum[c] (+)= weights[0] * rows[0][c] + ... of exactly `count` rows
template <int count, bool add, typename T, typename Acc>
FCN_CLONES void blend_few(const T* const* rows, const Acc* weights, int64_t n,
                          Acc* __restrict__ sum) {
  for (int64_t c = 0; c < n; ++c) {
    Acc value = add ? sum[c] : Acc(0);
    for (int r = 0; r < count; ++r) value += weights[r] * static_cast<Acc>(rows[r][c]);
    sum[c] = value;
  }
}

// sum[c] = sum of weights[r] * rows[r][c] over `count` rows, in their order; 0 for none
template <typename T, typename Acc>
void blend(const T* const* rows, const Acc* weights, int64_t count, int64_t n, Acc* sum) {
  int64_t r = count % 4;
  if (r == 0) blend_few<0, false>(rows, weights, n, sum);
  if (r == 1) blend_few<1, false>(rows, weights, n, sum);
  if (r == 2) blend_few<2, false>(rows, weights, n, sum);
  if (r == 3) blend_few<3, false>(rows, weights, n, sum);
  for (; r < count; r += 4) blend_few<4, true>(rows + r, weights + r, n, sum);
}

// sum[c] += row[c]
template <typename T, typename Acc>
FCN_CLONES void add_row(const T* row, int64_t n, Acc* __restrict__ sum) {
  for (int64_t c = 0; c < n; ++c) sum[c] += static_cast<Acc>(row[c]);
}

// Find the input rows that contribute to output row `at`, and their taps; returns their number
template <typename T, typename Acc>
int64_t source_rows(const Axis& y, Subpixel at, const T* plane, int64_t row, const Acc* taps,
                    const T** rows, Acc* weights) {
  int64_t count = 0;
  for (int64_t i = at.i, t = at.phase; i >= 0 && t < y.k; --i, t += y.stride) {
    if (i >= y.in) continue;
    rows[count] = plane + i * row;
    weights[count++] = taps[t];
  }
  return count;
}

// Call f with `count`, as a compile-time constant where it is a stride or kernel size of FCN nets
template <typename F>
FCN_INLINE void for_count(int64_t count, F f) {
  switch (count) {
    case 2: return f(std::integral_constant<int64_t, 2>());
    case 4: return f(std::integral_constant<int64_t, 4>());
    case 8: return f(std::integral_constant<int64_t, 8>());
    case 16: return f(std::integral_constant<int64_t, 16>());
    case 32: return f(std::integral_constant<int64_t, 32>());
    case 64: return f(std::integral_constant<int64_t, 64>());
    default: return f(count);
  }
}

// expand for k = 2 * stride, in whole blocks; row[0] is the input before the first block:
//   wide[b * stride + o] = taps[o + stride] * row[b] + taps[o] * row[b + 1]
template <typename Acc>
FCN_CLONES void expand_pairs(const Acc* row, const Acc* taps, int64_t stride, int64_t blocks,
                             Acc* __restrict__ wide) {
  for_count(
      stride, [=](auto n) __attribute__((always_inline)) {
        Acc* __restrict__ block = wide;
        for (int64_t b = 0; b < blocks; ++b, block += n)
          for (int64_t o = 0; o < n; ++o) block[o] = taps[o + n] * row[b] + taps[o] * row[b + 1];
      });
}

// The same for pixels of `inner` interleaved channels. Whole vectors are processed: up to kSlack
// values beyond the end of either row are read and written.
constexpr int64_t kSlack = 16;
template <typename Acc>
FCN_CLONES void expand_pairs_interleaved(const Acc* row, const Acc* taps, int64_t stride,
                                         int64_t blocks, int64_t inner, Acc* wide) {
  const int64_t whole = (inner + kSlack - 1) / kSlack * kSlack;
  for (int64_t b = 0; b < blocks; ++b, row += inner)
    for (int64_t o = 0; o < stride; ++o, wide += inner)
#pragma omp simd
      for (int64_t c = 0; c < whole; ++c)
        wide[c] = taps[o + stride] * row[c] + taps[o] * row[c + inner];
}

// wide (n pixels of `inner` channels) += taps[o] * value
template <typename T, typename Acc>
FCN_INLINE void add_taps(const T* value, const Acc* taps, int64_t n, int64_t inner,
                         Acc* __restrict__ wide) {
  for (int64_t o = 0; o < n; ++o)
    for (int64_t c = 0; c < inner; ++c)
      wide[o * inner + c] += taps[o] * static_cast<Acc>(value[c]);
}

// Upsample a row of the input (axis.in pixels of `inner` channels) to the output's width, in blocks
// of one stride: the outputs from input i's position up to the next read inputs i, i - 1, ...
template <typename T, typename Acc>
FCN_CLONES void expand(const T* row, const Acc* taps, const Axis& axis, int64_t inner,
                       Acc* __restrict__ wide) {
  int64_t o = 0;
  for (int64_t i = axis.shift / axis.stride; o < axis.out; ++i) {
    const int64_t first = tap(axis, o, i);
    const int64_t n = std::min(axis.stride - first, axis.out - o);
    std::fill(wide + o * inner, wide + (o + n) * inner, Acc(0));
    for (int64_t j = sources(axis, o).begin; j < std::min(i + 1, axis.in); ++j) {
      const int64_t t = tap(axis, o, j);
      add_taps(row + j * inner, taps + t, std::min(n, axis.k - t), inner, wide + o * inner);
    }
    o += n;
  }
}

// The adjoint of expand_pairs: the inputs' gradients from whole blocks of outputs, starting with
// the block before the first input. Short blocks are transposed in `scratch` (of the same size),
// so that vectors run along the inputs; for long blocks they run along the products of one input.
template <typename T, typename Acc>
FCN_CLONES void contract_pairs(const Acc* wide, const Acc* taps, int64_t stride, int64_t inputs,
                               Acc* __restrict__ scratch, T* __restrict__ row) {
  const int64_t blocks = inputs + 1;
  for_count(stride, [=](auto n) __attribute__((always_inline)) {
    if (n > 16) {
      for (int64_t i = 0; i < inputs; ++i) {
        Acc value = 0;
#pragma omp simd reduction(+ : value)
        for (int64_t o = 0; o < 2 * n; ++o) value += taps[o] * wide[i * n + o];
        row[i] = static_cast<T>(value);
      }
      return;
    }
    for (int64_t b = 0; b < blocks; ++b)
      for (int64_t o = 0; o < n; ++o) scratch[o * blocks + b] = wide[b * n + o];
#pragma omp simd
    for (int64_t i = 0; i < inputs; ++i) {
      Acc value = 0;
      for (int64_t o = 0; o < n; ++o)
        value += taps[o] * scratch[o * blocks + i] + taps[o + n] * scratch[o * blocks + i + 1];
      row[i] = static_cast<T>(value);
    }
  });
}

// The adjoint of expand: a row of the output to the input's width; `sum` is scratch for `inner`
// values
template <typename T, typename Acc>
FCN_CLONES void contract(const Acc* wide, const Acc* taps, const Axis& axis, int64_t inner,
                         Acc* __restrict__ sum, T* __restrict__ row) {
  for (int64_t i = 0; i < axis.in; ++i) {
    const Span from = targets(axis, i);
    const Acc* weights = taps + tap(axis, from.begin, i);
    const Acc* first = wide + from.begin * inner;
    const int64_t count = from.end - from.begin;
    if (inner == 1) {
      Acc value = 0;
      for_count(count, [&](auto n) __attribute__((always_inline)) {
#pragma omp simd reduction(+ : value)
        for (int64_t o = 0; o < n; ++o) value += weights[o] * first[o];
      });
      row[i] = static_cast<T>(value);
    } else {
      for (int64_t c = 0; c < inner; ++c) sum[c] = 0;
      for (int64_t o = 0; o < count; ++o)
        for (int64_t c = 0; c < inner; ++c) sum[c] += weights[o] * first[o * inner + c];
      for (int64_t c = 0; c < inner; ++c) row[i * inner + c] = static_cast<T>(sum[c]);
    }
  }
}

}  // namespace fcn
