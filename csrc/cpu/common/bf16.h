// bfloat16 in vectors, for processors with AVX512-BF16 alone (multiplies_pairs of product.h). By the
// instructions themselves: an intrinsic may only be used in a function for that instruction set.
#pragma once

#include "simd.h"

#if defined(FCN_PORTABLE) && defined(__x86_64__)
#define FCN_AVX512 __attribute__((target("arch=x86-64-v4")))
#else
#define FCN_AVX512
#endif

namespace fcn {

struct Bf16 { uint16_t bits; };

typedef uint16_t HalfLane __attribute__((vector_size(32)));
typedef uint32_t BitLane __attribute__((vector_size(64)));

FCN_INLINE VecOf<float> load(const Bf16* from) {
  HalfLane bits;
  std::memcpy(&bits, from, sizeof bits);
  return reinterpret_cast<VecOf<float>>(__builtin_convertvector(bits, BitLane) << 16);
}

// To the nearest, ties to even; a NaN of a NaN
FCN_INLINE HalfLane narrow(VecOf<float> value) {
  HalfLane bits{};
#if defined(__x86_64__)
  asm("vcvtneps2bf16 %1, %0" : "=v"(bits) : "v"(value));
#endif
  return bits;
}

FCN_INLINE void store(Bf16* to, VecOf<float> value) {
  const HalfLane bits = narrow(value);
  std::memcpy(to, &bits, sizeof bits);
}

// 16 pairs of a number of `low` and one of `high`
FCN_INLINE BitLane interleave(VecOf<float> low, VecOf<float> high) {
  return __builtin_convertvector(narrow(low), BitLane) |
         (__builtin_convertvector(narrow(high), BitLane) << 16);
}

}  // namespace fcn
