// CUDA's __half, as far as csrc/cuda uses it: bits, and conversions that round to nearest even
#pragma once

#include <bit>
#include <cstdint>

struct __half {
  uint16_t bits;
};

inline float __half2float(__half value) {
  return static_cast<float>(std::bit_cast<_Float16>(value.bits));
}

inline __half __float2half_rn(float value) {
  return __half{std::bit_cast<uint16_t>(static_cast<_Float16>(value))};
}
