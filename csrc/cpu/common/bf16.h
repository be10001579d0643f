// bfloat16 vectors for processors with AVX512-BF16 (has_avx512_bf16). Inline assembly rather than
// intrinsics: an intrinsic may only be inlined into a function built for that instruction set.
#pragma once

#include "simd.h"

namespace fcn {

struct Bf16 { uint16_t bits; };

typedef uint16_t U16x16 __attribute__((vector_size(32)));
typedef uint32_t U32x16 __attribute__((vector_size(64)));

FCN_INLINE VecOf<float> load(const Bf16* from) {
  U16x16 bits;
  std::memcpy(&bits, from, sizeof bits);
  return reinterpret_cast<VecOf<float>>(__builtin_convertvector(bits, U32x16) << 16);
}

// Round to nearest, ties to even; NaN stays NaN
FCN_INLINE U16x16 round_to_bf16(VecOf<float> value) {
  U16x16 bits{};
#if defined(__x86_64__)
  asm("vcvtneps2bf16 %1, %0" : "=v"(bits) : "v"(value));
#endif
  return bits;
}

FCN_INLINE void store(Bf16* to, VecOf<float> value) {
  const U16x16 bits = round_to_bf16(value);
  std::memcpy(to, &bits, sizeof bits);
}

// 16 pairs (low[i], high[i]), as vdpbf16ps multiplies them
FCN_INLINE U32x16 interleave(VecOf<float> low, VecOf<float> high) {
  return __builtin_convertvector(round_to_bf16(low), U32x16) |
         (__builtin_convertvector(round_to_bf16(high), U32x16) << 16);
}

}  // namespace fcn
