// Shared by all kernels: conversion of the 16-bit types, launch sizes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

// torch builds with implicit conversions of the 16-bit types disabled.
__device__ __forceinline__ float widen(__half value) { return __half2float(value); }
__device__ __forceinline__ float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

namespace fcn {

constexpr int64_t kMostRows = 65535;      // gridDim.y
constexpr int64_t kMostBlocks = 1 << 20;  // gridDim.x

inline unsigned blocks_for(int64_t n, int64_t each, int64_t most) {
  const int64_t blocks = (n + each - 1) / each;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

}  // namespace fcn
