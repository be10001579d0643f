// Eight pixels of a label map, or of a mask, at once. The first of them is the lowest byte or bit,
// as in the memory of the processors that the kernels are for.
#pragma once

#include <cstdint>
#include <cstring>

namespace fcn {

constexpr int64_t kBytes = 8;
constexpr uint64_t kOnes = 0x0101010101010101;  // times a byte: that byte eight times

inline uint64_t load_bytes(const uint8_t* from) {
  uint64_t bytes;
  std::memcpy(&bytes, from, kBytes);
  return bytes;
}

inline void store_bytes(uint8_t* to, uint64_t bytes) { std::memcpy(to, &bytes, kBytes); }

// Whether eight bytes are all the same
inline bool are_equal(const uint8_t* from) { return load_bytes(from) == *from * kOnes; }

// Eight bytes, each 0 or 1, as eight bits. The factor moves byte i to bit 56 + i.
inline uint64_t bits_of(uint64_t bytes) { return bytes * 0x0102040810204080 >> 56; }

// Eight bits as eight bytes, each 0 or 1: byte i keeps bit i of a copy of all eight, and any bit
// below it becomes the byte's highest by an addition.
inline uint64_t bytes_of(uint64_t bits) {
  const uint64_t own = bits * kOnes & 0x8040201008040201;
  return (own + 0x7f * kOnes) >> 7 & kOnes;
}

}  // namespace fcn
