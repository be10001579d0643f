// Matrix products at the rate of the machine's multiply-adds, free of ATen. A tile of sums stays in
// registers while its factors stream by; a portable build chooses the tile at run time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "../upcrop/row_kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // all of it is inlined, no vector crosses a call

namespace fcn {

// Two bfloat16, of steps 2 k and 2 k + 1: a factor of a product that sums in float32. Only for
// processors with AVX512-BF16, see multiplies_pairs.
struct Pair { uint32_t bits; };

template <typename T> struct SumOf { using type = T; };
template <> struct SumOf<Pair> { using type = float; };

// `cols` is a multiple of kColumns; each kPanel of them may stand apart from the next ones
template <typename T> constexpr int64_t kColumns = 64 / sizeof(T);
template <typename T> constexpr int64_t kPanel = 128 / sizeof(T);

// c[i][j] (+)= sum over s, k of a[i * a_row + s * a_segment + k * a_step] * b(s, k, j), where
// b(s, k, j) = b[j / kPanel * b_panel + j % kPanel + s * b_segment + k * b_step]. Either a_row or
// a_step is 1. Terms are added in the order of s and k, whatever the shape of the rest is. Where
// c_row is less than cols, what a row holds beyond it gives way to the next row: the last columns are
// written first, and rows in their order.
template <typename T>
struct Product {
  int64_t rows, cols, segments, steps;
  const T* a;
  int64_t a_row, a_segment, a_step;
  const T* b;
  int64_t b_panel, b_segment, b_step;
  typename SumOf<T>::type* c;
  int64_t c_row;
  bool add;
};

template <typename V, typename T>
FCN_INLINE void add_product(V& sum, T value, const V& factor) { sum += value * factor; }

// No intrinsic, which only a function for that instruction set might use
template <typename V, typename I>
FCN_INLINE void add_product(V& sum, Pair value, const I& factor) {
  const I all = static_cast<int32_t>(value.bits) - I{};
#if defined(__x86_64__)
  V next = sum;  // an asm that writes to the array itself would keep it in memory
  asm("vdpbf16ps %2, %1, %0" : "+v"(next) : "v"(factor), "v"(all));
  sum = next;
#endif
}

template <typename T, int bytes, int height, int width, bool along>
FCN_INLINE void multiply_tile(const Product<T>& p, int64_t i, int64_t j) {
  using Sum = typename SumOf<T>::type;
  typedef Sum V __attribute__((vector_size(bytes)));
  using Number = std::conditional_t<std::is_same_v<T, Pair>, int32_t, T>;
  typedef Number Factor __attribute__((vector_size(bytes)));
  constexpr int64_t lanes = bytes / sizeof(T);
  const int64_t a_row = along ? p.a_row : 1, a_step = along ? 1 : p.a_step;
  Sum* c = p.c + i * p.c_row + j;
  for (int r = 0; r < height; ++r)  // long before they are written
    for (int w = 0; w < width * bytes; w += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(c + r * p.c_row) + w, 1);
  V sum[height][width] = {};
  for (int64_t s = 0; s < p.segments; ++s) {
    const T* b = p.b + j / kPanel<T> * p.b_panel + j % kPanel<T> + s * p.b_segment;
    const T* a[(height + 3) / 4];  // of every fourth row: those between cost no registers
    for (int r = 0; r < height; r += 4) a[r / 4] = p.a + (i + r) * a_row + s * p.a_segment;
#pragma GCC unroll 4
    for (int64_t k = 0; k < p.steps; ++k, b += p.b_step) {
      Factor factor[width];
      for (int w = 0; w < width; ++w) std::memcpy(&factor[w], b + w * lanes, bytes);
#pragma GCC unroll 16
      for (int r = 0; r < height; ++r) {
        const T value = a[r / 4][r % 4 * a_row + k * a_step];
        for (int w = 0; w < width; ++w) add_product(sum[r][w], value, factor[w]);
      }
    }
  }
  for (int r = 0; r < height; ++r, c += p.c_row)
    for (int w = 0; w < width; ++w) {
      V before = {};
      if (p.add) std::memcpy(&before, c + w * lanes, bytes);
      sum[r][w] += before;
      std::memcpy(c + w * lanes, &sum[r][w], bytes);
    }
}

template <typename T>
using MultiplyTile = void (*)(const Product<T>&, int64_t i, int64_t j);

// The tiles of an instruction set with vectors of `bytes`: one for each number of rows up to
// `height`. Fused multiply-adds are allowed in them.
#define FCN_TILES(Name, bytes_, height_, ...)                                        \
  struct Name {                                                                      \
    static constexpr int bytes = bytes_, height = height_;                           \
    template <typename T, int height, int width, bool along>                         \
    __attribute__((noinline, optimize("fp-contract=fast"))) __VA_ARGS__ static void  \
    tile(const Product<T>& p, int64_t i, int64_t j) {                                \
      multiply_tile<T, bytes, height, width, along>(p, i, j);                        \
    }                                                                                \
    template <typename T, int width, bool along, int... h>                           \
    static MultiplyTile<T> of(int64_t rows, std::integer_sequence<int, h...>) {      \
      static constexpr MultiplyTile<T> all[] = {tile<T, h + 1, width, along>...};    \
      return all[rows - 1];                                                          \
    }                                                                                \
  };

#if defined(FCN_PORTABLE) && defined(__x86_64__)
FCN_TILES(Tiles512, 64, 14, __attribute__((target("arch=x86-64-v4"))))
FCN_TILES(Tiles256, 32, 6, __attribute__((target("arch=x86-64-v3"))))
FCN_TILES(Tiles128, 16, 2)
#elif defined(__AVX512F__)
FCN_TILES(Tiles512, 64, 14)
#elif defined(__AVX2__)
FCN_TILES(Tiles256, 32, 6)
#else
FCN_TILES(Tiles128, 16, 6)
#endif

template <typename Tiles, int width, bool along, typename T>
void multiply_column(const Product<T>& p, int64_t j) {
  const int64_t bands = (p.rows + Tiles::height - 1) / Tiles::height;
  for (int64_t band = 0; band < bands; ++band) {  // of nearly equal heights
    const int64_t i = p.rows * band / bands, rows = p.rows * (band + 1) / bands - i;
    Tiles::template of<T, width, along>(rows, std::make_integer_sequence<int, Tiles::height>())(
        p, i, j);
  }
}

template <typename Tiles, bool along, typename T>
void multiply_with(const Product<T>& p) {
  constexpr int one = 64 / Tiles::bytes, two = std::max(2, one);
  constexpr int64_t wide = two * Tiles::bytes / sizeof(T);
  const int64_t whole = p.cols / wide * wide;
  const auto rest = [&] {
    if (whole < p.cols) multiply_column<Tiles, one, along>(p, whole);
  };
  if (p.c_row < p.cols) {  // rows overlap: what is first in a row is written last
    rest();
    for (int64_t j = whole - wide; j >= 0; j -= wide) multiply_column<Tiles, two, along>(p, j);
  } else {                 // in the order of memory, which is fetched ahead
    for (int64_t j = 0; j < whole; j += wide) multiply_column<Tiles, two, along>(p, j);
    rest();
  }
}

template <typename Tiles, typename T>
void multiply_with(const Product<T>& p) {
  p.a_step == 1 ? multiply_with<Tiles, true>(p) : multiply_with<Tiles, false>(p);
}

inline bool multiplies_pairs() {
#if defined(__x86_64__) && (defined(FCN_PORTABLE) || defined(__AVX512F__))
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

template <typename T>
void multiply(const Product<T>& p) {
#if defined(FCN_PORTABLE) && defined(__x86_64__)
  __builtin_cpu_supports("x86-64-v4")   ? multiply_with<Tiles512>(p)
  : __builtin_cpu_supports("x86-64-v3") ? multiply_with<Tiles256>(p)
                                        : multiply_with<Tiles128>(p);
#elif defined(__AVX512F__)
  multiply_with<Tiles512>(p);
#elif defined(__AVX2__)
  multiply_with<Tiles256>(p);
#else
  multiply_with<Tiles128>(p);
#endif
}

}  // namespace fcn
