// The matrix product behind every convolution and deconvolution of the CPU backend, free of ATen:
//
//   C (m x n) (+)= A (m x k) * B (k x n)
//
// A register-blocked micro-kernel in the style of GotoBLAS/BLIS: a tile of up to 14 x 2 (AVX-512)
// or 6 x 2 (AVX2) vectors of accumulators stays in registers while a column of A is broadcast and
// a row of B is streamed past it. B is packed by the caller into column panels of kPanel values
// (two cache lines), or read in place where its rows are contiguous; A is read in place. There is
// no blocking over k and n here: callers choose blocks such that the panel of B stays in the L1/L2
// cache (conv/conv_gemm.cpp) or that A and C do (conv/winograd.cpp, deconv/).
//
// The reduction index is a pair (outer, inner) with a stride each, so that im2col and the patches
// of a deconvolution are read where they are instead of being copied. Terms are added in the order
// of (outer, inner) whatever the shape is, so results depend neither on the tile nor on the
// threads. A portable build chooses the micro-kernel at run time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "../common/target.h"

namespace fcn {

// Two bfloat16, of reduction indices 2 k and 2 k + 1: an operand of a product that accumulates in
// float32 (vdpbf16ps). Only where has_avx512_bf16() holds.
struct Bf16Pair {
  uint32_t bits;
};

template <typename T>
struct AccumulatorOf {
  using type = T;
};
template <>
struct AccumulatorOf<Bf16Pair> {
  using type = float;
};

template <typename T>
constexpr int64_t kVector = 64 / sizeof(T);  // n is a multiple of it
template <typename T>
constexpr int64_t kPanel = 128 / sizeof(T);  // columns of a panel of B

// C[i][j] (+)= sum over o < k_outer, r < k_inner of A(i, o, r) * B(o, r, j), with
//   A(i, o, r) = a[i * a_row + o * a_outer + r * a_inner]; a_row or a_inner is 1
//   B(o, r, j) = b[j / kPanel * b_panel + j % kPanel + o * b_outer + r * b_inner]
//   C[i][j]    = c[i * c_row + j]
// Where c_row < n, rows of C overlap: what row i holds from c_row on is overwritten by row i + 1.
template <typename T>
struct Gemm {
  int64_t m, n, k_outer, k_inner;
  const T* a;
  int64_t a_row, a_outer, a_inner;
  const T* b;
  int64_t b_panel, b_outer, b_inner;
  typename AccumulatorOf<T>::type* c;
  int64_t c_row;
  bool accumulate;
};

template <typename V, typename T>
FCN_INLINE void multiply_add(V& sum, T a, const V& b) {
  FCN_CONTRACT_BODY
  sum += a * b;
}

// Inline assembly: an intrinsic may only be inlined into a function built for AVX512-BF16
template <typename V, typename I>
FCN_INLINE void multiply_add(V& sum, Bf16Pair a, const I& b) {
  const I broadcast = static_cast<int32_t>(a.bits) - I{};
#if defined(__x86_64__)
  V next = sum;  // with the array element itself as the operand, gcc keeps the array in memory
  asm("vdpbf16ps %2, %1, %0" : "+v"(next) : "v"(b), "v"(broadcast));
  sum = next;
#endif
}

// C at rows i .. i + height - 1 and `width` vectors of columns from j on. a_in_rows: a_inner is 1.
template <typename T, int bytes, int height, int width, bool a_in_rows>
FCN_INLINE void micro_kernel(const Gemm<T>& p, int64_t i, int64_t j) {
  using Sum = typename AccumulatorOf<T>::type;
  typedef Sum V __attribute__((vector_size(bytes)));
  using Element = std::conditional_t<std::is_same_v<T, Bf16Pair>, int32_t, T>;
  typedef Element Row __attribute__((vector_size(bytes)));
  constexpr int64_t lanes = bytes / sizeof(T);
  const int64_t a_row = a_in_rows ? p.a_row : 1, a_inner = a_in_rows ? 1 : p.a_inner;
  Sum* c = p.c + i * p.c_row + j;
  for (int r = 0; r < height; ++r)  // fetch the tile of C while the products are summed
    for (int w = 0; w < width * bytes; w += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(c + r * p.c_row) + w, 1);
  V sum[height][width] = {};
  for (int64_t o = 0; o < p.k_outer; ++o) {
    const T* b = p.b + j / kPanel<T> * p.b_panel + j % kPanel<T> + o * p.b_outer;
    const T* a[(height + 3) / 4];  // a pointer per four rows: fewer registers
    for (int r = 0; r < height; r += 4) a[r / 4] = p.a + (i + r) * a_row + o * p.a_outer;
#pragma GCC unroll 4
    for (int64_t k = 0; k < p.k_inner; ++k, b += p.b_inner) {
      Row row[width];
      for (int w = 0; w < width; ++w) std::memcpy(&row[w], b + w * lanes, bytes);
#pragma GCC unroll 16
      for (int r = 0; r < height; ++r) {
        const T value = a[r / 4][r % 4 * a_row + k * a_inner];
        for (int w = 0; w < width; ++w) multiply_add(sum[r][w], value, row[w]);
      }
    }
  }
  for (int r = 0; r < height; ++r, c += p.c_row)
    for (int w = 0; w < width; ++w) {
      V before = {};
      if (p.accumulate) std::memcpy(&before, c + w * lanes, bytes);
      sum[r][w] += before;
      std::memcpy(c + w * lanes, &sum[r][w], bytes);
    }
}

template <typename T>
using MicroKernel = void (*)(const Gemm<T>&, int64_t i, int64_t j);

// The micro-kernels of an instruction set with vectors of `bytes`, one per height up to `height`.
// Fused multiply-adds are allowed in them.
#define FCN_MICRO_KERNELS(Name, bytes_, height_, ...)                                          \
  struct Name {                                                                                \
    static constexpr int bytes = bytes_, height = height_;                                     \
    template <typename T, int height, int width, bool a_in_rows>                               \
    __attribute__((noinline)) FCN_CONTRACT __VA_ARGS__ static void run(const Gemm<T>& p,       \
                                                                       int64_t i, int64_t j) { \
      micro_kernel<T, bytes, height, width, a_in_rows>(p, i, j);                               \
    }                                                                                          \
    template <typename T, int width, bool a_in_rows, int... h>                                 \
    static MicroKernel<T> of(int64_t rows, std::integer_sequence<int, h...>) {                 \
      static constexpr MicroKernel<T> all[] = {run<T, h + 1, width, a_in_rows>...};            \
      return all[rows - 1];                                                                    \
    }                                                                                          \
  };

#if defined(FCN_PORTABLE) && defined(__x86_64__)
FCN_MICRO_KERNELS(Kernels512, 64, 14, __attribute__((target("arch=x86-64-v4"))))
FCN_MICRO_KERNELS(Kernels256, 32, 6, __attribute__((target("arch=x86-64-v3"))))
FCN_MICRO_KERNELS(Kernels128, 16, 2)
#elif defined(__AVX512F__)
FCN_MICRO_KERNELS(Kernels512, 64, 14)
#elif defined(__AVX2__)
FCN_MICRO_KERNELS(Kernels256, 32, 6)
#else
FCN_MICRO_KERNELS(Kernels128, 16, 6)
#endif

// All rows of C at `width` vectors of columns from j on, in row bands of nearly equal height
template <typename Kernels, int width, bool a_in_rows, typename T>
void gemm_columns(const Gemm<T>& p, int64_t j) {
  const int64_t bands = (p.m + Kernels::height - 1) / Kernels::height;
  for (int64_t band = 0; band < bands; ++band) {
    const int64_t i = p.m * band / bands, rows = p.m * (band + 1) / bands - i;
    Kernels::template of<T, width, a_in_rows>(
        rows, std::make_integer_sequence<int, Kernels::height>())(p, i, j);
  }
}

template <typename Kernels, bool a_in_rows, typename T>
void gemm_with(const Gemm<T>& p) {
  constexpr int one = 64 / Kernels::bytes, two = std::max(2, one);
  constexpr int64_t wide = two * Kernels::bytes / sizeof(T);
  const int64_t whole = p.n / wide * wide;
  const auto rest = [&] {
    if (whole < p.n) gemm_columns<Kernels, one, a_in_rows>(p, whole);
  };
  if (p.c_row < p.n) {  // rows overlap: the first columns of a row are written last
    rest();
    for (int64_t j = whole - wide; j >= 0; j -= wide) gemm_columns<Kernels, two, a_in_rows>(p, j);
  } else {  // ascending, for the hardware prefetcher
    for (int64_t j = 0; j < whole; j += wide) gemm_columns<Kernels, two, a_in_rows>(p, j);
    rest();
  }
}

template <typename Kernels, typename T>
void gemm_with(const Gemm<T>& p) {
  p.a_inner == 1 ? gemm_with<Kernels, true>(p) : gemm_with<Kernels, false>(p);
}

template <typename T>
void gemm(const Gemm<T>& p) {
#if defined(FCN_PORTABLE) && defined(__x86_64__)
  __builtin_cpu_supports("x86-64-v4")   ? gemm_with<Kernels512>(p)
  : __builtin_cpu_supports("x86-64-v3") ? gemm_with<Kernels256>(p)
                                        : gemm_with<Kernels128>(p);
#elif defined(__AVX512F__)
  gemm_with<Kernels512>(p);
#elif defined(__AVX2__)
  gemm_with<Kernels256>(p);
#else
  gemm_with<Kernels128>(p);
#endif
}

}  // namespace fcn
