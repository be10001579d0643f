// CUDA's __nv_bfloat16, as far as csrc/cuda uses it: bits, and conversions that round to nearest
// even
#pragma once

#include <bit>
#include <cstdint>

struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  if (value != value) return __nv_bfloat16{0x7fff};
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return __nv_bfloat16{static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
