// Shared by all kernels: conversion of the 16-bit types, packs of values, launch sizes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "../host_device.h"

// torch builds with implicit conversions of the 16-bit types disabled.
__device__ __forceinline__ float widen(__half value) { return __half2float(value); }
__device__ __forceinline__ float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

namespace fcn {

constexpr int64_t kMostRows = 65535;      // gridDim.y
constexpr int64_t kMostBlocks = 1 << 20;  // gridDim.x

__device__ __forceinline__ void store(float* at, float value) { *at = value; }
__device__ __forceinline__ void store(double* at, double value) { *at = value; }
__device__ __forceinline__ void store(__half* at, float value) { *at = __float2half_rn(value); }
__device__ __forceinline__ void store(__nv_bfloat16* at, float value) {
  *at = __float2bfloat16_rn(value);
}

// `vec` values that are loaded and stored with one instruction
template <typename T, int vec>
struct alignas(sizeof(T) * vec) Pack {
  T values[vec];
};

template <int vec, typename T>
__device__ __forceinline__ Pack<T, vec> load_pack(const T* at) {
  return *reinterpret_cast<const Pack<T, vec>*>(at);
}

// Of 16 bytes the compiler would store the values one by one where they come from a loop. through:
// they leave the L2 cache first, which writes more than it holds an eighth faster.
template <bool through, typename T, int vec>
__device__ __forceinline__ void store_bits(T* at, const Pack<T, vec>& pack) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof pack == 16) {
    const auto bits = __builtin_bit_cast(uint4, pack);
    const size_t to = __cvta_generic_to_global(at);
    if constexpr (through)
      asm volatile("st.global.cs.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(bits.x),
                   "r"(bits.y), "r"(bits.z), "r"(bits.w)
                   : "memory");
    else
      asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(bits.x), "r"(bits.y),
                   "r"(bits.z), "r"(bits.w)
                   : "memory");
    return;
  }
#endif
  *reinterpret_cast<Pack<T, vec>*>(at) = pack;
}

template <typename T, int vec>
__device__ __forceinline__ void store_pack(T* at, const Pack<T, vec>& pack) {
  store_bits<false>(at, pack);
}

template <typename T, int vec>
__device__ __forceinline__ void store_through(T* at, const Pack<T, vec>& pack) {
  store_bits<true>(at, pack);
}

// The same pointer, which the compiler keeps in a register: it would compute it anew, from the
// kernel's arguments, for each of the loads that a condition guards.
template <typename T>
__device__ __forceinline__ T* kept(T* at) {
#if defined(__CUDA_ARCH__)
  asm("" : "+l"(at));
  __builtin_assume(__isGlobal(at));
#endif
  return at;
}

// Whether packs of `bytes` may stand at an address
inline bool is_aligned_to(const void* at, size_t bytes) {
  return reinterpret_cast<uintptr_t>(at) % bytes == 0;
}

// Blocks for n things, each of which does `each` of them. CUDA refuses a launch of more than it has.
inline unsigned blocks_for(int64_t n, int64_t each) {
  constexpr int64_t refused = int64_t(1) << 31;
  const int64_t blocks = (n + each - 1) / each;
  return static_cast<unsigned>(blocks < refused ? blocks : refused);
}

// The same for a kernel whose blocks take the things in turns: `most` at most. Tests set
// FCN_MOST_BLOCKS, so that a few things take several turns.
inline unsigned blocks_for(int64_t n, int64_t each, int64_t most) {
#if defined(FCN_MOST_BLOCKS)
  if (most > FCN_MOST_BLOCKS) most = FCN_MOST_BLOCKS;
#endif
  const int64_t blocks = (n + each - 1) / each;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

}  // namespace fcn
